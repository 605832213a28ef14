"""Retention: old rows go, the blocks that sealed them stay, so that the chain can still be verified.

Only whole blocks are pruned, from the oldest on. First it is recorded, in the chain's row and in the log itself, up to
which position rows are pruned; triggers let those go and no others. Then they are removed, which may be broken off and
taken up again at any time.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from relman_server.audit import partitions, sealing
from relman_server.audit.model import AuditBlock
from relman_server.audit.signing import BlockSigner
from relman_server.kernel.db import Database
from relman_server.kernel.db.audit import AuditChain
from relman_server.kernel.db.transaction import Transaction


@dataclass(frozen=True)
class Pruned:
    """What was pruned: blocks, none when `last_block` is 0."""

    first_block: int = 0
    last_block: int = 0
    rows: int = 0


async def prune(db: Database, before: datetime, signer: BlockSigner | None, operator: str) -> Pruned:
    """Remove the rows of the oldest blocks, as long as all of a block's rows were recorded before a time.

    Args:
        db: The database.
        before: That time.
        signer: Signs the rows that are to be sealed first.
        operator: Who asked for it, for the log.
    """
    await sealing.seal_all(db, signer)
    pruned = await db.write(declare, before, operator)
    while db.engine == "postgresql" and await db.write(partitions.drop_pruned):
        pass
    while await db.write(partitions.delete_pruned):
        pass
    return pruned


def declare(tx: Transaction, before: datetime, operator: str) -> Pruned:
    """Let the rows go that were recorded before a time, and say so in the log."""
    chain: AuditChain = tx.entities(select(AuditChain).with_for_update())[0]
    kept = select(func.min(AuditBlock.number)).where(
        AuditBlock.last_position > chain.pruned_position, AuditBlock.newest_at >= before
    )
    kept_from: int | None = tx.scalar(kept)
    gone: list[Any] = [AuditBlock.last_position > chain.pruned_position]
    if kept_from is not None:
        gone.append(AuditBlock.number < kept_from)
    first, last, position, rows = (
        func.min(AuditBlock.number),
        func.max(AuditBlock.number),
        func.max(AuditBlock.last_position),
        func.sum(AuditBlock.row_count),
    )
    found = tx.row(
        select(
            first.label("first"), last.label("last"), position.label("position"), func.coalesce(rows, 0).label("rows")
        ).where(*gone)
    )
    if found is None or found.last is None:
        return Pruned()
    head: str = tx.scalar(select(AuditBlock.hash).where(AuditBlock.number == found.last))
    chain.pruned_position = found.position
    pruned = Pruned(found.first, found.last, int(found.rows))
    tx.audit(
        "audit_log.prune",
        chain,
        before=before,
        operator=operator,
        first_block=pruned.first_block,
        last_block=pruned.last_block,
        rows=pruned.rows,
        last_hash=head,
    )
    return pruned
