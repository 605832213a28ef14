"""Following many things: one look at a time, and what becomes of followers when a look fails."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from uuid import UUID, uuid4

import pytest

from relman_server.kernel.errors import Unavailable
from relman_server.kernel.streams import hub as hub_module
from relman_server.kernel.streams.bus import LocalBus
from relman_server.kernel.streams.hub import Feed, Hub

A, B = uuid4(), uuid4()


class World:
    """What is followed.

    Attributes:
        states: By id.
        looks: What was looked at, look by look.
        broken: Whether looks fail.
    """

    def __init__(self) -> None:
        self.states: dict[UUID, int] = {A: 1, B: 1}
        self.looks: list[set[UUID]] = []
        self.broken = False

    async def look(self, keys: Collection[UUID]) -> Mapping[UUID, int]:
        """Read states."""
        self.looks.append(set(keys))
        await asyncio.sleep(0)
        if self.broken:
            raise Unavailable("no database")
        return {key: self.states[key] for key in keys if key in self.states}


@asynccontextmanager
async def _hub(world: World, engine: str = "sqlite") -> AsyncIterator[tuple[Hub[int], LocalBus]]:
    bus = LocalBus()
    hub = Hub(engine, bus, lambda key: (str(key),), world.look, is_due=lambda state: state < 0)
    looking = asyncio.create_task(hub.keep_looking())
    yield hub, bus
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking


async def _until(wanted: int | None, feed: Feed[int], version: int) -> None:
    """Wait until followers were told more than that version, which must be this state."""
    async with asyncio.timeout(5):
        while feed.version <= version:
            told = asyncio.get_running_loop().create_future()
            feed.waking.add(told)
            await told
    assert feed.head == wanted


async def test_whatever_was_woken_is_looked_at_together() -> None:
    world = World()
    async with _hub(world) as (hub, bus):
        with hub.follow(A) as first, hub.follow(A) as again, hub.follow(B) as second:
            assert first is again
            found = await asyncio.gather(hub.fresh(first), hub.fresh(second), hub.fresh(first))
            assert list(found) == [1, 1, 1]
            assert world.looks == [{A, B}]
            world.states[A] = 2
            bus.publish(str(A))
            await _until(2, first, 1)
            assert world.looks == [{A, B}, {A}]
        bus.publish(str(A))
        await asyncio.sleep(0.01)
        assert len(world.looks) == 2, "nobody follows it any more"
        assert not len(hub)


async def test_a_fresh_state_is_never_one_of_a_look_that_was_under_way() -> None:
    world = World()
    async with _hub(world) as (hub, _):
        with hub.follow(A) as feed:
            early = asyncio.create_task(hub.fresh(feed))
            while not world.looks:  # noqa: ASYNC110 - nothing else happens
                await asyncio.sleep(0)
            world.states[A] = 2  # committed before the second one asks
            assert await hub.fresh(feed) == 2
            await early
    assert len(world.looks) == 2


async def test_followers_stay_when_a_look_fails_and_those_who_come_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "AGAIN", 0.01)
    world = World()
    async with _hub(world) as (hub, bus):
        with hub.follow(A) as feed:
            await hub.fresh(feed)
            world.broken = True
            with pytest.raises(Unavailable):
                await hub.fresh(feed)
            world.states[A] = 2
            bus.publish(str(A))
            world.broken = False
            await _until(2, feed, 1)


@pytest.mark.parametrize(("engine", "looked_at"), [("sqlite", {B}), ("postgresql", {A, B})])
async def test_what_nobody_wakes_is_looked_at_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch, engine: str, looked_at: set[UUID]
) -> None:
    """All in one look, where another process may write; where none does, what waits for a time to come."""
    monkeypatch.setitem(hub_module.POLL, engine, 0.05)
    world = World()
    world.states[B] = -1
    async with _hub(world, engine) as (hub, _):
        with hub.follow(A) as first, hub.follow(B) as second:
            await asyncio.gather(hub.fresh(first), hub.fresh(second))
            world.looks.clear()
            async with asyncio.timeout(5):
                while len(world.looks) < 2:  # noqa: ASYNC110 - nothing else happens
                    await asyncio.sleep(0.01)
    assert world.looks[:2] == [looked_at, looked_at]


async def test_what_is_deleted_is_gone_and_may_come_back() -> None:
    world = World()
    async with _hub(world) as (hub, bus):
        with hub.follow(A) as feed:
            await hub.fresh(feed)
            del world.states[A]
            bus.publish(str(A))
            await _until(None, feed, 1)
            assert feed.is_gone
            world.states[A] = 1
            assert await hub.fresh(feed) == 1
            assert not feed.is_gone


def _waiting(feed: Feed[str], count: int) -> list[asyncio.Future[None]]:
    found = [asyncio.get_running_loop().create_future() for _ in range(count)]
    feed.waking |= set(found)
    return found


async def _told(feed: Feed[str], head: str) -> None:
    async with asyncio.timeout(20):
        while feed.head != head:  # noqa: ASYNC110 - a feed tells its followers, and has no event for others
            await asyncio.sleep(0.001)


async def test_many_followers_are_told_of_more_when_most_have_sent_what_they_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails when they are told at once: the fastest would set the pace, and the server fall behind."""
    monkeypatch.setattr(hub_module, "LONGEST_SENDING", 60.0)
    feed = Feed[str](uuid4())
    feed.followers = 100
    first = _waiting(feed, 100)
    feed.learn("first")
    assert feed.head == "first"
    await asyncio.gather(*first)
    back = _waiting(feed, 74)
    for state in ("second", "third"):
        feed.learn(state)
        await asyncio.sleep(0.02)
    assert (feed.head, feed.version) == ("first", 1)
    back += _waiting(feed, 1)
    await _told(feed, "third")
    assert feed.version == 2
    await asyncio.gather(*back)
    feed.close()


async def test_those_who_are_frozen_hold_up_the_others_for_a_moment_only() -> None:
    feed = Feed[str](uuid4())
    feed.followers = 100
    feed.learn("first")
    feed.learn("second")
    await _told(feed, "second")
    feed.close()


async def test_few_followers_are_told_at_once() -> None:
    feed = Feed[str](uuid4())
    feed.followers = 20
    for state in ("first", "second", "third"):
        feed.learn(state)
        assert feed.head == state
