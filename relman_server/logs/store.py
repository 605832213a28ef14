"""Queries of logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from relman_server.catalog.model import Service
from relman_server.deployments.model import Deployment, Stage
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import InvalidInput, NotFound, Violation
from relman_server.kernel.ids import new_id, parse_id
from relman_server.logs.inputs import MAX_ENTRIES, Chunk, Wanted
from relman_server.logs.model import LogChunk, LogHead, LogStream
from relman_server.teams import store as teams

BATCH_CHUNKS = 64
BATCH_BYTES = 1024 * 1024


def writable(tx: Reading, deployment_id: UUID, stage: str | None, stream_name: str | None) -> Record:
    """Return what writing to a stream depends on, in one statement.

    Its columns: `status` of the deployment; `service_name`, `owner_id` and `caller_role` of its service; `stage_id`
    and `stage_name`; and of the stream, when it exists, `stream_id`, `stream_stage_id`, `committed_sequence` and
    `finished`. Raises NotFound and InvalidInput as `_require_stage` does.
    """
    name = stream_name or func.coalesce(Stage.name, "main")
    row = tx.row(
        select(
            Deployment.status,
            Service.name.label("service_name"),
            Service.owner_id,
            teams.caller_role(tx.caller.user_id, Service.team_id),
            *_STAGE,
            LogStream.id.label("stream_id"),
            LogStream.stage_id.label("stream_stage_id"),
            LogStream.committed_sequence,
            LogStream.finished,
        )
        .select_from(Deployment)
        .join(Service, Service.id == Deployment.service_id)
        .outerjoin(Stage, _stage_is(stage, deployment_id))
        .outerjoin(LogStream, and_(LogStream.deployment_id == Deployment.id, LogStream.stream_name == name))
        .where(Deployment.id == deployment_id)
    )
    return _require_stage(row, deployment_id, stage)


def readable(tx: Reading, deployment_id: UUID, stage: str | None) -> Record:
    """Return the `state` of a log and the `stage_id` that a reference means.

    Raises NotFound and InvalidInput as `_require_stage` does.
    """
    return _require_stage(
        tx.row(_state(deployment_id).add_columns(*_STAGE).outerjoin(Stage, _stage_is(stage, deployment_id))),
        deployment_id,
        stage,
    )


def state(tx: Reading, deployment_id: UUID) -> Record:
    """Return `status` of the deployment, `position` and `entry_count` of its log, and whether a stream `is_open`.

    Raises NotFound.
    """
    row = tx.row(_state(deployment_id))
    if row is None:
        raise NotFound("deployment", str(deployment_id))
    return row


def _state(deployment_id: UUID) -> Select[Any]:
    unfinished = exists().where(LogStream.deployment_id == Deployment.id, LogStream.finished.is_(False))
    columns: list[Any] = [  # of different types
        Deployment.status,
        func.coalesce(LogHead.position, 0).label("position"),
        func.coalesce(LogHead.entry_count, 0).label("entry_count"),
        unfinished.label("is_open"),
    ]
    return (
        select(*columns)
        .select_from(Deployment)
        .outerjoin(LogHead, LogHead.deployment_id == Deployment.id)
        .where(Deployment.id == deployment_id)
    )


_STAGE = (
    Stage.id.label("stage_id"),
    Stage.name.label("stage_name"),
    Stage.deployment_id.label("stage_deployment_id"),
)


def _stage_is(reference: str | None, deployment_id: UUID) -> ColumnElement[bool]:
    """Return the condition that a stage is the one referred to: by id, `deployment-id/stage-name` or name."""
    if reference is None:
        return false()
    stage_id = parse_id(reference)
    if stage_id is not None:
        return Stage.id == stage_id
    owner, slash, name = reference.rpartition("/")
    owner_id = parse_id(owner) if slash else deployment_id
    return and_(Stage.deployment_id == owner_id, Stage.name == name)


def _require_stage(row: Record | None, deployment_id: UUID, stage: str | None) -> Record:
    """Return the row of a deployment and a stage that was asked for.

    Raises NotFound when one of them does not exist, and InvalidInput for a stage of another deployment.
    """
    if row is None:
        raise NotFound("deployment", str(deployment_id))
    if stage is not None and row.stage_id is None:
        raise NotFound("stage", stage)
    if stage is not None and row.stage_deployment_id != deployment_id:
        raise InvalidInput(Violation("stage", "must be a stage of the same deployment"))
    return row


def get_stream(tx: Reading, deployment_id: UUID, stream_name: str) -> Record:
    """Return a stream; raises NotFound."""
    row = tx.row(
        select(LogStream.__table__)
        .select_from(Deployment)
        .outerjoin(LogStream, and_(LogStream.deployment_id == Deployment.id, LogStream.stream_name == stream_name))
        .where(Deployment.id == deployment_id)
    )
    if row is None:
        raise NotFound("deployment", str(deployment_id))
    if row.id is None:
        raise NotFound("log stream", stream_name)
    return row


def lock_status(tx: Transaction, deployment_id: UUID) -> str:
    """Return the status of a deployment, which stays until the end of the transaction; raises NotFound."""
    status: str | None = tx.scalar(
        select(Deployment.status).where(Deployment.id == deployment_id).with_for_update(read=True)
    )
    if status is None:
        raise NotFound("deployment", str(deployment_id))
    return status


def add_stream(
    tx: Transaction, deployment_id: UUID, stage_id: UUID | None, stream_name: str, *, finished: bool = False
) -> bool:
    """Create a stream, and the deployment's log when it is the first; return whether it did not exist before.

    Of several that do so at once, one creates it and the others wait for its commit.
    """
    add = sqlite.insert if tx.engine == "sqlite" else postgresql.insert
    tx.execute(
        add(LogHead)
        .values(deployment_id=deployment_id, position=0, entry_count=0, byte_size=0)
        .on_conflict_do_nothing()
    )
    added = tx.execute(
        add(LogStream)
        .values(
            id=new_id(),
            deployment_id=deployment_id,
            stage_id=stage_id,
            stream_name=stream_name,
            committed_sequence=0,
            finished=finished,
            byte_size=0,
            created_at=tx.now,
            updated_at=tx.now,
        )
        .on_conflict_do_nothing()
    )
    return added.rowcount == 1


def lock_head(tx: Transaction, deployment_id: UUID) -> Record:
    """Return `position`, `entry_count` and `byte_size` of a log, locked until the end of the transaction.

    The lock stands for all streams of the log, too: whoever writes to one holds it. Raises NotFound.
    """
    row = tx.row(
        select(LogHead.position, LogHead.entry_count, LogHead.byte_size)
        .where(LogHead.deployment_id == deployment_id)
        .with_for_update()
    )
    if row is None:
        raise NotFound("deployment", str(deployment_id))
    return row


def stream_by_id(tx: Transaction, stream_id: UUID) -> Record:
    """Return `committed_sequence`, `finished` and `byte_size` of a stream whose log is locked; raises NotFound."""
    row = tx.row(
        select(LogStream.committed_sequence, LogStream.finished, LogStream.byte_size).where(LogStream.id == stream_id)
    )
    if row is None:
        raise NotFound("log stream", str(stream_id))
    return row


def add_chunks(
    tx: Transaction, deployment_id: UUID, stream_id: UUID, stage_id: UUID | None, head: Record, chunks: Sequence[Chunk]
) -> None:
    """Append chunks to a log that is locked."""
    for place, chunk in enumerate(chunks, head.position + 1):
        tx.execute(
            insert(LogChunk).values(
                deployment_id=deployment_id, position=place, stream_id=stream_id, stage_id=stage_id, **vars(chunk)
            )
        )
    if chunks:
        tx.execute(
            update(LogHead)
            .where(LogHead.deployment_id == deployment_id)
            .values(
                position=head.position + len(chunks),
                entry_count=head.entry_count + sum(chunk.entry_count for chunk in chunks),
                byte_size=head.byte_size + sum(chunk.byte_size for chunk in chunks),
            )
        )


def update_stream(tx: Transaction, stream_id: UUID, *, committed_sequence: int, finished: bool, byte_size: int) -> None:
    """Store how far a stream is."""
    tx.execute(
        update(LogStream)
        .where(LogStream.id == stream_id)
        .values(committed_sequence=committed_sequence, finished=finished, byte_size=byte_size, updated_at=tx.now)
    )


def payloads_of(tx: Reading, stream_id: UUID, first: int, last: int) -> Sequence[bytes]:
    """Return the stored chunks that hold any of these sequences of a stream, in order."""
    rows = tx.rows(
        select(LogChunk.payload)
        .where(
            LogChunk.stream_id == stream_id,
            # No chunk holds more entries than one append: this is where the index begins to be read.
            LogChunk.first_sequence > first - MAX_ENTRIES,
            LogChunk.first_sequence <= last,
            LogChunk.last_sequence >= first,
        )
        .order_by(LogChunk.first_sequence)
    )
    return [row.payload for row in rows]


@dataclass(frozen=True)
class Batch:
    """Some chunks, read in one direction.

    Attributes:
        chunks: `position`, `entry_count` and `payload` of each, in the direction of reading.
        reached: The last position that was looked at: all chunks before it that may hold lines wanted are there.
    """

    chunks: Sequence[Record]
    reached: int


def read(tx: Reading, deployment_id: UUID, after: int, upto: int, wanted: Wanted) -> Batch:
    """Return the next chunks in (after, upto] that may hold lines wanted, as many as fit into a batch."""
    rows = _batch(tx, deployment_id, _sizes(deployment_id, after, upto, wanted), backwards=False)
    return Batch(rows, rows[-1].position if _is_full(rows) else upto)


def read_back(tx: Reading, deployment_id: UUID, before: int, wanted: Wanted) -> Batch:
    """As `read`, from the position before `before` backwards; `reached` is 0 after the first chunk."""
    rows = _batch(tx, deployment_id, _sizes(deployment_id, 0, before - 1, wanted), backwards=True)
    return Batch(rows, rows[-1].position if _is_full(rows) else 0)


def first_since(tx: Reading, deployment_id: UUID, upto: int, since: datetime) -> Record | None:
    """Return `position` and `payload` of the first chunk up to `upto` with a line of that time or later."""
    return tx.row(
        select(LogChunk.position, LogChunk.payload)
        .where(LogChunk.deployment_id == deployment_id, LogChunk.position <= upto, LogChunk.last_time >= since)
        .order_by(LogChunk.position)
        .limit(1)
    )


def _sizes(deployment_id: UUID, after: int, upto: int, wanted: Wanted) -> Select[Any]:
    statement = select(LogChunk.position, func.length(LogChunk.payload).label("size")).where(
        LogChunk.deployment_id == deployment_id, LogChunk.position > after, LogChunk.position <= upto
    )
    if wanted.stage_id is not None:
        statement = statement.where(LogChunk.stage_id == wanted.stage_id)
    if wanted.min_severity:
        statement = statement.where(LogChunk.max_severity >= wanted.min_severity)
    if wanted.since is not None:
        statement = statement.where(LogChunk.last_time >= wanted.since)
    return statement


def _batch(tx: Reading, deployment_id: UUID, sizes: Select[Any], *, backwards: bool) -> Sequence[Record]:
    """Return chunks until BATCH_BYTES are reached: sizes are added up first, so no payload is read in vain."""
    order = LogChunk.position.desc() if backwards else LogChunk.position.asc()
    sized = sizes.order_by(order).limit(BATCH_CHUNKS).subquery()
    place = sized.c.position.desc() if backwards else sized.c.position.asc()
    before = (func.sum(sized.c.size).over(order_by=place) - sized.c.size).label("before")
    running = select(sized.c.position, before).subquery()
    return tx.rows(
        select(LogChunk.position, LogChunk.entry_count, LogChunk.payload)
        .join(running, running.c.position == LogChunk.position)
        .where(LogChunk.deployment_id == deployment_id, running.c.before < BATCH_BYTES)
        .order_by(order)
    )


def _is_full(rows: Sequence[Record]) -> bool:
    return len(rows) == BATCH_CHUNKS or sum(len(row.payload) for row in rows) >= BATCH_BYTES
