"""Rules of logs: who may write, which sequences are accepted, how much."""

from dataclasses import dataclass
from uuid import UUID

from relman_server.catalog import logic as catalog
from relman_server.deployments import leases
from relman_server.deployments.inputs import LeaseHeld
from relman_server.deployments.model import ENDED
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import (
    Aborted,
    Condition,
    FailedPrecondition,
    InvalidInput,
    ResourceExhausted,
    Violation,
    wrong_state,
)
from relman_server.logs import chunks, store
from relman_server.logs.inputs import SYSTEM_STREAM, Lines, Opening


@dataclass(frozen=True)
class LogGrew:
    """A log has more lines, or one of its streams is finished.

    Attributes:
        deployment_id: Whose log it is.
        position: Of the first new chunk.
        payloads: The new chunks as they are stored; none when a stream was only finished.
    """

    deployment_id: UUID
    position: int
    payloads: tuple[bytes, ...]


class QuotaReached(ResourceExhausted):
    """The log of a deployment takes no more lines."""

    reason = "LOG_QUOTA"


@dataclass(frozen=True)
class Stream:
    """A stream that exists, and that its caller may write to; with a lease, for as long as that is theirs."""

    id: UUID
    deployment_id: UUID
    stage_id: UUID | None
    name: str
    lease: LeaseHeld | None


@dataclass(frozen=True)
class Progress:
    """How far a stream is.

    Attributes:
        committed_sequence: Highest sequence that is on disk.
        finished: Whether the writer said it is done.
    """

    committed_sequence: int
    finished: bool


def open_stream(tx: Transaction, opening: Opening) -> tuple[Stream, Progress]:
    """Return a stream for writing, created unless it exists.

    Raises NotFound for an unknown deployment or stage, PermissionDenied for who does not work on the service,
    InvalidInput for a stage of another deployment or another stage than the stream's, and FailedPrecondition when the
    stream is new and the deployment has ended.
    """
    row = store.writable(tx, opening.deployment, opening.stage, opening.stream_name)
    catalog.require_team(tx.caller, row)
    leases.require(tx, opening.deployment, opening.lease)
    name = opening.stream_name or row.stage_name or "main"
    if row.stream_id is None:
        return _create_stream(tx, opening, row.stage_id, name)
    if opening.stage is not None and row.stream_stage_id != row.stage_id:
        raise InvalidInput(Violation("stage", f"must be the one that the stream {name!r} was opened with"))
    stream = Stream(row.stream_id, opening.deployment, row.stream_stage_id, name, opening.lease)
    return stream, Progress(row.committed_sequence, row.finished)


def _create_stream(tx: Transaction, opening: Opening, stage_id: UUID | None, name: str) -> tuple[Stream, Progress]:
    # The deployment must not end meanwhile: who follows the log to its end would miss the stream.
    status = store.lock_status(tx, opening.deployment)
    if status in ENDED:
        message = f"The deployment is {status}: streams that are open can be finished, new ones cannot be opened."
        raise wrong_state(str(opening.deployment), status, message)
    created = store.add_stream(tx, opening.deployment, stage_id, name)
    row = store.get_stream(tx, opening.deployment, name)
    if created:
        tx.audit(
            "deployment.append_logs",
            row,
            resource_type="deployment",
            resource_id=str(opening.deployment),
            stream_name=name,
        )
    stream = Stream(row.id, opening.deployment, row.stage_id, name, opening.lease)
    return stream, Progress(row.committed_sequence, row.finished)


def append_logs(tx: Transaction, opening: Opening, lines: Lines, quota: int) -> Progress:
    """Append lines to a stream, opened when it does not exist. Raises as `open_stream` and `append` do."""
    stream, _ = open_stream(tx, opening)
    return append(tx, stream, lines, quota)


def append(tx: Transaction, stream: Stream, lines: Lines, quota: int) -> Progress:
    """Append lines to a stream; those that are on disk already are compared and dropped.

    Args:
        tx: The transaction.
        stream: Where to.
        lines: What to append.
        quota: Bytes of text that the deployment's log may hold.

    Raises Aborted WRITER_FENCED when someone took the deployment over and SEQUENCE_GAP when lines before these are
    missing, FailedPrecondition SEQUENCE_CONFLICT when others are on disk in their place and LOG_FINISHED when the
    stream ends before them, and QuotaReached.
    """
    head = store.lock_head(tx, stream.deployment_id)
    leases.require(tx, stream.deployment_id, stream.lease)
    now = store.stream_by_id(tx, stream.id)
    committed: int = now.committed_sequence
    _require_adjacent(stream, now, lines)
    if lines.first_sequence <= committed:
        _require_same(tx, stream, lines, min(lines.last_sequence, committed))
    if lines.finish and lines.last_sequence < committed:
        raise _finished(stream, committed) if now.finished else _conflict(stream, lines.last_sequence + 1)

    new = lines.chunks(stream.name, stream.stage_id, committed) if lines.last_sequence > committed else ()
    size = sum(chunk.byte_size for chunk in new)
    if new and head.byte_size + size > quota:
        raise QuotaReached(f"The log of the deployment is full: it may hold {quota:,} bytes of text.")
    then = Progress(max(lines.last_sequence, committed), now.finished or lines.finish)
    if then != Progress(committed, now.finished):
        store.add_chunks(tx, stream.deployment_id, stream.id, stream.stage_id, head, new)
        store.update_stream(tx, stream.id, **vars(then), byte_size=now.byte_size + size)
        tx.emit(LogGrew(stream.deployment_id, head.position + 1, tuple(chunk.payload for chunk in new)))
    return then


def _require_adjacent(stream: Stream, now: Record, lines: Lines) -> None:
    expected = now.committed_sequence + 1
    if now.finished and lines.last_sequence >= expected:
        raise _finished(stream, now.committed_sequence)
    if lines.first_sequence > expected:
        raise Aborted(
            f"The stream {stream.name!r} goes on with sequence {expected}; lines before these are missing.",
            reason="SEQUENCE_GAP",
            metadata={"expected_sequence": str(expected)},
        )


def _require_same(tx: Transaction, stream: Stream, lines: Lines, last: int) -> None:
    for payload in chunks.payloads_of(tx, stream.id, lines.first_sequence, last):
        different = lines.first_difference(payload)
        if different is not None:
            raise _conflict(stream, different)


def _conflict(stream: Stream, sequence: int) -> FailedPrecondition:
    return FailedPrecondition(
        f"The stream {stream.name!r} has another line {sequence} on disk.",
        Condition(
            "SEQUENCE_CONFLICT", stream.name, f"send line {sequence} as it was, or begin a stream of another name"
        ),
        reason="SEQUENCE_CONFLICT",
        metadata={"sequence": str(sequence)},
    )


def _finished(stream: Stream, committed: int) -> FailedPrecondition:
    return FailedPrecondition(
        f"The stream {stream.name!r} was finished with line {committed}.",
        Condition("LOG_FINISHED", stream.name, "begin a stream of another name"),
        reason="LOG_FINISHED",
        metadata={"committed_sequence": str(committed)},
    )


def note_quota(tx: Transaction, deployment_id: UUID, line: Lines) -> None:
    """Say in a log, once, that it takes no more lines."""
    head = store.lock_head(tx, deployment_id)
    if store.add_stream(tx, deployment_id, None, SYSTEM_STREAM, finished=True):
        stream = store.get_stream(tx, deployment_id, SYSTEM_STREAM)
        new = line.chunks(SYSTEM_STREAM, None, 0)
        store.add_chunks(tx, deployment_id, stream.id, None, head, new)
        size = sum(chunk.byte_size for chunk in new)
        store.update_stream(tx, stream.id, committed_sequence=1, finished=True, byte_size=size)
        tx.emit(LogGrew(deployment_id, head.position + 1, tuple(chunk.payload for chunk in new)))
