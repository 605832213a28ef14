"""The error of the client, with everything the server said; those that streams cannot get over have a class each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2

_STATUS_DETAILS = "grpc-status-details-bin"
_REQUEST_ID = "x-request-id"

# What happens on the way rather than in the server: a connection that was cut shows as any of these, without details.
_ON_THE_WAY = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED})


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a request, or one condition that does not hold."""

    field: str
    """The field, for example `stages[2].name`; the kind of a closed gate in an answer BLOCKED."""
    description: str


class RelmanError(Exception):
    """A call failed.

    `reason` is a name of the contract's ErrorReason without its prefix, and empty when the answer did not come from
    relman: the connection failed, or the call's own deadline passed.
    """

    def __init__(  # noqa: PLR0913 - what there is to know of a failure
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        violations: Iterable[Violation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        request_id: str = "",
        address: str = "",
        resource_type: str = "",
        resource_name: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        """Seconds after which the server suggests to repeat the call."""
        self.request_id = request_id
        """What finds the call in the server's log."""
        self.address = address
        """The server that was called."""
        self.resource_type = resource_type
        """Kind of the resource that was not found or exists already, for example "release"."""
        self.resource_name = resource_name
        self.token_was_refreshed = False
        """The access token had expired and there is a new one: repeating the call will work."""

    def __str__(self) -> str:
        return f"{self.code.name}{f' {self.reason}' if self.reason else ''}: {self.message}"

    @property
    def is_unreachable(self) -> bool:
        """Whether no relman answered: nobody listens there, or the connection broke."""
        return not self.reason and self.code is grpc.StatusCode.UNAVAILABLE

    @property
    def is_passing(self) -> bool:
        """Whether the same call may work in a while, so that a stream should be resumed rather than given up."""
        if self.token_was_refreshed:
            return True
        if self.code is grpc.StatusCode.UNAVAILABLE:
            return True
        if self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return self.retry_after is not None
        return not self.reason and self.code in _ON_THE_WAY


class SequenceConflictError(RelmanError):
    """SEQUENCE_CONFLICT: the stream of a log has other lines where these should go. Someone else writes to it."""


class LinesLostError(RelmanError):
    """The server has less of a log's stream than it had acknowledged: it was restored from an older backup.

    `metadata` says how much it had `acknowledged`, and what is `committed` now. What is in between is in no memory any
    more; write what follows to a stream of another name.
    """


class SequenceGapError(RelmanError):
    """SEQUENCE_GAP: lines before these are missing. A writer sends them again; raised when that does not help."""


class LogFinishedError(RelmanError):
    """LOG_FINISHED: the stream of a log takes no more lines."""


class LogQuotaError(RelmanError):
    """LOG_QUOTA: the deployment's log takes no more lines."""


class WriterFencedError(RelmanError):
    """WRITER_FENCED: someone else took the deployment over."""


class CursorUnknownError(RelmanError):
    """CURSOR_UNKNOWN: a cursor of another log or database, or from before a backup was restored. Start without one."""


class ClientClosedError(RelmanError):
    """The client was closed, so that a stream is over."""

    def __init__(self, address: str) -> None:
        super().__init__(grpc.StatusCode.CANCELLED, "the client was closed", address=address)

    @property
    def is_passing(self) -> bool:
        """Nothing of a closed client works again."""
        return False


_BY_REASON: Mapping[str, type[RelmanError]] = {
    "SEQUENCE_CONFLICT": SequenceConflictError,
    "SEQUENCE_GAP": SequenceGapError,
    "LOG_FINISHED": LogFinishedError,
    "LOG_QUOTA": LogQuotaError,
    "WRITER_FENCED": WriterFencedError,
    "CURSOR_UNKNOWN": CursorUnknownError,
}


def from_rpc_error(error: grpc.RpcError, address: str) -> RelmanError:
    """Read the status, its google.rpc details and the request id out of what grpc raises."""
    code = error.code()
    message = error.details() or ""
    metadata = _as_dict(error.trailing_metadata() or ())
    reason, said, retry_after = "", {}, None
    violations: list[Violation] = []
    resource = details_pb.ResourceInfo()
    for detail in _details(metadata.get(_STATUS_DETAILS)):
        if isinstance(detail, details_pb.ErrorInfo):
            reason, said = detail.reason, dict(detail.metadata)
        elif isinstance(detail, details_pb.BadRequest):
            violations += [Violation(v.field, v.description) for v in detail.field_violations]
        elif isinstance(detail, details_pb.PreconditionFailure):
            violations += [Violation(v.type, v.description) for v in detail.violations]
        elif isinstance(detail, details_pb.RetryInfo):
            retry_after = detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9
        elif isinstance(detail, details_pb.ResourceInfo):
            resource = detail
    return _BY_REASON.get(reason, RelmanError)(
        code,
        message,
        reason=reason,
        violations=violations,
        metadata=said,
        retry_after=retry_after,
        request_id=str(metadata.get(_REQUEST_ID, "")),
        address=address,
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
    )


def _as_dict(metadata: Iterable[Any]) -> dict[str, Any]:
    """Metadata by key: pairs in the synchronous API, and in grpc.aio.Metadata when iterated."""
    return {key: value for key, value in metadata}  # noqa: C416 - grpc's pairs are named tuples or plain ones


_KNOWN = {
    message.DESCRIPTOR.full_name: message
    for message in (
        details_pb.ErrorInfo,
        details_pb.BadRequest,
        details_pb.PreconditionFailure,
        details_pb.ResourceInfo,
        details_pb.RetryInfo,
    )
}


def _details(status: bytes | None) -> list[Any]:
    """Unpack the known details of a serialized google.rpc.Status; damaged or unknown ones say nothing."""
    if not status:
        return []
    found = []
    try:
        for packed in status_pb2.Status.FromString(status).details:
            kind = _KNOWN.get(packed.TypeName())
            if kind is not None:
                found.append(kind.FromString(packed.value))
    except ValueError:  # protobuf's DecodeError is one
        return []
    return found
