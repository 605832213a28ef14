"""Answers of a stream on their way to the caller, who can resume after each: whatever ends it says where."""

import asyncio
import copy
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from relman_server.kernel.errors import ResourceExhausted, Unauthenticated, Unavailable
from relman_server.kernel.streams.lifetime import TIMERS, Lifetime, Wait

T = TypeVar("T")

STALLED = 30.0
"""Seconds after which a caller that takes no answer is given up."""


class Delivery:
    """The answers of one stream.

    One timer at most runs for it, and it is set anew only when it goes off: an answer costs none.

    Args:
        write: Hands an answer to the transport; returns when the transport has taken it.
        lifetime: Ends the stream from outside.
    """

    __slots__ = (
        "__weakref__",
        "_cursor",
        "_due",
        "_lifetime",
        "_loop",
        "_pause",
        "_sent_at",
        "_timer",
        "_write",
        "_writing",
    )

    def __init__(self, write: Callable[[Any], Awaitable[None]], lifetime: Lifetime) -> None:
        self._write = write
        self._lifetime = lifetime
        self._loop = asyncio.get_running_loop()
        self._cursor: str | Callable[[], str] = ""
        self._sent_at = self._loop.time()
        self._writing: Wait | None = None
        self._pause: asyncio.Future[None] | None = None
        self._due = 0.0  # when the present write, or pause, has taken long enough
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, answer: Any, cursor: str | Callable[[], str] = "") -> None:  # a message, or the bytes of one
        """Send an answer after which the caller can resume at the cursor.

        Raises Unavailable STREAM_STALLED when the caller does not take it, and the error that ends the stream.
        """
        try:
            with self._lifetime.wait() as self._writing:
                self._look_at(self._loop.time() + STALLED)
                await self._write(answer)
        except TimeoutError:
            raise Unavailable(
                "The answers were not read for too long; connect again and resume.", reason="STREAM_STALLED"
            ) from None
        finally:
            self._writing = None
        self.reached(cursor)
        self._sent_at = self._loop.time()

    def reached(self, cursor: str | Callable[[], str]) -> None:
        """Note that everything before the cursor is done, without an answer that says so.

        Args:
            cursor: Its text, or what writes it, to be asked when it is needed.
        """
        self._cursor = cursor

    @property
    def silent_for(self) -> float:
        """Seconds since the last answer."""
        return self._loop.time() - self._sent_at

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await something; raises the error that ends the stream meanwhile."""
        return await self._lifetime.race(awaitable)

    async def pause(self, waking: set[asyncio.Future[None]], silence: float) -> None:
        """Wait until the future that is put among others to wake is done, or nothing was sent for `silence` seconds."""
        pause = self._pause = self._loop.create_future()
        waking.add(pause)
        try:
            with self._lifetime.wait():
                self._look_at(self._sent_at + silence)
                await pause
        finally:
            self._pause = None
            waking.discard(pause)

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """Let the errors that a caller gets over by connecting again carry the cursor, as metadata `cursor`."""
        try:
            yield
        except (Unavailable, Unauthenticated, ResourceExhausted) as error:
            cursor = self._cursor if isinstance(self._cursor, str) else self._cursor()
            if not cursor:
                raise
            told = copy.copy(error)  # the same error may end other streams, too
            told.metadata = {**error.metadata, "cursor": cursor}
            raise told from error
        finally:
            self.close()

    def close(self) -> None:
        """Forget the timer: nothing is sent any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_at(self, due: float) -> None:
        """See to it that the timer goes off at that time, or before."""
        self._due = due
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        # Weak, so that the timer of a stream that is over does not keep the stream.
        self._timer = self._loop.call_at(due, _look, weakref.ref(self), context=TIMERS)

    def look(self) -> None:
        """End the write or the pause that has taken long enough."""
        self._timer = None
        if self._writing is None and self._pause is None:
            return
        if self._loop.time() < self._due:
            self._look_at(self._due)
        elif self._writing is not None:
            self._writing.interrupt(TimeoutError())
        elif self._pause is not None and not self._pause.done():
            self._pause.set_result(None)


def _look(delivery: weakref.ref[Delivery]) -> None:
    found = delivery()
    if found is not None:
        found.look()
