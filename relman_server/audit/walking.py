"""The audit log in its own order, a bounded part at a time: so many rows and bytes in a statement, and no more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select

from relman_client.audit_chain import Block
from relman_server.audit import store
from relman_server.audit.model import AuditBlock
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading, Record

ROWS = 1000
BYTES = 2 * 1024 * 1024
"""Of details. A part ends with the row that goes beyond."""
POSITIONS = 50_000
"""Among which a statement looks for rows, so that a filter that matches few is no long statement either."""
BLOCKS = 1000


@dataclass(frozen=True)
class Place:
    """Where a reader stands: all rows up to a position are done, and all blocks up to a number."""

    position: int = 0
    block: int = 0


@dataclass(frozen=True)
class Part:
    """What comes next.

    Attributes:
        rows: Each a position, and what `audit_chain.row_line` takes.
        blocks: Those that end among the rows, or before.
        place: After them.
        is_last: Nothing comes after it.
    """

    rows: Sequence[Any]
    blocks: Sequence[Record]
    place: Place
    is_last: bool


def read_rows(
    tx: Reading,
    after: int,
    until: int,
    where: Sequence[ColumnElement[bool]] = (),
    limit: int = ROWS,
) -> Sequence[Any]:
    """Return rows after a position as texts, in order: as many as fit into a part, and at least one where there is one.

    Args:
        tx: Where to read.
        after: The position.
        until: The last position to look at.
        where: Which rows.
        limit: How many at most.
    """
    length = (func.length if tx.engine == "sqlite" else func.octet_length)(store.details_text())
    before = func.sum(length).over(order_by=AuditEntry.position, rows=(None, 0)) - length
    found = (
        select(AuditEntry.position, *store.texts(tx.engine), before.label("before"))
        .where(AuditEntry.position > after, AuditEntry.position <= until, *where)
        .order_by(AuditEntry.position)
        .limit(limit)
        .subquery()
    )
    columns = [column for column in found.columns if column.name != "before"]
    return tx.rows(select(*columns).where(found.c.before < BYTES).order_by(found.c.position))


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
    rows: Sequence[Any] = ()
    if place.position < pruned:
        end = pruned
    else:
        # Without filters every position has a row, or had one; SQLite would sum up all that it may look at.
        end = min(place.position + (POSITIONS if where else ROWS), until)
        rows = read_rows(tx, place.position, end, where)
        end = rows[-1].position if rows else end
    blocks = _blocks(tx, place.block, end)
    if len(blocks) == BLOCKS:
        end = blocks[-1].last_position
        rows = [row for row in rows if row.position <= end]
    then = Place(max(end, place.position), blocks[-1].number if blocks else place.block)
    return Part(rows, blocks, then, is_last=end >= until and len(blocks) < BLOCKS)


def _blocks(tx: Reading, after: int, until: int) -> Sequence[Record]:
    return tx.rows(
        select(*AuditBlock.__table__.columns)
        .where(AuditBlock.number > after, AuditBlock.last_position <= until)
        .order_by(AuditBlock.number)
        .limit(BLOCKS)
    )


def merged(part: Part) -> Iterator[tuple[Any, Record | None]]:
    """Yield each row, and each block after its rows: a row and None, or None and a block."""
    rows = iter(part.rows)
    row = next(rows, None)
    for block in part.blocks:
        last = block.last_position
        while row is not None and row[0] <= last:
            yield row, None
            row = next(rows, None)
        yield None, block
    while row is not None:
        yield row, None
        row = next(rows, None)


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
