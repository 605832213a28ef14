"""What must happen when its time has come, whether or not anyone is connected: timeouts, expiry, decisions.

Times are in rows. A tick asks, in one statement that looks into one index a duty, whether any has come; usually none
has, and that is all. So a restart or an outage delays what is due, and never loses it.

Every process ticks. What is due is done by one of them: its transaction takes an advisory lock, and rows that are held
by callers are passed over until the next tick.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Select, func, select

from relman_server.kernel.clock import Clock
from relman_server.kernel.db import Database, Reading, Transaction
from relman_server.kernel.db.transaction import Record
from relman_server.kernel.errors import RelmanError

EVERY = 1.0  # seconds between ticks
MISSED = timedelta(seconds=5)  # without a tick for so long, callers could not reach this process either
AT_ONCE = 200  # transactions for one duty before the others have their turn
LOCK = 1919249518  # "reln", the one after that of migrations

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Duty:
    """Something to do when a time has come.

    Attributes:
        name: For the log.
        due: Selects the earliest time that stands in a row; one look into an index.
        carry_out: Does what is due, or a part of it; returns whether there may be more.
        patience: How long the server must have been there without a break before it acts: for times that callers keep
            from coming, which they cannot while the server is away.
    """

    name: str
    due: Select[datetime | None]
    carry_out: Callable[[Transaction], bool]
    patience: timedelta = timedelta()
    after: timedelta = timedelta()


class Reconciler:
    """Carries out duties, for as long as the server runs."""

    def __init__(self, db: Database, clock: Clock, duties: Sequence[Duty]) -> None:
        self._db = db
        self._clock = clock
        self._duties = duties
        self._statement = select(*(duty.due.scalar_subquery().label(duty.name) for duty in duties))
        self._steady_since = self._last = clock.now()
        self._ticking = asyncio.Lock()

    async def keep_ticking(self) -> None:
        """Tick every second."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.tick()
            except RelmanError:
                continue  # the log has it already, and the next tick finds what is due
            except Exception:
                log.exception("background work failed")

    async def tick(self) -> None:
        """Do what is due by now, after what another tick of this process is at."""
        async with self._ticking:
            await self._tick()

    async def _tick(self) -> None:
        now = self._clock.now()
        if not timedelta() <= now - self._last <= MISSED:
            self._steady_since = now
        due = await self._db.read(self._due)
        self._last = now
        for duty in self._duties:
            when: datetime | None = getattr(due, duty.name)
            if when is not None and when + duty.after <= now and now - self._steady_since >= duty.patience:
                await self._carry_out(duty)

    def _due(self, tx: Reading) -> Record:
        row = tx.row(self._statement)
        assert row is not None
        return row

    async def _carry_out(self, duty: Duty) -> None:
        try:
            for _ in range(AT_ONCE):
                if not await self._db.write(_alone, duty.carry_out):
                    return
        except RelmanError as error:
            log.warning("due, but not done", duty=duty.name, reason=error.reason)
        except Exception:  # one duty that fails must not keep the others from being done
            log.exception("background work failed", duty=duty.name)


def _alone(tx: Transaction, carry_out: Callable[[Transaction], bool]) -> bool:
    """Carry something out unless another process does so right now."""
    if tx.engine == "postgresql" and not tx.scalar(select(func.pg_try_advisory_xact_lock(LOCK))):
        return False
    return carry_out(tx)
