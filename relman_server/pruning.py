"""`relman-server audit prune`: retention of the audit log, run by hand or by a timer, whether or not a server runs."""

import asyncio
import getpass
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime

from relman_server.audit import retention
from relman_server.audit.retention import Pruned
from relman_server.audit.signing import load_signer
from relman_server.commands import reported
from relman_server.kernel.clock import SystemClock
from relman_server.kernel.db import Database, schema
from relman_server.settings import Settings


def run(chosen: Settings, before: datetime | None, keep_months: int | None) -> int:
    """Remove the rows of before a time; return the exit status. What keeps it from doing so is said in a line."""
    if before is None:
        before = months_before(datetime.now(UTC), keep_months or 0)
    return reported(chosen, lambda: asyncio.run(_prune(chosen, before)))


async def _prune(chosen: Settings, before: datetime) -> int:
    signer = load_signer(chosen.audit_key) if chosen.audit_key else None
    db = Database(chosen.url, clock=SystemClock(), connections=1)
    try:
        await asyncio.to_thread(schema.require_newest, db.writes)
        pruned = await retention.prune(db, before, signer, _operator())
    finally:
        db.close()
    sys.stdout.write(f"{_sentence(pruned, before)}\n")
    return 0


def months_before(now: datetime, months: int) -> datetime:
    """Return the beginning of the month so many months before the present one."""
    month = now.year * 12 + now.month - 1 - months
    return datetime(max(month // 12, 1), month % 12 + 1, 1, tzinfo=UTC)


def _operator() -> str:
    """Return who runs the command, as far as the machine knows."""
    name = "unknown"
    with suppress(OSError, KeyError):
        name = getpass.getuser()
    return f"{name}@{socket.gethostname()}"


def _sentence(pruned: Pruned, before: datetime) -> str:
    if not pruned.last_block:
        return f"no block is wholly from before {before:%Y-%m-%d}; nothing was removed"
    return f"removed {pruned.rows} rows of blocks {pruned.first_block} to {pruned.last_block}; the blocks stay"
