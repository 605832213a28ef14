"""Bytes to messages and back, at the socket.

grpc.aio answers INTERNAL when a request cannot be parsed; here it becomes a request that is refused as malformed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError


@dataclass(frozen=True)
class Malformed:
    """A request that could not be parsed."""


def tolerate(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Return a deserializer that never raises."""

    def parse(data: bytes) -> Any:
        try:
            return deserialize(data) if deserialize else data
        except (DecodeError, ValueError, RecursionError):
            return Malformed()

    return parse


def pass_bytes(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
    """Return a serializer that leaves alone what is serialized already."""

    def write(message: Any) -> bytes:
        return message if isinstance(message, bytes) or serialize is None else serialize(message)

    return write
