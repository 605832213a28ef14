"""The feed of what happens to all deployments, in the order of commits.

One reader goes through it in this process, and keeps the newest events for all who watch; what they do not want is left
out in memory. It stops before events that something may still come before: on PostgreSQL, transactions commit in
another order than that of their numbers (docs/adr/0013-streams.md).
"""

import asyncio
import base64
import binascii
import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import cast
from uuid import UUID

from relman_server.deployments import convert, feed_store
from relman_server.deployments.feed_store import FeedPlace, place_of
from relman_server.deployments.inputs import WatchAll
from relman_server.kernel.db import Database
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.errors import InvalidInput, OutOfRange, Unavailable, Violation
from relman_server.kernel.streams.bus import Bus
from relman_server.kernel.streams.delivery import Delivery
from relman_server.kernel.streams.hub import Feed, Hub
from relman_server.kernel.streams.shared import Shared

TOPIC = "deployments"
"""What is published when anything happens to any deployment."""

BATCH = 20
RECENT_EVENTS = 500
RECENT_BYTES = 8 * 1024 * 1024
HEARTBEAT = 15.0
SETTLING = 0.01
"""Seconds after which to look again at events that are not settled yet; doubled each time, up to a second."""

_ALL = UUID(int=0)
_CURSOR = struct.Struct(">16sq16sI")


@dataclass(frozen=True)
class FeedEvent:
    """An event as it is sent, and what it may be chosen by.

    Attributes:
        data: The serialized message, with its cursor.
        ids: Of its service, environment and release.
    """

    place: FeedPlace
    cursor: str
    type: str
    ids: frozenset[str]
    data: bytes


@dataclass(frozen=True)
class Chosen:
    """Which events someone wants: of all these ids, and one of these types. Empty means any."""

    ids: frozenset[str]
    types: frozenset[str]

    def takes(self, event: FeedEvent) -> bool:
        """Whether an event is wanted."""
        return self.ids <= event.ids and (not self.types or event.type in self.types)


@dataclass(frozen=True)
class Reached:
    """How far the reader is.

    Attributes:
        feed_id: Of this database's feed.
        place: After the last event that was read.
    """

    feed_id: UUID
    place: FeedPlace

    def cursor(self, place: FeedPlace) -> str:
        """Return the text that stands for a place."""
        packed = _CURSOR.pack(self.feed_id.bytes, place.committed_in, place.deployment_id.bytes, place.revision)
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(text: str) -> tuple[UUID, FeedPlace]:
    """Return what a cursor says: of which feed, and where. Raises InvalidInput for what was never one."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        feed_id, committed_in, deployment_id, revision = _CURSOR.unpack(data)
    except (ValueError, binascii.Error, struct.error) as error:
        raise InvalidInput(Violation("cursor", "is damaged: pass on the cursor of an event as it came")) from error
    return UUID(bytes=feed_id), FeedPlace(committed_in, UUID(bytes=deployment_id), revision)


class EventsFeed(Feed[Reached]):
    """The newest events.

    Attributes:
        reached: Where the reader is; `newest` follows when it is through with a look.
        since: All events after this place, up to where the reader is, are here.
    """

    def __init__(self, key: UUID) -> None:
        super().__init__(key)
        self.reached: Reached | None = None
        self.since: FeedPlace | None = None
        self._events: deque[FeedEvent] = deque()
        self._bytes = 0

    def add(self, events: Sequence[FeedEvent]) -> None:
        """Take what comes next."""
        self._events.extend(events)
        self._bytes += sum(len(event.data) for event in events)
        while len(self._events) > RECENT_EVENTS or self._bytes > RECENT_BYTES:
            oldest = self._events.popleft()
            self._bytes -= len(oldest.data)
            self.since = oldest.place

    def after(self, place: FeedPlace) -> Sequence[FeedEvent] | None:
        """Return the next events after a place; None when they are not all here any more."""
        if self.since is None or place < self.since:
            return None
        begin = bisect_right(self._events, place, key=lambda event: event.place)
        return list(islice(self._events, begin, begin + BATCH))


class FeedHub:
    """The reader of this process, and those who watch.

    Args:
        db: Where events are.
        bus: What wakes the reader.
    """

    def __init__(self, db: Database, bus: Bus) -> None:
        self._db = db
        self._shared = Shared()
        self._hub: Hub[Reached] = Hub(db.engine, bus, lambda _: (TOPIC,), self._look, make=EventsFeed)
        self._settling = SETTLING
        self.keep_looking = self._hub.keep_looking

    def follow(self) -> AbstractContextManager[EventsFeed]:
        """Follow the feed while the block runs; see `Hub.follow`."""
        return cast("AbstractContextManager[EventsFeed]", self._hub.follow(_ALL))

    async def fresh(self, feed: EventsFeed) -> Reached:
        """Return how far the reader is once it has read all that is settled now."""
        reached = await self._hub.fresh(feed)
        if reached is None:
            raise Unavailable("The feed cannot be read now.")
        return reached

    async def _look(self, _: Collection[UUID]) -> Mapping[UUID, Reached]:
        """Read on to the end."""
        feed = cast("EventsFeed | None", self._hub.feed(_ALL))
        if feed is None:
            return {}
        reached = feed.reached if feed.reached is not None else await self._db.read(_begin)
        if feed.since is None:
            feed.since = reached.place
        while True:
            events, unsettled = await self._db.read(_settled, reached)
            feed.add(events)
            if events:
                reached = Reached(reached.feed_id, events[-1].place)
            feed.reached = reached  # whatever becomes of this look, these are not read again
            if len(events) + unsettled < BATCH or unsettled:
                self._look_again(unsettled)
                return {_ALL: reached}

    def _look_again(self, unsettled: int) -> None:
        """Look again soon while there is something to wait for."""
        if not unsettled:
            self._settling = SETTLING
            return
        asyncio.get_running_loop().call_later(self._settling, self._hub.wake, _ALL)
        self._settling = min(self._settling * 2, 1.0)

    async def next(self, feed: EventsFeed, place: FeedPlace) -> Sequence[FeedEvent]:
        """Return events after a place, as far as the reader is; from the database when they are not in memory."""
        recent = feed.after(place)
        if recent is not None:
            return recent
        reached = feed.newest
        assert reached is not None
        from_here = Reached(reached.feed_id, place)
        events, _ = await self._shared.read(from_here, lambda: self._db.read(_settled, from_here))
        return events

    async def begin(self, reached: Reached, cursor: str) -> FeedPlace:
        """Return where to begin. Raises InvalidInput, and OutOfRange for a cursor of elsewhere."""
        if not cursor:
            return reached.place
        feed_id, place = read_cursor(cursor)
        # Another process may have read further than this one.
        is_known = place <= reached.place or place.committed_in < await self._db.read(_next_transaction)
        if feed_id != reached.feed_id or not is_known:
            raise OutOfRange("The cursor is ahead of what has happened, or of another database: begin without one.")
        return place


def _begin(tx: Reading) -> Reached:
    return Reached(feed_store.feed_end(tx).id, feed_store.last_place(tx))


def _next_transaction(tx: Reading) -> int:
    number: int = feed_store.feed_end(tx).next_transaction
    return number


def _settled(tx: Reading, reached: Reached) -> tuple[Sequence[FeedEvent], int]:
    """Return the next events, and how many follow them that are not settled."""
    rows = feed_store.events_since(tx, reached.place, BATCH)
    settled = [row for row in rows if row.is_settled]
    events = []
    for row in settled:
        cursor = reached.cursor(place_of(row))
        snapshot = row.deployment
        ids = frozenset(snapshot[name] for name in ("service_id", "environment_id", "release_id"))
        data = convert.feed_event(row, cursor).SerializeToString()
        events.append(FeedEvent(place_of(row), cursor, row.type, ids, data))
    return events, len(rows) - len(settled)


async def watch_all(hub: FeedHub, delivery: Delivery, wanted: WatchAll, chosen: Chosen) -> None:
    """Send what happens from now on, or from a cursor on, that is chosen, for as long as the caller stays.

    Raises InvalidInput for a damaged cursor, and OutOfRange for one of another database, or ahead of it.
    """
    with hub.follow() as feed, delivery.resumable():
        reached = await delivery.wait(hub.fresh(feed))
        place = await delivery.wait(hub.begin(reached, wanted.cursor))
        # Who waits for the first event learns at once where to resume before it.
        await _beat(delivery, reached.cursor(place))
        while True:
            version = feed.version
            head = feed.head or reached
            while place < head.place:
                events = await delivery.wait(hub.next(feed, place))
                if not events:  # those that were left are deleted
                    place = head.place
                for event in events:
                    place = event.place
                    if chosen.takes(event):
                        await delivery.send(event.data, event.cursor)
                    else:
                        delivery.reached(event.cursor)
            if version == feed.version:
                await delivery.pause(feed.waking, HEARTBEAT)
            if delivery.silent_for >= HEARTBEAT:
                await _beat(delivery, reached.cursor(place))


async def _beat(delivery: Delivery, cursor: str) -> None:
    await delivery.send(convert.feed_heartbeat(cursor), cursor)
