"""Sealing: the rows since the newest block become a block, and the chain goes on.

A block is of the rows after the last one of the block before, up to a position from which on rows may still be
committed. Replicas seal one after the other: the chain's row is locked meanwhile.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import func, insert, select

from relman_client.audit_chain import GENESIS, Block, digest, row_line, rows_hash
from relman_server.audit import store, walking
from relman_server.audit.model import AuditBlock
from relman_server.audit.signing import BlockSigner
from relman_server.audit.walking import Row, created_at_of, position_of
from relman_server.kernel.db import Database
from relman_server.kernel.db.audit import AuditChain, AuditEntry
from relman_server.kernel.db.transaction import Record, Transaction

EVERY = timedelta(minutes=1)
ROWS = 1000
"""In a block, at most."""

_SEALED = select(func.coalesce(func.max(AuditBlock.last_position), 0)).scalar_subquery()
OLDEST_UNSEALED = (
    select(AuditEntry.created_at).where(AuditEntry.position > _SEALED).order_by(AuditEntry.position).limit(1)
)


async def seal_all(db: Database, signer: BlockSigner | None) -> None:
    """Seal every row that is committed by now, and let a key that is new sign what was sealed before it."""
    until = await db.read(store.settled_position)
    while await db.write(seal, signer, until):
        pass
    if signer is not None:
        await db.write(sign_newest, signer)


def seal(tx: Transaction, signer: BlockSigner | None, until: int | None = None) -> bool:
    """Seal some rows; return whether there may be more.

    Args:
        tx: The transaction.
        signer: Signs the block, where there is a key.
        until: The last position to seal; by default that of the last row that is settled.
    """
    before = _lock(tx)
    after = before.last_position if before else 0
    until = store.settled_position(tx) if until is None else until
    rows = walking.read_rows(tx, after, until, limit=ROWS) if until > after else ()
    if rows:
        _append(tx, before, rows, signer)
    return bool(rows) and position_of(rows[-1]) < until


def sign_newest(tx: Transaction, signer: BlockSigner) -> None:
    """Append a block without rows when the newest is not signed with this key, so that all before it is."""
    before = _lock(tx)
    if before is not None and not signer.holds(before.hash, before.signature):
        _append(tx, before, (), signer)


def _lock(tx: Transaction) -> Record | None:
    """Keep others from sealing until the end of the transaction; return the newest block."""
    tx.row(select(AuditChain.id).with_for_update())
    return store.head(tx)


def _append(tx: Transaction, before: Record | None, rows: Sequence[Row], signer: BlockSigner | None) -> None:
    newest = datetime.fromisoformat(max(map(created_at_of, rows))) if rows else before.newest_at  # type: ignore[union-attr]  # an empty block has one before it
    block = Block(
        number=before.number + 1 if before else 1,
        previous=before.hash if before else GENESIS,
        rows=len(rows),
        rows_hash=rows_hash(digest(row_line(*row[1:])) for row in rows),
        newest=walking.time_text(newest),
        sealed_at=walking.time_text(tx.now),
    )
    block = replace(block, hash=block.computed_hash())
    tx.execute(
        insert(AuditBlock).values(
            number=block.number,
            last_position=position_of(rows[-1]) if rows else before.last_position,  # type: ignore[union-attr]  # as above
            row_count=block.rows,
            rows_hash=block.rows_hash,
            newest_at=newest,
            sealed_at=tx.now,
            previous_hash=block.previous,
            hash=block.hash,
            signature=signer.sign(block.hash) if signer else "",
        )
    )
