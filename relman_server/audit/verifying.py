"""Verifying: the chain is recomputed from the rows that are there now."""

from dataclasses import dataclass

from relman_client.audit_chain import Block, ChainError, Checker, row_line
from relman_server.audit import store, walking
from relman_server.audit.inputs import VerifyAuditLogs
from relman_server.audit.signing import BlockSigner
from relman_server.audit.walking import Place
from relman_server.kernel.db import Database
from relman_server.kernel.db.audit import AuditChain
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import InvalidInput, Violation


@dataclass(frozen=True)
class Verification:
    """What came of it; attributes are the contract's."""

    valid: bool = True
    first_invalid_block: int = 0
    reason: str = ""
    blocks_checked: int = 0
    rows_checked: int = 0
    head_block: int = 0
    head_hash: str = ""
    unsealed_rows: int = 0
    signed_blocks: int = 0
    pruned_blocks: int = 0


@dataclass(frozen=True)
class _Range:
    """What to check.

    Attributes:
        before: The block before the first; None when that is block 1.
        place: Right after it.
        until: Position of the last row.
        last_block: The last block; 0 when there is none.
        is_whole: Whether that is the newest.
    """

    before: Block | None
    place: Place
    until: int
    last_block: int
    is_whole: bool


async def verify(db: Database, asked: VerifyAuditLogs, signer: BlockSigner | None) -> Verification:
    """Recompute blocks, some at a time, each part in a read of its own.

    Raises InvalidInput for a block that there is not.
    """
    head = await db.read(store.head)
    checker = Checker(signer.holds if signer else None)
    error: ChainError | None = None
    try:
        wanted = await db.snapshot(_range, asked, head.number if head else 0)
        checker = Checker(signer.holds if signer else None, wanted.before)
        await _check_all(db, checker, wanted)
        if signer and wanted.is_whole and checker.blocks and not checker.head_is_signed:
            raise ChainError(wanted.last_block, "is the newest, and not signed with the server's key")
    except ChainError as found:
        error = found
    return Verification(
        valid=error is None,
        first_invalid_block=error.block if error else 0,
        reason=f"Block {error.block} {error.reason}." if error else "",
        blocks_checked=checker.blocks,
        rows_checked=checker.rows,
        head_block=head.number if head else 0,
        head_hash=head.hash if head else "",
        unsealed_rows=await db.read(store.unsealed),
        signed_blocks=checker.signed,
        pruned_blocks=checker.pruned,
    )


def _range(tx: Reading, asked: VerifyAuditLogs, newest: int) -> _Range:
    for name, number in (("first_block", asked.first_block), ("last_block", asked.last_block)):
        if number > newest:
            raise InvalidInput(Violation(name, f"must be at most {newest}, the number of the newest block"))
    first, last = asked.first_block or 1, asked.last_block or newest
    before, end = _block(tx, first - 1), _block(tx, last)
    return _Range(
        before=walking.block(before, 0) if before else None,
        place=Place(before.last_position if before else 0, first - 1),
        until=end.last_position if end else 0,
        last_block=last,
        is_whole=last == newest,
    )


def _block(tx: Reading, number: int) -> Record | None:
    """Return a block, and None for number 0; raises ChainError."""
    found = store.get_block(tx, number)
    if found is None and number:
        raise ChainError(number, "is missing")
    return found


async def _check_all(db: Database, checker: Checker, wanted: _Range) -> None:
    """Check every block; raises ChainError."""
    place, is_last = wanted.place, wanted.last_block == 0
    while not is_last:
        place, is_last = await db.snapshot(_check, checker, place, wanted)
    found = checker.head.number if checker.head else 0
    if found < wanted.last_block:
        raise ChainError(found + 1, "is missing")


def _check(tx: Reading, checker: Checker, place: Place, wanted: _Range) -> tuple[Place, bool]:
    """Check what comes after a place; return the place after that, and whether it was the last."""
    part = walking.read(tx, place, wanted.until)
    pruned = store.chain(tx).pruned_position
    for rows, block in walking.merged(part):
        for row in rows:
            checker.row(row_line(*row[1:]))
        if block is None:
            break
        if block.number > wanted.last_block:
            return part.place, True  # one without rows, at the same position
        checker.block(walking.block(block, pruned))
        if checker.waiting:
            raise ChainError(block.number, f"has {checker.waiting} rows more than were sealed")
    return part.place, part.is_last


def record(tx: Transaction, found: Verification) -> Verification:
    """Record that somebody looked, and what they saw."""
    log = store.chain(tx)
    tx.audit(
        "audit_log.verify",
        AuditChain(id=log.id),
        valid=found.valid,
        reason=found.reason,
        blocks_checked=found.blocks_checked,
        head_block=found.head_block,
        head_hash=found.head_hash,
    )
    return found
