"""Threads for what must not run on the event loop, with a bounded queue before them."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

from relman_server.kernel.errors import ResourceExhausted

T = TypeVar("T")


class Workers:
    """Some threads; past the bound a call is refused at once, rather than wait in a queue that only grows.

    Args:
        name: What they do, for lists of threads.
        threads: How many.
        waiting: How many calls may wait for one of them.
    """

    def __init__(self, name: str, threads: int, *, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"relman-{name}")
        self._bound = threads + waiting
        self._lock = threading.Lock()
        self._waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run the work to its end and return its result. Raises ResourceExhausted when too many calls wait already."""
        with self._lock:
            if self._waiting >= self._bound:
                raise ResourceExhausted("Too many calls are waiting; try again soon.", retry_after=timedelta(seconds=1))
            self._waiting += 1
        future = self._pool.submit(work)
        # Not in a finally: a cancelled call leaves, its thread goes on and still counts.
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def _done(self, _: "Future[Any]") -> None:
        with self._lock:
            self._waiting -= 1

    def close(self) -> None:
        """Wait for what runs. What has not begun by now serves a call that has ended."""
        self._pool.shutdown(wait=True, cancel_futures=True)
