"""How many streams there may be, and that the end of one from outside needs no task of its own."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from relman_server.kernel.errors import ResourceExhausted, Unavailable
from relman_server.kernel.streams.lifetime import Lifetime, Lifetimes, Limits

MINE, YOURS = uuid4(), uuid4()


def _refusal(lifetimes: Lifetimes, user: object) -> ResourceExhausted:
    with pytest.raises(ResourceExhausted) as caught, lifetimes.live(lambda: None, user):  # type: ignore[arg-type]
        pass
    return caught.value


async def test_one_user_cannot_take_the_streams_of_all() -> None:
    lifetimes = Lifetimes(Limits(streams=3, streams_per_user=2))
    with lifetimes.live(lambda: None, MINE), lifetimes.live(lambda: None, MINE):
        refusal = _refusal(lifetimes, MINE)
        assert (refusal.reason, refusal.retry_after) == ("TOO_MANY_STREAMS", timedelta(seconds=5))
        with lifetimes.live(lambda: None, YOURS):
            assert _refusal(lifetimes, YOURS).message != refusal.message, "the server is full"
    with lifetimes.live(lambda: None, MINE):
        assert len(lifetimes) == 1


async def test_those_without_a_name_cannot_keep_out_those_who_have_one() -> None:
    lifetimes = Lifetimes(Limits(streams=1, streams_per_user=2))
    with lifetimes.live(lambda: None), lifetimes.live(lambda: None):
        assert _refusal(lifetimes, None).reason == "TOO_MANY_STREAMS"
        with lifetimes.live(lambda: None, MINE):
            assert _refusal(lifetimes, YOURS).reason == "TOO_MANY_STREAMS"


async def test_a_wait_is_no_task() -> None:
    """Fails when what is awaited becomes a task: with many followers, that is most of what an answer costs."""
    life, before = Lifetime(lambda: None), asyncio.all_tasks()

    async def tasks() -> set[object]:
        await asyncio.sleep(0)
        return set(asyncio.all_tasks())

    assert await life.race(tasks(), within=5) == before


async def test_a_wait_takes_no_longer_than_it_may() -> None:
    life = Lifetime(lambda: None)
    with pytest.raises(TimeoutError):
        await life.race(asyncio.sleep(60), within=0.01)
    assert await life.race(asyncio.sleep(0, "and the stream goes on")) == "and the stream goes on"


async def test_a_caller_who_leaves_as_the_stream_ends_is_cancelled() -> None:
    """Fails when the cancellation of the call is taken for the end of the stream: the handler would go on."""
    life = Lifetime(lambda: None)
    call = asyncio.create_task(life.race(asyncio.sleep(60)))
    await asyncio.sleep(0)
    life.end(Unavailable("bye"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_several_waits_of_one_stream_end_together() -> None:
    life = Lifetime(lambda: None)
    waits = [asyncio.create_task(life.race(asyncio.sleep(60))) for _ in range(2)]
    await asyncio.sleep(0)
    life.end(Unavailable("bye"))
    for wait in waits:
        with pytest.raises(Unavailable):
            await wait
    with pytest.raises(Unavailable):
        await life.race(asyncio.sleep(60))
