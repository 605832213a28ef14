"""Threads for what must not run on the event loop, with a bounded queue before them."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from queue import SimpleQueue
from typing import Any, TypeVar

from relman_server.kernel.errors import ResourceExhausted, Unavailable

T = TypeVar("T")


class Workers:
    """Some threads; past the bound a call is refused at once, rather than wait in a queue that only grows.

    The standard library's pool costs several times as much: its futures are made for any thread to wait on, and it
    wakes the loop for every single result.

    One event loop uses them. They end with the process, so it closes them first.

    Args:
        name: What they do, for lists of threads.
        threads: How many; each is started when there is something for it to do.
        waiting: How many calls may wait for one of them.
    """

    def __init__(self, name: str, threads: int, *, waiting: int) -> None:
        self._name = name
        self._most = threads
        self._bound = threads + waiting
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._outbox: _Outbox | None = None
        self._closed = False

    @property
    def expected(self) -> int:
        """How many jobs have not come back. Only for the event loop's own thread."""
        return self._outbox.expected if self._outbox else 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run the work to its end and return its result.

        Raises ResourceExhausted when too many calls wait already, and Unavailable after the end. A call that is
        cancelled leaves; what a thread has begun goes on, and counts until it ends.
        """
        loop = asyncio.get_running_loop()
        outbox = self._outbox
        if outbox is None or outbox.loop is not loop:
            outbox = self._outbox = _Outbox(loop)
        if self._closed:
            raise Unavailable("The server is shutting down; connect again.", reason="SHUTTING_DOWN")
        if outbox.expected >= self._bound:
            raise ResourceExhausted("Too many calls are waiting; try again soon.", retry_after=timedelta(seconds=1))
        if outbox.expected >= len(self._threads) < self._most:
            self._start()
        outbox.expected += 1
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work, future, outbox))
        return await future

    def close(self) -> None:
        """Wait for what runs. What has not begun by now serves a call that has ended."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=f"relman-{self._name}_{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine gives no more threads
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run(leave_out=self._closed)
            del job  # or its result would stay until there is another


@dataclass(frozen=True)
class _Job:
    work: Callable[[], Any]
    future: "asyncio.Future[Any]"
    outbox: "_Outbox"

    def run(self, *, leave_out: bool) -> None:
        """Do the work, unless it is left out or nobody waits for it any more."""
        if leave_out or self.future.cancelled():
            self.outbox.put(self.future, None, asyncio.CancelledError())
            return
        try:
            result = self.work()
        except StopIteration as error:  # no future takes it
            self.outbox.put(self.future, None, RuntimeError(repr(error)))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self.outbox.put(self.future, None, error)
        else:
            self.outbox.put(self.future, result, None)


class _Outbox:
    """Brings results to the event loop, all that are there at one go.

    Attributes:
        expected: Jobs that have not come back. Only the loop's own thread looks at it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.expected = 0
        self._results: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._called = False

    def put(self, future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
        """Bring a result, from any thread."""
        self._results.append((future, result, error))
        if self._called:
            return  # who is called takes that back before looking at the results
        self._called = True
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._called = False
        while self._results:
            future, result, error = self._results.popleft()
            self.expected -= 1
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            elif isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
