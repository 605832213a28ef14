"""The audit log in its own order, a bounded part at a time: so many rows and bytes in a statement, and no more."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from relman_client.audit_chain import Block
from relman_server.audit import store
from relman_server.audit.model import AuditBlock
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading, Record

ROWS = 4000
BYTES = 2 * 1024 * 1024
"""Of details. A part ends with the row that goes beyond."""
POSITIONS = 50_000
"""Among which a statement looks for rows, so that a filter that matches few is no long statement either."""
BLOCKS = 1000

Row = tuple[Any, ...]
"""A position, and what `audit_chain.row_line` takes. Of a million of them, names would cost more than all else."""
position_of = itemgetter(0)
created_at_of = itemgetter(2)


@dataclass(frozen=True)
class Place:
    """Where a reader stands: all rows up to a position are done, and all blocks up to a number."""

    position: int = 0
    block: int = 0


@dataclass(frozen=True)
class Part:
    """What comes next.

    Attributes:
        rows: In order.
        blocks: Those that end among the rows, or before.
        place: After them.
        is_last: Nothing comes after it.
    """

    rows: Sequence[Row]
    blocks: Sequence[Record]
    place: Place
    is_last: bool


def read_rows(
    tx: Reading,
    after: int,
    until: int,
    where: Sequence[ColumnElement[bool]] = (),
    limit: int = ROWS,
) -> Sequence[Row]:
    """Return rows after a position, in order: as many as fit into a part, and at least one where there is one.

    Args:
        tx: Where to read.
        after: The position.
        until: The last position to look at.
        where: Which rows.
        limit: How many at most.
    """
    columns: list[Any] = [AuditEntry.position, *store.texts(tx.engine)]  # of different types
    found: Select[Any] = (
        select(*columns)
        .where(AuditEntry.position > after, AuditEntry.position <= until, *where)
        .order_by(AuditEntry.position)
        .limit(limit)
    )
    return _taken(tx, found) if tx.engine == "sqlite" else list(tx.tuples(_of_a_part(found)))


def _of_a_part(rows: Select[Any]) -> Select[Any]:
    """Return the first of some rows, as PostgreSQL finds them: it would send all, however large."""
    length = func.octet_length(store.details_text())
    before = func.sum(length).over(order_by=AuditEntry.position, rows=(None, 0)) - length
    found = rows.add_columns(before.label("before")).subquery()
    columns = [column for column in found.columns if column.name != "before"]
    return select(*columns).where(found.c.before < BYTES).order_by(found.c.position)


def _taken(tx: Reading, rows: Select[Any]) -> Sequence[Row]:
    """Take the first of some rows, one by one, and give their texts the form of lines: in SQL, SQLite would be slow."""
    taken: list[Row] = []
    size = 0
    for position, action, created_at, details, row_id, *others, user_id, username in tx.tuples(rows):
        made, by = f"{created_at[:10]}T{created_at[11:]}Z", _uuid_text(user_id) if user_id else ""
        taken.append((position, action, made, details, _uuid_text(row_id), *others, by, username))
        size += len(details)
        if size >= BYTES:
            break
    return taken


def _uuid_text(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def read(
    tx: Reading,
    place: Place,
    until: int,
    where: Sequence[ColumnElement[bool]] = (),
) -> Part:
    """Return what comes after a place, rows and the blocks that seal them; arguments as of `read_rows`.

    Of what was pruned only the blocks are there, whether or not rows still are.
    """
    pruned = min(store.chain(tx).pruned_position, until)
    rows: Sequence[Row] = ()
    if place.position < pruned:
        end = pruned
    else:
        end = min(place.position + POSITIONS, until)
        rows = read_rows(tx, place.position, end, where)
        end = position_of(rows[-1]) if rows else end
    blocks = _blocks(tx, place.block, end)
    if len(blocks) == BLOCKS:
        end = blocks[-1].last_position
        rows = rows[: bisect_right(rows, end, key=position_of)]
    then = Place(max(end, place.position), blocks[-1].number if blocks else place.block)
    return Part(rows, blocks, then, is_last=end >= until and len(blocks) < BLOCKS)


def _blocks(tx: Reading, after: int, until: int) -> Sequence[Record]:
    return tx.rows(
        select(*AuditBlock.__table__.columns)
        .where(AuditBlock.number > after, AuditBlock.last_position <= until)
        .order_by(AuditBlock.number)
        .limit(BLOCKS)
    )


def merged(part: Part) -> Iterator[tuple[Sequence[Row], Record | None]]:
    """Yield each block after its rows; at last the rows that are in none of them, and None."""
    done = 0
    for block in part.blocks:
        before, done = done, bisect_right(part.rows, block.last_position, done, key=position_of)
        yield part.rows[before:done], block
    yield part.rows[done:], None


def block(row: Record, pruned_position: int) -> Block:
    """Return a block as the chain has it."""
    return Block(
        number=row.number,
        previous=row.previous_hash,
        rows=row.row_count,
        rows_hash=row.rows_hash,
        newest=time_text(row.newest_at),
        sealed_at=time_text(row.sealed_at),
        hash=row.hash,
        signature=row.signature,
        pruned=row.last_position <= pruned_position and row.row_count > 0,
    )


def time_text(moment: datetime) -> str:
    """Return a time as lines have it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
