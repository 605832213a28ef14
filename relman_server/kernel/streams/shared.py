"""Reads that many want at the same moment: they are done once for all of them."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Shared:
    """Reads under way in this process, by what they read."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}
        # Not the caller's: what many wait for must not end with the deadline of one of them.
        self._context = contextvars.copy_context()

    async def read(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return what `read` returns, or what one that was begun for the same key and still runs does.

        For what does not change once it is there. Who waits may be cancelled; the read goes on for the others.

        Raises what the read raises.
        """
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(_run(read), context=self._context.copy())
            task.add_done_callback(lambda done: self._done(key, done))
        found: T = await asyncio.shield(task)
        return found

    def _done(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # looked at, lest asyncio complains when all who waited have left


async def _run(read: Callable[[], Awaitable[T]]) -> T:
    return await read()
