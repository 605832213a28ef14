"""Reads that many want at the same moment."""

import asyncio
import gc
from typing import Any

import pytest

from relman_server.kernel.errors import Unavailable
from relman_server.kernel.streams.shared import Shared


async def test_who_wants_the_same_at_the_same_moment_gets_one_read() -> None:
    shared, reads, free = Shared(), [], asyncio.Event()

    async def read() -> object:
        await free.wait()
        reads.append(object())
        return reads[-1]

    waiting = [asyncio.create_task(shared.read("key", read)) for _ in range(10)]
    other = asyncio.create_task(shared.read("other", read))
    await asyncio.sleep(0)
    free.set()
    found = await asyncio.gather(*waiting)
    assert set(map(id, found)) == {id(found[0])}
    assert await other is not found[0]
    assert await shared.read("key", read) is not found[0], "what is over is not shared any more"


async def test_one_who_leaves_does_not_take_the_read_from_the_others() -> None:
    shared, free = Shared(), asyncio.Event()
    first, second = (asyncio.create_task(shared.read("key", free.wait)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    free.set()
    assert await second


async def test_what_fails_as_the_callers_leave_is_nobodys_to_complain_of() -> None:
    """Fails when the exception is left to its task: asyncio then logs an error, with a traceback, for a caller's."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    failing = asyncio.Event()

    async def fail() -> None:
        await failing.wait()
        raise Unavailable("no database")

    call = asyncio.create_task(Shared().read("key", fail))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    failing.set()
    await asyncio.sleep(0.01)
    gc.collect()
    loop.set_exception_handler(None)
    # What tests before left behind may be collected here, too.
    assert not [context for context in complaints if isinstance(context.get("exception"), Unavailable)]
