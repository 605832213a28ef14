"""Group commit: appends of many writers share a transaction, and so one wait for the disk serves all of them.

While one group is being committed the next one gathers; when nothing is under way, an append waits for nobody.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

import structlog

from relman_server.kernel.db import Database
from relman_server.kernel.errors import RelmanError, ResourceExhausted
from relman_server.logs.appending import Append, Outcome, append_all
from relman_server.logs.logic import Progress

GROUP_APPENDS = 256
GROUP_BYTES = 4 * 1024 * 1024
"""Of text in one group; a single append may have more."""
WAITING_BYTES = 64 * 1024 * 1024
"""Of text that waits in this process, or is being committed. Past it nothing more is taken: writers are held up."""

Waiting = tuple[Append, "asyncio.Future[Progress]"]

log = structlog.get_logger(__name__)


class GroupCommit:
    """Appends on their way to the disk, in this process.

    Args:
        db: Where logs are.
        quota: Bytes of text that the log of a deployment may hold.
    """

    def __init__(self, db: Database, quota: int) -> None:
        self._db = db
        self._quota = quota
        self._waiting: deque[Waiting] = deque()
        self._news = asyncio.Event()
        self._bytes = 0
        self._roomy = asyncio.Event()
        self._roomy.set()

    def submit(self, append: Append) -> "asyncio.Future[Progress]":
        """Take an append; the future holds how far its stream is once it is on disk, or why it was refused.

        Appends are carried out in the order in which they are submitted.
        """
        outcome: asyncio.Future[Progress] = asyncio.get_running_loop().create_future()
        outcome.add_done_callback(_retrieve)
        self._waiting.append((append, outcome))
        self._grow(append.lines.byte_size)
        self._news.set()
        return outcome

    def require_room(self) -> None:
        """Raise ResourceExhausted when the database is so slow that too much waits for it."""
        if not self._roomy.is_set():
            message = "Too many lines wait for the disk; send these again in a moment."
            raise ResourceExhausted(message, retry_after=timedelta(seconds=1))

    async def room(self) -> None:
        """Wait until there is room for more."""
        await self._roomy.wait()

    async def keep_committing(self) -> None:
        """Commit what is submitted, for as long as the server runs."""
        while True:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
            group = self._next_group()
            try:
                await self._commit(group)
            finally:
                self._grow(-sum(append.lines.byte_size for append, _ in group))

    def _grow(self, size: int) -> None:
        self._bytes += size
        if self._bytes < WAITING_BYTES:
            self._roomy.set()
        else:
            self._roomy.clear()

    def _next_group(self) -> list[Waiting]:
        group: list[Waiting] = []
        size = 0
        while self._waiting and len(group) < GROUP_APPENDS:
            size += self._waiting[0][0].lines.byte_size
            if group and size > GROUP_BYTES:
                break
            group.append(self._waiting.popleft())
        return group

    async def _commit(self, group: Sequence[Waiting]) -> None:
        outcomes: Sequence[Outcome]
        try:
            outcomes = await self._db.write(append_all, [append for append, _ in group], self._quota)
        except RelmanError as error:  # of the database: nothing of the group is on disk
            outcomes = [error] * len(group)
        except Exception as error:
            if len(group) > 1:  # one of them is a fault of ours, and the others shall not suffer from it
                for each in group:
                    await self._commit([each])
                return
            log.exception("an append failed")
            outcomes = [error]
        for (append, future), outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                append.source.refused = outcome
            if future.done():  # whoever submitted it has left
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _retrieve(outcome: "asyncio.Future[Progress]") -> None:
    """Look at how it ended: whoever submitted it may have left, and asyncio would log that nobody did."""
    if not outcome.cancelled():
        outcome.exception()
