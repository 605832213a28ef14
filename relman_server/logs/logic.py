"""Rules of logs: who may write, which sequences are accepted, how much."""

from dataclasses import dataclass
from uuid import UUID

from relman_server.catalog import logic as catalog
from relman_server.deployments import leases
from relman_server.deployments.inputs import LeaseHeld
from relman_server.deployments.model import ENDED
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import (
    InvalidInput,
    ResourceExhausted,
    Violation,
    wrong_state,
)
from relman_server.logs import store
from relman_server.logs.inputs import DEFAULT_STREAM, Opening


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


def find_stream(tx: Reading, opening: Opening) -> tuple[Stream, Progress] | None:
    """Return a stream for writing; None when `open_stream` has to create it, or to look at the lease.

    Raises as that does.
    """
    row = _writable(tx, opening)
    return None if row.stream_id is None or opening.lease is not None else _found(opening, row)


def open_stream(tx: Transaction, opening: Opening) -> tuple[Stream, Progress]:
    """Return a stream for writing, created unless it exists.

    Raises NotFound for an unknown deployment or stage, PermissionDenied for who does not work on the service,
    InvalidInput for a stage of another deployment or another stage than the stream's, and FailedPrecondition when the
    stream is new and the deployment has ended.
    """
    row = _writable(tx, opening)
    leases.require(tx, opening.deployment, opening.lease)
    if row.stream_id is None:
        return _create_stream(tx, opening, row.stage_id, _name(opening, row))
    return _found(opening, row)


def _writable(tx: Reading, opening: Opening) -> Record:
    row = store.writable(tx, opening.deployment, opening.stage, opening.stream_name)
    catalog.require_team(tx.caller, row)
    return row


def _name(opening: Opening, row: Record) -> str:
    return opening.stream_name or row.stage_name or DEFAULT_STREAM


def _found(opening: Opening, row: Record) -> tuple[Stream, Progress]:
    name = _name(opening, row)
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
