"""The end of a stream that comes from outside it: shutdown, an expired or revoked token, old age.

A stream that just gets cancelled sends no status at all. So streams are told, by whatever they wait for raising the
error to end with. As in `asyncio.timeout`, the task that waits is cancelled, and its cancellation becomes the error
where the wait began: that needs no task of its own for a wait, of which a server with many followers has thousands a
second.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

from relman_server.kernel.errors import RelmanError, ResourceExhausted, Unavailable

T = TypeVar("T")

COME_AGAIN = timedelta(seconds=5)
"""When those who were refused a stream shall try again."""
TOO_OLD = Unavailable(
    "The stream has lasted as long as one may; connect again and resume.",
    reason="SHUTTING_DOWN",
    retry_after=timedelta(seconds=0.1),
)
TIMERS = Context()
"""Of the timers that streams set. They may be left for seconds after the stream is over, also when they were cancelled,
and would keep all that is known in the context of its call."""


class Wait:
    """A wait that can be ended from outside: a context around what is awaited, by the task that awaits it."""

    __slots__ = ("_cancelling", "_error", "_lifetime", "_task")

    def __init__(self, lifetime: "Lifetime") -> None:
        self._lifetime = lifetime
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        """Begin; raises the error that ended the stream before."""
        if self._lifetime.error is not None:
            raise self._lifetime.error
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._lifetime.waits.append(self)
        return self

    def interrupt(self, error: Exception) -> None:
        """Let the wait raise the error; a second one changes nothing."""
        if self._error is None:
            self._error = error
            self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, raised: BaseException | None, _: TracebackType | None) -> None:
        """End; what was cancelled by `interrupt`, and by nothing else, raises its error."""
        self._lifetime.waits.remove(self)
        if self._error is None:
            return
        cancelled_by_others = self._task.uncancel() > self._cancelling
        if kind is asyncio.CancelledError and not cancelled_by_others:
            raise self._error from None


class Lifetime:
    """How long one stream may go on.

    Args:
        still_welcome: Asked every few seconds: returns the error to end with once its caller is no longer allowed.
        until: When it has lasted as long as it may, by the time of the loop.

    Attributes:
        error: What it was ended with from outside; None while it goes on.
        waits: Its waits that can be ended from outside.
    """

    __slots__ = ("error", "still_welcome", "until", "waits")

    def __init__(self, still_welcome: Callable[[], RelmanError | None], until: float = inf) -> None:
        self.still_welcome = still_welcome
        self.until = until
        self.error: RelmanError | None = None
        self.waits: list[Wait] = []

    @property
    def ended(self) -> bool:
        """Whether it was ended from outside."""
        return self.error is not None

    def end(self, error: RelmanError) -> None:
        """Let the stream's next or present wait raise the error."""
        if self.error is None:
            self.error = error
            for wait in list(self.waits):
                wait.interrupt(error)

    def wait(self) -> Wait:
        """Return a context: what is awaited in it raises the error of `end`, and is cancelled."""
        return Wait(self)

    async def race(self, awaitable: Awaitable[T], within: float | None = None) -> T:
        """Await something, but no longer than the stream may go on.

        Raises TimeoutError after `within` seconds, and the error of `end`; what was awaited is then cancelled.
        """
        if self.error is not None:
            _drop(awaitable)
        with self.wait() as wait:
            if within is None:
                return await awaitable
            loop = asyncio.get_running_loop()
            timer = loop.call_later(within, wait.interrupt, TimeoutError(), context=TIMERS)
            try:
                return await awaitable
            finally:
                timer.cancel()


def _drop(awaitable: Awaitable[object]) -> None:
    """Let go of what will not be awaited."""
    if isinstance(awaitable, Coroutine):
        awaitable.close()
    elif isinstance(awaitable, asyncio.Future):
        awaitable.cancel()


@dataclass(frozen=True)
class Limits:
    """How many streams may be open at a time, and for how long.

    Attributes:
        streams: In this process.
        streams_per_user: Of one user, in this process.
        age: Seconds that one may last. Some end up to a tenth earlier, so that those who came together do not come
            again together.
    """

    streams: int = 20_000
    streams_per_user: int = 5_000
    age: float = inf


class Lifetimes:
    """The streams that are open in this process.

    Args:
        limits: How many there may be. Those of callers without a name (health) count as one user's, and only so: they
            must not keep out those who have one.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._open: set[Lifetime] = set()
        self._of_users: Counter[UUID | None] = Counter()
        self._closing: RelmanError | None = None

    def __len__(self) -> int:
        """Return how many streams are open."""
        return len(self._open)

    @contextmanager
    def live(self, still_welcome: Callable[[], RelmanError | None], user: UUID | None = None) -> Iterator[Lifetime]:
        """Count a stream as open while the block runs.

        Args:
            still_welcome: See Lifetime.
            user: Whose it is.

        Raises ResourceExhausted TOO_MANY_STREAMS when there are as many as may be.
        """
        self._require_room(user)
        lifetime = Lifetime(still_welcome, self._until())
        if self._closing is not None:
            lifetime.end(self._closing)
        self._open.add(lifetime)
        self._of_users[user] += 1
        try:
            yield lifetime
        finally:
            self._open.discard(lifetime)
            self._of_users[user] -= 1
            if not self._of_users[user]:
                del self._of_users[user]

    def _until(self) -> float:
        return asyncio.get_running_loop().time() + self._limits.age * random.uniform(0.9, 1)  # noqa: S311 (no secret)

    def _require_room(self, user: UUID | None) -> None:
        if self._of_users[user] >= self._limits.streams_per_user:
            message = f"You have {self._limits.streams_per_user:,} streams open, which is as many as one user may have."
        elif user is not None and len(self._open) - self._of_users[None] >= self._limits.streams:
            message = "The server has as many streams open as it may have; try again, or at another replica."
        else:
            return
        raise ResourceExhausted(message, reason="TOO_MANY_STREAMS", retry_after=COME_AGAIN)

    def end_all(self, error: RelmanError) -> None:
        """End every stream, and those that come later."""
        self._closing = error
        for lifetime in list(self._open):
            lifetime.end(error)

    async def sweep(self, every: float = 1.0) -> None:
        """End the streams of callers that are no longer welcome, and old ones, for as long as the server runs."""
        while True:
            await asyncio.sleep(every)
            now = asyncio.get_running_loop().time()
            for lifetime in list(self._open):
                error = lifetime.still_welcome() or (TOO_OLD if now >= lifetime.until else None)
                if error is not None:
                    lifetime.end(error)
