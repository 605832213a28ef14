"""The end of a stream that comes from outside it: shutdown, an expired or revoked token.

A stream that just gets cancelled sends no status at all. So streams are told, by whatever they wait for raising the
error to end with.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from relman_server.kernel.errors import RelmanError

T = TypeVar("T")


class Lifetime:
    """How long one stream may go on.

    Args:
        still_welcome: Asked every few seconds: returns the error to end with once its caller is no longer allowed.
    """

    def __init__(self, still_welcome: Callable[[], RelmanError | None]) -> None:
        self.still_welcome = still_welcome
        self._ended: asyncio.Future[RelmanError] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        """Whether it was ended from outside."""
        return self._ended.done()

    def end(self, error: RelmanError) -> None:
        """Let the stream's next or present wait raise the error."""
        if not self._ended.done():
            self._ended.set_result(error)

    async def race(self, awaitable: Awaitable[T], within: float | None = None) -> T:
        """Await something, but no longer than the stream may go on.

        Raises TimeoutError after `within` seconds, and the error of `end`; what was awaited is then cancelled.
        """
        task = asyncio.ensure_future(awaitable)
        task.add_done_callback(_retrieve)
        try:
            await asyncio.wait((task, self._ended), timeout=within, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if self._ended.done():
                raise self._ended.result()
            raise TimeoutError
        finally:
            if not task.done():
                task.cancel()


def _retrieve(task: "asyncio.Future[Any]") -> None:
    """Look at how a task ended. A caller who leaves as it fails does not, and asyncio would log it as an error."""
    if not task.cancelled():
        task.exception()


class Lifetimes:
    """The streams that are open in this process."""

    def __init__(self) -> None:
        self._open: set[Lifetime] = set()
        self._closing: RelmanError | None = None

    def __len__(self) -> int:
        """Return how many streams are open."""
        return len(self._open)

    @contextmanager
    def live(self, still_welcome: Callable[[], RelmanError | None]) -> Iterator[Lifetime]:
        """Count a stream as open while the block runs."""
        lifetime = Lifetime(still_welcome)
        if self._closing is not None:
            lifetime.end(self._closing)
        self._open.add(lifetime)
        try:
            yield lifetime
        finally:
            self._open.discard(lifetime)

    def end_all(self, error: RelmanError) -> None:
        """End every stream, and those that come later."""
        self._closing = error
        for lifetime in list(self._open):
            lifetime.end(error)

    async def sweep(self, every: float = 1.0) -> None:
        """End the streams of callers that are no longer welcome, for as long as the server runs."""
        while True:
            await asyncio.sleep(every)
            for lifetime in list(self._open):
                error = lifetime.still_welcome()
                if error is not None:
                    lifetime.end(error)
