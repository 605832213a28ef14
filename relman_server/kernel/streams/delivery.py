"""Answers of a stream on their way to the caller, who can resume after each: whatever ends it says where."""

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from relman_server.kernel.errors import ResourceExhausted, Unauthenticated, Unavailable
from relman_server.kernel.streams.lifetime import Lifetime

T = TypeVar("T")

STALLED = 30.0
"""Seconds after which a caller that takes no answer is given up."""


class Delivery:
    """The answers of one stream.

    Args:
        write: Hands an answer to the transport; returns when the transport has taken it.
        lifetime: Ends the stream from outside.
    """

    def __init__(self, write: Callable[[Any], Awaitable[None]], lifetime: Lifetime) -> None:
        self._write = write
        self._lifetime = lifetime
        self._cursor = ""
        self._sent_at = time.monotonic()

    async def send(self, answer: Any, cursor: str = "") -> None:  # a message, or the bytes of one
        """Send an answer after which the caller can resume at the cursor.

        Raises Unavailable STREAM_STALLED when the caller does not take it, and the error that ends the stream.
        """
        try:
            await self._lifetime.race(self._write(answer), within=STALLED)
        except TimeoutError:
            raise Unavailable(
                "The answers were not read for too long; connect again and resume.", reason="STREAM_STALLED"
            ) from None
        self.reached(cursor)
        self._sent_at = time.monotonic()

    def reached(self, cursor: str) -> None:
        """Note that everything before the cursor is done, without an answer that says so."""
        self._cursor = cursor

    @property
    def silent_for(self) -> float:
        """Seconds since the last answer."""
        return time.monotonic() - self._sent_at

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await something; raises the error that ends the stream meanwhile."""
        return await self._lifetime.race(awaitable)

    async def sleep(self, woken: asyncio.Event, seconds: float) -> None:
        """Wait for a wake-up, or that long."""
        try:
            await self._lifetime.race(woken.wait(), within=max(seconds, 0.0))
        except TimeoutError:
            return

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """Let the errors that a caller gets over by connecting again carry the cursor, as metadata `cursor`."""
        try:
            yield
        except (Unavailable, Unauthenticated, ResourceExhausted) as error:
            if not self._cursor:
                raise
            told = copy.copy(error)  # the same error may end other streams, too
            told.metadata = {**error.metadata, "cursor": self._cursor}
            raise told from error
