"""Wake-ups within one process."""

import asyncio
import threading

import pytest

from relman_server.kernel.streams.bus import LocalBus


async def soon(event: asyncio.Event) -> bool:
    """Whether an event is set before long."""
    try:
        await asyncio.wait_for(event.wait(), 0.2)
    except TimeoutError:
        return False
    return True


async def test_everyone_who_listens_to_a_topic_is_woken_and_nobody_else() -> None:
    bus = LocalBus()
    with bus.listen("a") as first, bus.listen("a") as second, bus.listen("b") as other:
        bus.publish("a")
        assert await soon(first)
        assert await soon(second)
        assert not await soon(other)


async def test_one_listener_may_listen_to_several_topics() -> None:
    bus = LocalBus()
    with bus.listen("a", "b") as woken:
        for topic in ("a", "b"):
            woken.clear()
            bus.publish(topic)
            assert await soon(woken)


async def test_wake_ups_come_from_any_thread() -> None:
    bus = LocalBus()
    with bus.listen("a") as woken:
        thread = threading.Thread(target=bus.publish, args=("a",))
        thread.start()
        assert await soon(woken)
        thread.join()


async def test_nothing_is_kept_of_those_who_left() -> None:
    bus = LocalBus()
    with pytest.raises(ZeroDivisionError), bus.listen("a", "b"):
        raise ZeroDivisionError
    bus.publish("a")
    with bus.listen("b") as woken:
        assert set(bus._topics) == {"b"}
        assert not woken.is_set()
    assert not bus._topics


def test_a_bus_whose_loop_is_closed_is_silent() -> None:
    async def make() -> LocalBus:
        return LocalBus()

    bus = asyncio.run(make())
    bus._topics["a"] = {}
    bus.publish("a")
