"""The contract as data: every RPC, how to call it with any bytes, and every field of its request."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import relman_client.v1
from relman_client.v1 import errors_pb2
from relman_server.kernel.identity import Policy
from relman_server.kernel.rpc import descriptors
from tests.factories import Refusal

REASONS = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name} - {
    "UNSPECIFIED"
}


@dataclass(frozen=True)
class Rpc:
    """One RPC of the contract.

    Attributes:
        name: `ReleaseService/GetRelease`.
        request: Class of its requests.
    """

    name: str
    method: MethodDescriptor
    policy: Policy
    request: type[Message]
    response: type[Message]

    @property
    def path(self) -> str:
        """As on the wire."""
        return f"/relman.v1.{self.name}"

    @property
    def mutating(self) -> bool:
        """Whether the contract says that it leaves an audit row."""
        return bool(self.policy.action)

    @property
    def has_request_id(self) -> bool:
        """Whether its request can name itself."""
        return "request_id" in self.method.input_type.fields_by_name


def services() -> list[ServiceDescriptor]:
    """Return every service of the package relman.v1, also those that no server knows of."""
    modules = [
        importlib.import_module(f"relman_client.v1.{module.name}")
        for module in pkgutil.iter_modules(relman_client.v1.__path__)
        if module.name.endswith("_pb2")
    ]
    return [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]


def _rpcs() -> Iterator[Rpc]:
    for service in services():
        for method in service.methods:
            yield Rpc(
                f"{service.name}/{method.name}",
                method,
                descriptors.policy_of(method),
                GetMessageClass(method.input_type),
                GetMessageClass(method.output_type),
            )


RPCS = tuple(_rpcs())


@dataclass
class Outcome:
    """How a call ended.

    Attributes:
        answers: What came, serialized.
        refusal: What the call says when it failed; None when it did not.
        request_id: The x-request-id in the trailers.
    """

    answers: list[bytes] = field(default_factory=list)
    refusal: Refusal | None = None
    request_id: str = ""

    @property
    def status(self) -> str:
        """Name of the status."""
        return self.refusal.code.name if self.refusal else "OK"

    @property
    def reason(self) -> str:
        """ErrorReason, without prefix; empty when it did not fail."""
        return self.refusal.reason if self.refusal else ""

    @property
    def violations(self) -> set[str]:
        """Fields that are said to be wrong."""
        return set(self.refusal.violations) if self.refusal else set()


async def call(
    channel: grpc.aio.Channel,
    rpc: Rpc,
    request: Message | bytes = b"",
    metadata: tuple[tuple[str, str], ...] = (),
    within: float = 20,
) -> Outcome:
    """Call an RPC of any kind with one request; of a stream that goes on, read the first answer and leave."""
    data = request if isinstance(request, bytes) else request.SerializeToString()
    kinds: dict[tuple[bool, bool], Callable[..., Any]] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    many_in, many_out = rpc.method.client_streaming, rpc.method.server_streaming
    ongoing = kinds[many_in, many_out](rpc.path)([data] if many_in else data, metadata=metadata, timeout=within)
    outcome = Outcome()
    try:
        if many_out:
            async for answer in ongoing:
                outcome.answers.append(answer)
                break
        else:
            outcome.answers.append(await ongoing)
    except grpc.aio.AioRpcError as error:
        outcome.refusal = Refusal(error)
        outcome.request_id = _request_id(error.trailing_metadata())
    else:
        if many_out and outcome.answers:
            ongoing.cancel()
        else:
            outcome.request_id = _request_id(await ongoing.trailing_metadata())
    return outcome


def _request_id(trailers: Any) -> str:
    return next((str(value) for key, value in trailers or () if key == "x-request-id"), "")


FieldPath = tuple[FieldDescriptor, ...]


def paths(descriptor: Any, depth: int = 3) -> Iterator[FieldPath]:
    """Return every field that a caller may set, nested ones too."""
    for each in descriptor.fields:
        if descriptors.is_output_only(each):
            continue
        yield (each,)
        inner = each.message_type
        own = inner is not None and not descriptors.is_map(each) and inner.full_name.startswith("relman.v1.")
        if own and depth > 1:
            for rest in paths(inner, depth - 1):
                yield (each, *rest)


def dotted(path: FieldPath) -> str:
    """Return the path as violations name it, first elements of lists."""
    parts = [f"{each.name}[0]" if each.is_repeated and not descriptors.is_map(each) else each.name for each in path]
    return ".".join(parts)


def set_path(message: Any, path: FieldPath, value: Any) -> None:
    """Set a field, and what leads to it with all that is required there; of lists and maps the first element."""
    for each in path[:-1]:
        inner = getattr(message, each.name)
        message = (inner[0] if inner else inner.add()) if each.is_repeated else inner
        _require(message)
    last = path[-1]
    if descriptors.is_map(last):
        getattr(message, last.name)["key"] = value
    elif last.message_type is not None:
        getattr(message, last.name).CopyFrom(value)
    elif last.is_repeated:
        getattr(message, last.name)[:] = [value]
    else:
        setattr(message, last.name, value)


UNKNOWN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def required(rpc: Rpc) -> Any:
    """Return a request with all that is required and nothing else: an id that nothing has, the first enum value, 1."""
    request: Any = rpc.request()
    _require(request)
    if rpc.name == "RunbookService/SearchRunbooks":
        request.query = "one of two things that it needs"
    return request


def _require(message: Any) -> None:
    for each in message.DESCRIPTOR.fields:
        if not descriptors.is_required(each):
            continue
        if each.message_type is not None:
            inner = getattr(message, each.name)
            if each.is_repeated:
                inner = inner[0] if inner else inner.add()
            inner.SetInParent()
            _require(inner)
        else:
            if each.is_repeated and getattr(message, each.name):
                continue
            value: Any = 1
            if each.type == FieldDescriptor.TYPE_STRING:
                value = UNKNOWN_ID
            elif each.type == FieldDescriptor.TYPE_BYTES:
                value = b"x"
            set_path(message, (each,), value)
