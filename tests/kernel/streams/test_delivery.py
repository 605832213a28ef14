"""What ends a stream, and what the caller is told then."""

import asyncio
import gc
import weakref
from contextvars import Context, ContextVar

import pytest

from relman_server.kernel.errors import NotFound, Unavailable
from relman_server.kernel.streams import delivery as delivery_module
from relman_server.kernel.streams.delivery import Delivery
from relman_server.kernel.streams.lifetime import Lifetime, Lifetimes


class Transport:
    """Takes answers, or does not."""

    def __init__(self) -> None:
        self.taken: list[object] = []
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, answer: object) -> None:
        """Take an answer."""
        await self.open.wait()
        self.taken.append(answer)


def lifetime() -> Lifetime:
    return Lifetime(lambda: None)


async def test_an_error_carries_the_cursor_of_the_last_answer_that_was_taken() -> None:
    transport, life = Transport(), lifetime()
    answers = Delivery(transport.write, life)
    shutdown = Unavailable("bye", reason="SHUTTING_DOWN", metadata={"more": "kept"})
    await answers.send("one", "c1")
    await answers.send("two", "c2")
    transport.open.clear()
    asyncio.get_running_loop().call_later(0.05, life.end, shutdown)
    with pytest.raises(Unavailable) as caught, answers.resumable():
        await answers.send("three", "c3")
    assert transport.taken == ["one", "two"]
    assert caught.value.metadata == {"more": "kept", "cursor": "c2"}
    assert (caught.value.reason, caught.value.retry_after) == (shutdown.reason, shutdown.retry_after)
    assert shutdown.metadata == {"more": "kept"}, "it ends other streams, too"


class Known:
    """What is known in the context of a call."""


async def test_nothing_is_kept_of_a_stream_that_is_over() -> None:
    """Its timers go off, or are forgotten, many seconds later; in its own context they would keep the whole call."""
    known: ContextVar[Known] = ContextVar("known")

    async def stream() -> weakref.ref[Known]:
        known.set(Known())
        life = lifetime()
        answers = Delivery(Transport().write, life)
        await answers.send("one")
        await life.race(asyncio.sleep(0), within=30)
        return weakref.ref(known.get())

    task = asyncio.create_task(stream(), context=Context())
    kept = await task
    del task
    await asyncio.sleep(0)
    gc.collect()
    assert kept() is None


async def test_a_stream_that_is_over_leaves_no_timer_behind() -> None:
    """It would stay for 30 seconds: thousands of them, where many short streams are opened."""
    answers = Delivery(Transport().write, lifetime())
    await answers.send("one")
    timer = answers._timer
    answers.close()
    assert timer is not None
    assert timer.cancelled()


async def test_a_place_reached_without_an_answer_counts() -> None:
    life = lifetime()
    answers = Delivery(Transport().write, life)
    await answers.send("one", "c1")
    answers.reached("c7")
    life.end(Unavailable("bye"))
    with pytest.raises(Unavailable) as caught, answers.resumable():
        await answers.pause(set(), 10)
    assert caught.value.metadata["cursor"] == "c7"


async def test_what_connecting_again_does_not_help_carries_no_cursor() -> None:
    answers = Delivery(Transport().write, lifetime())
    await answers.send("one", "c1")
    with pytest.raises(NotFound) as caught, answers.resumable():
        raise NotFound("deployment", "x")
    assert not caught.value.metadata


async def test_a_caller_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "STALLED", 0.05)
    transport = Transport()
    transport.open.clear()
    answers = Delivery(transport.write, lifetime())
    with pytest.raises(Unavailable) as caught:
        await answers.send("one", "c1")
    assert caught.value.reason == "STREAM_STALLED"


async def test_a_pause_ends_by_a_wake_up_or_by_silence() -> None:
    answers = Delivery(Transport().write, lifetime())
    waking: set[asyncio.Future[None]] = set()
    async with asyncio.timeout(2):
        await answers.pause(waking, 0.01)
        await answers.pause(waking, -1)
        pause = asyncio.create_task(answers.pause(waking, 60))
        await asyncio.sleep(0)
        for future in waking:
            future.set_result(None)
        await pause
    assert not waking


async def test_a_stream_that_begins_after_the_end_ends_at_once() -> None:
    lifetimes = Lifetimes()
    with lifetimes.live(lambda: None) as before:
        lifetimes.end_all(Unavailable("bye"))
        with lifetimes.live(lambda: None) as after:
            assert len(lifetimes) == 2
            for life in (before, after):
                with pytest.raises(Unavailable):
                    await life.race(asyncio.sleep(60))
    assert not len(lifetimes)


async def test_what_was_awaited_is_cancelled_when_the_stream_ends() -> None:
    life = lifetime()
    waiting = asyncio.ensure_future(asyncio.sleep(60))
    life.end(Unavailable("bye"))
    with pytest.raises(Unavailable):
        await life.race(waiting)
    await asyncio.sleep(0)
    assert waiting.cancelled()


async def test_the_sweep_ends_streams_whose_caller_is_no_longer_welcome() -> None:
    lifetimes = Lifetimes()
    sweep = asyncio.create_task(lifetimes.sweep(every=0.01))
    error = Unavailable("not you")
    with lifetimes.live(lambda: error) as life, pytest.raises(Unavailable) as caught:
        await life.race(asyncio.sleep(60))
    assert caught.value is error
    sweep.cancel()
