"""Following many things at once: one look at the database for all that is followed in this process.

A follower costs no query and no connection while nothing happens. Each thing that is followed has a `Feed`, which knows
its head: the state of it that was seen last. Wake-ups say which feeds to look at; whatever was woken by the time a look
begins is looked at in one statement, and there is one look at a time. Where another process may write, all feeds are
looked at every second or so, since wake-ups may be lost.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

import structlog

from relman_server.kernel.errors import RelmanError, Unavailable
from relman_server.kernel.streams.bus import Bus

H = TypeVar("H")

POLL = {"sqlite": 15.0, "postgresql": 1.0}
"""Seconds between looks without a wake-up. On SQLite, where no other process writes, only at what says it is due."""
AGAIN = 1.0
"""Seconds after a look that failed."""
APART = 0.01
"""Seconds between the beginnings of looks: who comes meanwhile is looked at together."""
AT_ONCE = 1000
"""Feeds in one look."""
FAN_OUT = 50e-6
"""Seconds that an answer to one follower takes, at least."""
FEW = 20
"""Followers that may be told of everything at once. When there are more, they are not told of more before most of them
have sent what they were told of, and some time has passed in which the event loop has turns for others: what comes
meanwhile goes out together. Else a server that cannot send as often as it is written to would fall behind."""
MOST = 0.75
"""Of the followers; the others may be frozen, or far behind."""
LONGEST_SENDING = 0.2
"""Seconds after which it does not matter how many have sent."""
LOOK_BACK = 0.005
"""Seconds between looks at how many have."""
OTHERS = 0.5
"""How much time the others have, of the time that sending took."""
WOKEN_AT_ONCE = 32
"""Followers, in one turn of the event loop."""

log = structlog.get_logger(__name__)


class Feed(Generic[H]):
    """One thing that is followed.

    Attributes:
        key: Its id.
        newest: Its state as it was seen last; None before the first look, and when it is gone.
        head: The state that followers were told of last; a moment older than `newest` when there are many of them.
        is_gone: Whether there is no such thing, or no longer.
        version: Rises whenever followers are told something.
        waking: Futures of the followers that wait for another version.
        followers: How many there are.
    """

    def __init__(self, key: UUID) -> None:
        self.key = key
        self.newest: H | None = None
        self.head: H | None = None
        self.is_gone = False
        self.version = 0
        self.waking: set[asyncio.Future[None]] = set()
        self.followers = 0
        self._told_at = 0.0
        self._is_told = True
        self._sending: asyncio.TimerHandle | None = None

    def learn(self, newest: H | None) -> None:
        """Take what was seen; None when there is no such thing."""
        if newest == self.newest and self.is_gone is (newest is None):
            return
        self.newest = newest
        self.is_gone = newest is None
        self._is_told = False
        if self._sending is None:
            self._tell()

    def _tell(self) -> None:
        self._is_told = True
        self._told_at = asyncio.get_running_loop().time()
        self.head = self.newest
        self.version += 1
        followers, self.waking = self.waking, set()
        self._wake(deque(followers))
        if self.followers > FEW:
            self._call_in(min(self.followers * FAN_OUT, LONGEST_SENDING), self._look_back)

    def _look_back(self) -> None:
        """Look whether most have sent what they were told of."""
        took = asyncio.get_running_loop().time() - self._told_at
        if len(self.waking) < MOST * self.followers and took < LONGEST_SENDING:
            self._call_in(LOOK_BACK, self._look_back)
        else:
            self._call_in(min(took, LONGEST_SENDING) * OTHERS, self._go_on)

    def _go_on(self) -> None:
        self._sending = None
        if not self._is_told:
            self._tell()

    def _call_in(self, seconds: float, then: Callable[[], None]) -> None:
        self._sending = asyncio.get_running_loop().call_later(seconds, then)

    def _wake(self, followers: deque[asyncio.Future[None]]) -> None:
        """Wake some, and the others after what else has a turn: a loop busy with them would read no more lines."""
        for _ in range(min(WOKEN_AT_ONCE, len(followers))):
            follower = followers.popleft()
            if not follower.done():
                follower.set_result(None)
        if followers:
            asyncio.get_running_loop().call_soon(self._wake, followers)

    def close(self) -> None:
        """Tell nobody any more."""
        if self._sending is not None:
            self._sending.cancel()


class Hub(Generic[H]):
    """The feeds of one kind.

    Args:
        engine: "sqlite" or "postgresql".
        bus: Wakes feeds.
        topics: Returns the topics that wake a feed.
        look: Reads the states of things; those that are gone are missing.
        is_due: Whether a thing in this state must be looked at again although nobody wakes its feed.
        make: Makes a feed.
    """

    def __init__(
        self,
        engine: str,
        bus: Bus,
        topics: Callable[[UUID], tuple[str, ...]],
        look: Callable[[Collection[UUID]], Awaitable[Mapping[UUID, H]]],
        *,
        is_due: Callable[[H], bool] = lambda _: False,
        make: Callable[[UUID], Feed[H]] = Feed,
    ) -> None:
        self._engine = engine
        self._bus = bus
        self._topics = topics
        self._look = look
        self._is_due = is_due
        self._make = make
        self._feeds: dict[UUID, tuple[Feed[H], ExitStack]] = {}
        self._woken: dict[UUID, None] = {}  # in the order in which they were
        self._looking: Collection[UUID] = ()
        self._waiting: dict[UUID, list[asyncio.Future[None]]] = {}
        self._kick = asyncio.Event()

    def __len__(self) -> int:
        """Return how many things are followed."""
        return len(self._feeds)

    def feed(self, key: UUID) -> Feed[H] | None:
        """Return the feed of what is followed; None when nobody does."""
        found = self._feeds.get(key)
        return found[0] if found else None

    @contextmanager
    def follow(self, key: UUID) -> Iterator[Feed[H]]:
        """Follow something while the block runs. Whatever is committed from now on wakes its feed; see also `fresh`."""
        feed, listening = self._feeds.get(key) or self._open(key)
        feed.followers += 1
        try:
            yield feed
        finally:
            feed.followers -= 1
            if not feed.followers:
                del self._feeds[key]
                listening.close()
                feed.close()

    def _open(self, key: UUID) -> tuple[Feed[H], ExitStack]:
        listening = ExitStack()
        for topic in self._topics(key):
            listening.enter_context(self._bus.subscribe(topic, partial(self.wake, key)))
        self._feeds[key] = self._make(key), listening
        return self._feeds[key]

    def wake(self, key: UUID) -> None:
        """Look at a feed soon."""
        self._woken[key] = None
        self._kick.set()

    def is_looking_at(self, key: UUID) -> bool:
        """Whether a look is under way, which may or may not see what was committed since it began."""
        return key in self._looking

    async def fresh(self, feed: Feed[H]) -> H | None:
        """Return the state of what is followed, as new as now or newer; None when there is no such thing.

        However many ask at the same moment, one look answers them.

        Raises Unavailable without a database.
        """
        seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(feed.key, []).append(seen)
        self.wake(feed.key)
        await seen
        return feed.newest

    async def keep_looking(self) -> None:
        """Look at what was woken, and from time to time at what was not, for as long as the server runs."""
        loop = asyncio.get_running_loop()
        polled = looked = loop.time()
        while True:
            if not self._woken:
                self._kick.clear()
                await _either(self._kick, polled + POLL[self._engine] - loop.time())
            if loop.time() >= polled + POLL[self._engine]:
                polled = loop.time()
                self._woken |= dict.fromkeys(self._due())
            if not self._woken:
                continue
            await asyncio.sleep(looked + APART - loop.time())
            looked = loop.time()
            if not await self._look_once():
                await asyncio.sleep(AGAIN)

    def _due(self) -> list[UUID]:
        alone = self._engine == "sqlite"
        return [
            key
            for key, (feed, _) in self._feeds.items()
            if not alone or (feed.newest is not None and self._is_due(feed.newest))
        ]

    async def _look_once(self) -> bool:
        """Look at what was woken; return whether that was possible. What was not seen stays woken."""
        keys = list(self._woken)[:AT_ONCE]
        waiting = [future for key in keys for future in self._waiting.pop(key, ())]
        for key in keys:
            del self._woken[key]
        self._looking = frozenset(keys)
        try:
            self._learn(keys, await self._look(keys))
        except RelmanError as error:  # the log has it already
            self._failed(keys, waiting, error)
            return False
        except Exception:
            log.exception("background work failed")
            self._failed(keys, waiting, Unavailable("What is followed cannot be read now."))
            return False
        finally:
            self._looking = ()
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return True

    def _learn(self, keys: Collection[UUID], states: Mapping[UUID, H]) -> None:
        for key in keys:
            feed = self.feed(key)
            if feed is not None:
                feed.learn(states.get(key))

    def _failed(self, keys: Collection[UUID], waiting: Collection[asyncio.Future[None]], error: RelmanError) -> None:
        for key in keys:
            if key in self._feeds:
                self._woken[key] = None
        for future in waiting:
            if not future.done():
                future.set_exception(error)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, or that long."""
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await event.wait()
    except TimeoutError:
        return
