"""Attempts that were refused, in the audit log: in transactions of their own, and after the call has its answer.

A refusal rolls back what it refused, so its row cannot be part of that; and whoever is refused may try ten thousand
times a second, so repeats of the same attempt are counted and the count is written once a minute.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import insert

from relman_server.kernel.clock import Clock
from relman_server.kernel.db.audit import AuditEntry, AuditOutcome
from relman_server.kernel.db.database import Database
from relman_server.kernel.db.transaction import Transaction
from relman_server.kernel.errors import RelmanError
from relman_server.kernel.ids import new_id

FOLDED_FOR = timedelta(minutes=1)
# Different attempts told apart at a time; beyond, only their actions are. So however many addresses and names an
# attacker has, a minute leaves at most twice as many rows as this and the contract's RPCs together.
MAX_ATTEMPTS = 200
LOOK_EVERY = 1.0  # seconds, while there are counts whose minute will be over
PAUSE = 0.2  # seconds between two transactions, so that a flood leaves the writer of an embedded database to others

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Attempt:
    """What was refused; equal ones are counted together.

    Attributes:
        action: The RPC's, as in the audit log; of one that only reads, the permission it asks for.
        reason: ErrorReason of the refusal.
        field: Field of the request that says what it is about, and `target` its value, as the caller wrote it.
    """

    action: str
    reason: str
    resource_type: str
    field: str = ""
    target: str = ""
    user_id: UUID | None = None
    username: str = ""
    address: str = ""


@dataclass
class _Tally:
    """How often an attempt was made since `first_at`, and how many of these are in the audit log."""

    first_at: datetime
    last_at: datetime
    request_id: str
    user_agent: str
    message: str
    count: int = 1
    written: int = 0


class Denials:
    """The refused attempts of this process on their way into the audit log.

    The first of each kind is written at once, its repeats when their minute is over.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tallies: dict[Attempt, _Tally] = {}
        self._noted = asyncio.Event()

    def note(self, attempt: Attempt, *, request_id: str, user_agent: str, message: str) -> None:
        """Count an attempt; costs no more than that."""
        now = self._clock.now()
        if attempt not in self._tallies and len(self._tallies) >= MAX_ATTEMPTS:
            attempt = Attempt(attempt.action, attempt.reason, attempt.action.partition(".")[0])
            request_id = user_agent = ""
        tally = self._tallies.get(attempt)
        if tally is None:
            self._tallies[attempt] = _Tally(now, now, request_id, user_agent, message)
            self._noted.set()
        else:
            tally.count += 1
            tally.last_at = now

    async def keep_writing(self, db: Database) -> None:
        """Write as attempts are made; without any, nothing runs."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._noted.wait(), LOOK_EVERY if self._tallies else None)
            self._noted.clear()
            await self.write(db)
            await asyncio.sleep(PAUSE)

    async def write(self, db: Database, *, ending: bool = False) -> None:
        """Write what is due, or (when the server ends) all there is; what cannot be written now stays for later."""
        now = self._clock.now()
        over = {attempt for attempt, tally in self._tallies.items() if tally.first_at + FOLDED_FOR <= now}
        due = {
            attempt: tally.count
            for attempt, tally in self._tallies.items()
            if tally.count > tally.written and (ending or not tally.written or attempt in over)
        }
        if due:
            rows = [_row(attempt, self._tallies[attempt]) for attempt in due]
            try:
                await db.write(_insert, rows)
            except RelmanError as error:
                log.warning("refused attempts wait for the database", attempts=len(rows), reason=error.reason)
                return
            except Exception:
                # They will never be written, and must not keep from the audit log those that come after.
                log.exception("refused attempts are lost", attempts=len(rows))
        for attempt, count in due.items():
            self._tallies[attempt].written = count
        for attempt in over:
            if self._tallies[attempt].count == self._tallies[attempt].written:
                del self._tallies[attempt]


def _row(attempt: Attempt, tally: _Tally) -> dict[str, Any]:  # columns of AuditEntry
    names_it = attempt.field == attempt.resource_type
    return {
        "id": new_id(),
        "user_id": attempt.user_id,
        "username": attempt.username,
        "action": attempt.action,
        "resource_type": attempt.resource_type,
        "resource_id": attempt.target if names_it else "",
        "details": {
            "reason": attempt.reason,
            "message": tally.message,
            "count": tally.count - tally.written,
            "first_at": tally.first_at.isoformat(),
            "last_at": tally.last_at.isoformat(),
        }
        | ({attempt.field: attempt.target} if attempt.field and not names_it else {}),
        "ip_address": attempt.address,
        "user_agent": tally.user_agent,
        "request_id": tally.request_id,
        "outcome": str(AuditOutcome.DENIED),
        "created_at": tally.last_at,
    }


def _insert(tx: Transaction, rows: Sequence[dict[str, Any]]) -> None:  # columns of AuditEntry
    tx.execute(insert(AuditEntry), rows)
