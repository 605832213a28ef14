"""One follower of a log: goes on from its cursor, sleeps until its feed has news, and ends when nothing more can come.

A follower holds no connection while it waits, asks the database nothing, and has one answer in memory at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from relman_server.kernel.db import Database
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.errors import NotFound
from relman_server.kernel.streams.delivery import Delivery
from relman_server.logs import chunks, convert
from relman_server.logs.cursor import BEGINNING, Place, decode_cursor, encode_cursor
from relman_server.logs.feed import LogFeed, LogHub, LogState
from relman_server.logs.inputs import TailLogs, Wanted

T = TypeVar("T")

PROGRESS_EVERY = 15.0
"""Seconds after which a follower hears that it is alive, if nothing else."""


class Tail:
    """A follower of one log.

    Args:
        asked: What the caller wants.
        db: Where the log is.
        hub: Feeds it.
        delivery: Takes its answers to the caller.
    """

    __slots__ = ("_asked", "_db", "_delivery", "_deployment", "_hub", "_place", "_wanted")

    def __init__(self, asked: TailLogs, db: Database, hub: LogHub, delivery: Delivery) -> None:
        self._asked = asked
        self._deployment = asked.deployment
        self._db = db
        self._hub = hub
        self._delivery = delivery
        self._wanted = Wanted()
        self._place = BEGINNING

    async def run(self) -> None:
        """Send what is asked for.

        Raises NotFound, InvalidInput for a stage of another deployment or a damaged cursor, OutOfRange for a cursor of
        another log, and whatever ends the stream.
        """
        # Follows before it looks: what is committed in between wakes the feed.
        with self._hub.follow(self._deployment) as feed, self._delivery.resumable():
            log = self._require(await self._delivery.wait(self._hub.fresh(feed)))
            stage = self._asked.stage
            stage_id = await self._delivery.wait(self._hub.stage_id(self._deployment, stage)) if stage else None
            self._wanted = convert.wanted(self._asked, stage_id)
            await self._begin(log)
            follow = self._asked.follow
            del self._asked  # of no use any more, and followers are many
            await self._catch_up(feed, log)
            if follow and not self._is_over(log):
                log = await self._follow(feed)
            if self._is_over(log):
                await self._delivery.send(convert.end(log.status, self._cursor()), self._cursor)

    def _require(self, log: LogState | None) -> LogState:
        if log is None:
            raise NotFound("deployment", str(self._deployment))
        return log

    async def _follow(self, feed: LogFeed) -> LogState:
        """Go on until nothing more can come; return the state of the log then."""
        # Who starts at the head learns where that is, and can resume there before the first line.
        await self._say_alive(1.0)
        while True:
            version = feed.version
            log = self._require(feed.head)
            await self._catch_up(feed, log)
            if self._is_over(log):
                return log
            if version == feed.version:
                await self._delivery.pause(feed.waking, PROGRESS_EVERY)
            if self._delivery.silent_for >= PROGRESS_EVERY:
                await self._say_alive(1.0)

    def _is_over(self, log: LogState) -> bool:
        """Whether this reader has seen all there ever will be: no stream is opened once the deployment has ended."""
        return log.has_ended and not log.is_open and self._place == Place(log.position)

    async def _catch_up(self, feed: LogFeed, log: LogState) -> None:
        """Send everything up to the head."""
        while self._place.position < log.position:
            batch = feed.recall(self._place, self._wanted)
            if batch is None:
                batch = await self._delivery.wait(self._hub.next(feed, self._place, self._wanted))
            if batch.removed:
                await self._tell_gap(self._place.position, batch.removed)
                continue
            for answer in batch.answers:
                await self._delivery.send(answer.data, answer.cursor)
            self._move(batch.place)
            if self._delivery.silent_for >= PROGRESS_EVERY:
                await self._say_alive(min(batch.place.position / log.position, 1.0))

    async def _begin(self, log: LogState) -> None:
        """Go to where the caller wants to start, and say what is gone there."""
        asked = self._asked
        if asked.cursor:
            place = decode_cursor(asked.cursor, self._deployment, log.position)
        elif asked.start_time is not None:
            place = await self._read(_first_since, self._deployment, log.position, asked.start_time)
        elif asked.tail_lines is not None:
            place = await self._last_lines(asked.tail_lines, log.position)
        else:
            place = BEGINNING
        self._move(place)
        if place.position < log.removed:
            await self._tell_gap(place.position, log.removed)
        elif log.removed and place == Place(log.removed) and not asked.cursor and asked.tail_lines != 0:
            await self._tell_gap(0, log.removed)  # what was looked for may have been before it

    async def _last_lines(self, count: int, head: int) -> Place:
        """Return the place before the last lines that are wanted."""
        before = head + 1
        while count and before:
            back = await self._read(_look_back, self._deployment, before, self._wanted, count)
            if back.place is not None:
                return back.place
            count, before = back.missing, back.before
        return BEGINNING if count else Place(head)

    def _cursor(self) -> str:
        return encode_cursor(self._deployment, self._place)

    def _move(self, place: Place) -> None:
        """Go on without an answer that says so."""
        self._place = place
        self._delivery.reached(self._cursor)

    async def _tell_gap(self, after: int, removed: int) -> None:
        """Say that chunks after a position, up to another, are gone, and go on after them."""
        self._place = Place(removed)
        await self._delivery.send(convert.gap(after + 1, removed + 1, self._cursor()), self._cursor)

    async def _say_alive(self, fraction: float) -> None:
        await self._delivery.send(convert.progress(fraction, self._cursor()), self._cursor)

    async def _read(self, fn: Callable[..., T], *args: Any) -> T:  # the arguments of fn after the first
        return await self._delivery.wait(self._db.read(fn, *args))


def _first_since(tx: Reading, deployment_id: Any, head: int, since: Any) -> Place:
    chunk = chunks.first_since(tx, deployment_id, head, since)
    if chunk is None:
        return Place(head)
    return Place(chunk.position - 1, convert.find(chunk.payload, Wanted(since=since))[0].index)


@dataclass(frozen=True)
class _Back:
    """How far a look back came.

    Attributes:
        place: Where the lines begin; None when there are not enough yet.
        missing: Lines that must come from before.
        before: Where to look for them; 0 when there is nothing before.
    """

    place: Place | None
    missing: int
    before: int


def _look_back(tx: Reading, deployment_id: Any, before: int, wanted: Wanted, count: int) -> _Back:
    batch = chunks.read_back(tx, deployment_id, before, wanted)
    for chunk in batch.chunks:
        found = convert.find(chunk.payload, wanted)
        if len(found) >= count:
            return _Back(Place(chunk.position - 1, found[-count].index), 0, 0)
        count -= len(found)
    return _Back(None, count, batch.reached)
