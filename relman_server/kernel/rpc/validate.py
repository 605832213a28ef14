"""Last step: what the contract says of a request holds, before a servicer sees it.

Required fields, known enum values, text that both databases can hold, and the request_id. Whatever the request's input
model finds wrong comes in the same answer.
"""

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from relman_server.kernel.db.database import Replayed
from relman_server.kernel.errors import InvalidInput, Violation
from relman_server.kernel.identity import Call, Repeat
from relman_server.kernel.ids import parse_id
from relman_server.kernel.rpc import descriptors
from relman_server.kernel.rpc.chain import Context, Proceed
from relman_server.kernel.rpc.parsing import Malformed
from relman_server.kernel.rpc.reading import READERS

# Checked where it is read: thousands of them come in one request, and each line costs.
CHECKED_BY_ITS_READER = {"relman.v1.LogEntry"}

Check = Callable[[Message, str, list[Violation]], None]


class Validate:
    """Checks requests against their descriptors.

    Args:
        key: Secret for the fingerprints of requests with a request_id: requests hold passwords.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def __call__(self, call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        """Refuse a request with everything that is wrong with it; give a repeated request its first answer."""
        checked = _parsed if call.policy is None else check  # health and reflection are of other contracts
        if hasattr(request, "__aiter__"):
            return await proceed(call, _each(request, checked), context)
        checked(request)
        call.repeat = self._repeat(call, request)
        try:
            return await proceed(call, request, context)
        except Replayed as replayed:
            return replayed.answer

    def _repeat(self, call: Call, request: Message) -> Repeat | None:
        name = getattr(request, "request_id", "")
        if not name:
            return None
        request_id = parse_id(name)
        if request_id is None:
            raise InvalidInput(Violation("request_id", "must be a UUID in its canonical form of 36 characters"))
        anonymous = type(request)()
        anonymous.CopyFrom(request)
        anonymous.ClearField("request_id")
        said = call.method.encode() + b"\0" + anonymous.SerializeToString(deterministic=True)
        return Repeat(request_id, hmac.digest(self._key, said, hashlib.sha256))


async def _each(requests: AsyncIterator[Any], checked: Callable[[Any], None]) -> AsyncIterator[Message]:
    async for request in requests:
        checked(request)
        yield request


def check(request: Message | Malformed) -> None:
    """Raise InvalidInput when a request does not keep to the contract."""
    if isinstance(request, Malformed):
        raise _malformed()
    found: list[Violation] = []
    for step in _plan(request.DESCRIPTOR):
        step(request, "", found)
    if not found:
        return
    # Once something is wrong, everything that is wrong is worth saying, in one answer.
    read = READERS.get(request.DESCRIPTOR.full_name)
    if read is not None:
        try:
            read(request)
        except InvalidInput as error:
            known = {violation.field for violation in found}
            found += [violation for violation in error.violations if violation.field not in known]
    raise InvalidInput(*found)


def _parsed(request: Message | Malformed) -> None:
    if isinstance(request, Malformed):
        raise _malformed()


def _malformed() -> InvalidInput:
    return InvalidInput(
        reason="MALFORMED_MESSAGE",
        message="The request is no message of this contract: damaged, or its text is not UTF-8.",
    )


@cache
def _plan(descriptor: Descriptor) -> tuple[Check, ...]:
    """Return what is to be checked of a kind of message; nothing for most fields."""
    steps: list[Check] = []
    for field in descriptor.fields:
        if descriptors.is_output_only(field):
            continue
        if descriptors.is_required(field):
            steps.append(_required(field))
        if descriptors.is_map(field):
            steps.append(_map_text(field))
        elif field.type == FieldDescriptor.TYPE_STRING:
            steps.append(_text(field))
        elif field.enum_type is not None:
            steps.append(_known(field))
        elif field.message_type is not None and _worth_checking(field.message_type):
            steps.append(_nested(field))
    return tuple(steps)


def _worth_checking(message: Descriptor) -> bool:
    return message.full_name.startswith(descriptors.PACKAGE) and message.full_name not in CHECKED_BY_ITS_READER


def _required(field: FieldDescriptor) -> Check:
    name, presence = field.name, field.has_presence

    def step(message: Message, path: str, found: list[Violation]) -> None:
        if not (message.HasField(name) if presence else getattr(message, name)):
            found.append(Violation(path + name, "is required"))

    return step


def _values(message: Message, name: str, *, repeated: bool) -> list[tuple[str, Any]]:
    value = getattr(message, name)
    return [(f"{name}[{index}]", item) for index, item in enumerate(value)] if repeated else [(name, value)]


def _text(field: FieldDescriptor) -> Check:
    name, repeated = field.name, field.is_repeated

    def step(message: Message, path: str, found: list[Violation]) -> None:
        for where, value in _values(message, name, repeated=repeated):
            if "\0" in value:
                found.append(Violation(path + where, "must not contain the character NUL"))

    return step


def _map_text(field: FieldDescriptor) -> Check:
    name = field.name

    def step(message: Message, path: str, found: list[Violation]) -> None:
        for key, value in getattr(message, name).items():
            if "\0" in f"{key}{value}":
                found.append(Violation(path + name, "must not contain the character NUL"))

    return step


def _known(field: FieldDescriptor) -> Check:
    name, repeated, names = field.name, field.is_repeated, descriptors.short_names(field.enum_type)

    def step(message: Message, path: str, found: list[Violation]) -> None:
        for where, value in _values(message, name, repeated=repeated):
            if value not in names or (repeated and not value):
                allowed = ", ".join(filter(None, names.values()))
                found.append(Violation(path + where, f"{value} is no value of it; known are {allowed}"))

    return step


def _nested(field: FieldDescriptor) -> Check:
    name, repeated, inner = field.name, field.is_repeated, field.message_type

    def step(message: Message, path: str, found: list[Violation]) -> None:
        if not repeated and not message.HasField(name):
            return
        for where, value in _values(message, name, repeated=repeated):
            for check_inner in _plan(inner):
                check_inner(value, f"{path}{where}.", found)

    return step
