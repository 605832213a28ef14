"""Queries of the chunks of a log: as many at a time as fit into memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam, func, select

from relman_server.kernel.db.transaction import Reading, Record
from relman_server.logs.inputs import MAX_ENTRIES, Wanted
from relman_server.logs.model import LogChunk

BATCH_CHUNKS = 256
BATCH_BYTES = 256 * 1024
"""What a reader may have in memory, besides the chunk that goes beyond it."""


@dataclass(frozen=True)
class Batch:
    """Some chunks, read in one direction.

    Attributes:
        chunks: `position` and `payload` of each, in the direction of reading.
        reached: The last position that was looked at: all chunks before it that may hold lines wanted are there.
    """

    chunks: Sequence[Record]
    reached: int


def read(tx: Reading, deployment_id: UUID, after: int, upto: int, wanted: Wanted) -> Batch:
    """Return the next chunks in (after, upto] that may hold lines wanted, as many as fit into a batch."""
    rows = _read(tx, deployment_id, after, upto, wanted, backwards=False)
    return Batch(rows, rows[-1].position if _is_full(rows) else upto)


def read_back(tx: Reading, deployment_id: UUID, before: int, wanted: Wanted) -> Batch:
    """As `read`, from the position before `before` backwards; `reached` is 0 after the first chunk."""
    rows = _read(tx, deployment_id, 0, before - 1, wanted, backwards=True)
    return Batch(rows, rows[-1].position if _is_full(rows) else 0)


def first_since(tx: Reading, deployment_id: UUID, upto: int, since: datetime) -> Record | None:
    """Return `position` and `payload` of the first chunk up to `upto` with a line of that time or later."""
    return tx.row(
        select(LogChunk.position, LogChunk.payload)
        .where(LogChunk.deployment_id == deployment_id, LogChunk.position <= upto, LogChunk.last_time >= since)
        .order_by(LogChunk.position)
        .limit(1)
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


def _read(
    tx: Reading, deployment_id: UUID, after: int, upto: int, wanted: Wanted, *, backwards: bool
) -> Sequence[Record]:
    filters: dict[str, Any] = {  # values of columns
        "stage": wanted.stage_id,
        "severity": wanted.min_severity or None,
        "since": wanted.since,
    }
    given = {name: value for name, value in filters.items() if value is not None}
    statement = _statement(frozenset(given), backwards=backwards)
    return tx.rows(statement, {"deployment": deployment_id, "after": after, "upto": upto} | given)


_FILTERS = {
    "stage": LogChunk.stage_id == bindparam("stage"),
    "severity": LogChunk.max_severity >= bindparam("severity"),
    "since": LogChunk.last_time >= bindparam("since"),
}


@cache
def _statement(filters: frozenset[str], *, backwards: bool) -> Select[Any]:
    """Select chunks until BATCH_BYTES are reached. Sizes are added up first, so no payload is read in vain."""
    of_log = LogChunk.deployment_id == bindparam("deployment")
    order = LogChunk.position.desc() if backwards else LogChunk.position.asc()
    sized = (
        select(LogChunk.position, func.length(LogChunk.payload).label("size"))
        .where(of_log, LogChunk.position > bindparam("after"), LogChunk.position <= bindparam("upto"))
        .where(*(_FILTERS[name] for name in sorted(filters)))
        .order_by(order)
        .limit(BATCH_CHUNKS)
        .subquery()
    )
    place = sized.c.position.desc() if backwards else sized.c.position.asc()
    before = (func.sum(sized.c.size).over(order_by=place) - sized.c.size).label("before")
    running = select(sized.c.position, before).subquery()
    columns: list[Any] = [LogChunk.position, LogChunk.payload]  # of different types
    return (
        select(*columns)
        .join(running, running.c.position == LogChunk.position)
        .where(of_log, running.c.before < BATCH_BYTES)
        .order_by(order)
    )


def _is_full(rows: Sequence[Record]) -> bool:
    return len(rows) == BATCH_CHUNKS or sum(len(row.payload) for row in rows) >= BATCH_BYTES
