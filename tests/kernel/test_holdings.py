"""What a process says that it holds."""

import asyncio
import threading
from collections.abc import Sequence

from tests.factories import RunningServer
from tests.logs.steps import Follower, new_log


def _held(server: RunningServer, name: str) -> float:
    value = server.app.registry.get_sample_value(name)
    assert value is not None
    return value


async def test_a_stream_counts_for_as_long_as_it_is_open(server: RunningServer) -> None:
    deployment = await new_log(server)
    streams, tasks = _held(server, "relman_streams"), _held(server, "relman_tasks")
    follower = Follower(server.admin, deployment)
    await follower.caught_up()
    assert _held(server, "relman_streams") == streams + 1
    assert _held(server, "relman_tasks") > tasks
    await follower.leave()
    async with asyncio.timeout(10):
        while _held(server, "relman_streams") != streams:  # noqa: ASYNC110 - the server has no event for tests
            await asyncio.sleep(0.01)


async def test_connections_count_while_they_are_used(server: RunningServer) -> None:
    """Those for reads and those for writes; the server's own work uses one now and then."""
    begun, done = asyncio.Semaphore(0), threading.Event()
    loop = asyncio.get_running_loop()

    def work(_: object) -> None:
        loop.call_soon_threadsafe(begun.release)
        done.wait(10)

    async def begin() -> Sequence[asyncio.Future[None]]:
        db = server.app.db
        working = [asyncio.ensure_future(start(work)) for start in (db.read, db.read, db.write)]
        for _ in working:
            await begun.acquire()
        return working

    working = await begin()
    assert _held(server, "relman_database_connections") >= 3
    done.set()
    await asyncio.gather(*working)
    async with asyncio.timeout(10):
        while _held(server, "relman_database_connections"):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
