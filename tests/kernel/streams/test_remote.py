"""Wake-ups between processes, by a real PostgreSQL and a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest

from relman_server.kernel.streams import remote
from relman_server.kernel.streams.postgres import PostgresTransport
from relman_server.kernel.streams.redis import RedisTransport
from relman_server.kernel.streams.remote import Link, RemoteBus, Transport
from tests.services.postgres import PostgresServer
from tests.services.process import ServerProcess
from tests.services.valkey import ValkeyServer

Broker = tuple[ServerProcess, Transport]


@pytest.fixture(scope="module", params=["postgresql", "redis"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A service of the tests' own, to be stopped and frozen, and the way to it."""
    if request.param == "postgresql":
        with PostgresServer() as postgres:
            yield postgres, PostgresTransport(postgres.url("postgres"))
    else:
        with ValkeyServer() as valkey:
            yield valkey, RedisTransport(valkey.url)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BEAT", 0.1)
    monkeypatch.setattr(remote, "SILENCE", 1.0)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.2)


class Watched:
    """A transport that notes what is sent, and in how many goes."""

    name = "watched"

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.sent: list[list[str]] = []

    def connect(self) -> AbstractAsyncContextManager[Link]:
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Link]:
        async with self._transport.connect() as link:
            yield _WatchedLink(link, self.sent)


class _WatchedLink:
    def __init__(self, link: Link, sent: list[list[str]]) -> None:
        self.texts = link.texts
        self.break_off = link.break_off
        self._send = link.send
        self._sent = sent

    async def send(self, texts: Sequence[str]) -> None:
        self._sent.append([text.partition(" ")[2] for text in texts])
        await self._send(texts)


class Process:
    """A bus at work, as in a process of its own."""

    def __init__(self, transport: Transport) -> None:
        self.states: list[int] = []
        self._changed = asyncio.Event()
        self.bus = RemoteBus(transport, self._change)
        self._task = asyncio.ensure_future(self.bus.keep_connected())

    def _change(self, state: int) -> None:
        self.states.append(state)
        self._changed.set()

    async def until(self, is_so: Callable[[list[int]], bool]) -> None:
        """Wait until its states are so."""
        async with asyncio.timeout(20):
            while not is_so(self.states):
                self._changed.clear()
                await self._changed.wait()

    async def end(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


@asynccontextmanager
async def processes(*transports: Transport) -> AsyncIterator[list[Process]]:
    """Some that are connected."""
    started = [Process(transport) for transport in transports]
    try:
        for process in started:
            await process.until(lambda states: states == [1])
        yield started
    finally:
        for process in started:
            await process.end()


async def _wakes(publisher: RemoteBus, woken: asyncio.Event, topic: str) -> None:
    woken.clear()
    publisher.publish(topic)
    async with asyncio.timeout(10):
        await woken.wait()


async def test_what_one_publishes_wakes_all(broker: Broker) -> None:
    async with processes(broker[1], broker[1], broker[1]) as (one, *others):
        for process in (one, *others):
            with process.bus.listen("logs:1") as woken:
                await _wakes(one.bus, woken, "logs:1")


async def test_who_has_told_its_own_wakes_the_others_only(broker: Broker) -> None:
    async with processes(broker[1], broker[1]) as (one, other):
        with one.bus.listen("a") as here, other.bus.listen("a") as there:
            one.bus.publish("a", here=False)
            async with asyncio.timeout(10):
                await there.wait()
            assert not here.is_set()


async def test_what_is_published_at_once_is_sent_at_once_and_each_topic_once(broker: Broker) -> None:
    watched = Watched(broker[1])
    async with processes(watched, broker[1]) as (one, other):
        with other.bus.listen("last") as woken:
            for number in range(200):
                one.bus.publish(f"topic-{number % 20}")
            await _wakes(one.bus, woken, "last")
    goes = [[topic for topic in texts if topic] for texts in watched.sent]
    assert [len(topics) for topics in goes if topics] == [21]


async def test_a_service_that_was_away_is_found_again_and_everyone_looks_once(broker: Broker) -> None:
    server, transport = broker
    async with processes(transport, transport) as (one, other):
        server.stop()
        await one.until(lambda states: states[-1] == 0)
        with other.bus.listen("a") as woken:
            one.bus.publish("a")  # is lost
            server.start()
            for process in (one, other):
                await process.until(lambda states: states[-1] == 1)
            assert woken.is_set()
            await _wakes(one.bus, woken, "a")


async def test_a_connection_over_which_nothing_comes_is_given_up(broker: Broker) -> None:
    server, transport = broker
    async with processes(transport) as (one,):
        server.freeze()
        try:
            await one.until(lambda states: states[-1] == 0)
        finally:
            server.thaw()
        await one.until(lambda states: states[-1] == 1)
