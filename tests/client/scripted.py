"""A server that does what a test says, for faults that a real one has no reason to produce."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status


@dataclass(frozen=True)
class Fault:
    """How a call ends."""

    code: grpc.StatusCode
    reason: str = ""
    retry_after: float | None = None

    def abort(self, context: grpc.ServicerContext) -> None:
        """End the call so, with the details that relman's server gives."""
        details: list[Message] = []
        if self.reason:
            details.append(ErrorInfo(reason=self.reason, domain="relman"))
        if self.retry_after is not None:
            info = RetryInfo()
            info.retry_delay.FromMilliseconds(int(self.retry_after * 1000))
            details.append(info)
        packed = []
        for detail in details:
            packed.append(Packed())
            packed[-1].Pack(detail)
        status = Status(code=code_pb2.Code.Value(self.code.name), message="as scripted", details=packed)
        if details:
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(self.code, "as scripted")


@dataclass
class Scripted:
    """Answers each call of one streaming RPC as the next part of its script says; the last part again and again.

    Attributes:
        address: host:port.
        requests: What was asked, call by call.
        tokens: The tokens that came with it.
    """

    parts: Sequence[Sequence[Message | Fault]]
    kind: Any  # the request's message class
    address: str = ""
    requests: list[Any] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def answer(self, request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
        """Play the next part."""
        part = self.parts[min(len(self.requests), len(self.parts) - 1)]
        self.requests.append(request)
        self.tokens.append(str(dict(context.invocation_metadata()).get("authorization", "")))
        for step in part:
            if isinstance(step, Fault):
                step.abort(context)
            else:
                yield step


@contextmanager
def scripted(path: str, kind: Any, *parts: Sequence[Message | Fault]) -> Iterator[Scripted]:
    """Serve one streaming RPC by a script.

    Args:
        path: Such as `DeploymentService/WatchDeployments`.
        kind: The request's message class.
        parts: What each call is answered with.
    """
    script = Scripted(parts, kind)
    service, _, method = path.partition("/")
    handler: Any = grpc.unary_stream_rpc_method_handler(
        script.answer,
        request_deserializer=kind.FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(f"relman.v1.{service}", {method: handler})])
    script.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield script
    server.stop(None).wait()
