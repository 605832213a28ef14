"""Followers of logs: one reader for all that follow the same log in this process.

What this process has just committed comes from memory. What it has not (another process wrote it, or a follower is too
far behind) is read from the database, once for all who need it at that moment. An answer is serialized once: every
follower that wants the same is given the same bytes.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import cast
from uuid import UUID

from relman_server.deployments import history
from relman_server.deployments.model import ENDED
from relman_server.kernel.db import Database
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.errors import NotFound
from relman_server.kernel.streams.bus import Bus
from relman_server.kernel.streams.hub import Feed, Hub
from relman_server.kernel.streams.shared import Shared
from relman_server.logs import chunks, convert, store
from relman_server.logs.cursor import Place, encode_cursor
from relman_server.logs.inputs import Wanted
from relman_server.logs.recent import Recent

PROCESS_BYTES = 64 * 1024 * 1024
"""Of the newest chunks of all logs that are followed."""
REMEMBERED_BYTES = 512 * 1024
"""Of the answers of one log that others may want, too."""
INLINE_BYTES = 32 * 1024
"""Chunks that are larger are searched in a thread, so that calls are not held up meanwhile."""


def topic(deployment_id: UUID) -> str:
    """Return what is published when a log grows."""
    return f"logs:{deployment_id}"


@dataclass(frozen=True)
class LogState:
    """What is known of a log.

    Attributes:
        status: Of the deployment.
        position: Of the newest chunk; 0 before the first.
        is_open: Whether a stream is open: see `store.states`.
        removed: Chunks up to this position were removed by retention.
    """

    status: str
    position: int
    is_open: bool
    removed: int

    @property
    def has_ended(self) -> bool:
        """Whether no stream can be opened any more."""
        return self.status in ENDED


@dataclass(frozen=True)
class Answer:
    """Something to send.

    Attributes:
        data: The serialized answer, with its cursor.
        cursor: Where to resume after it.
    """

    data: bytes
    cursor: str


@dataclass(frozen=True)
class Batch:
    """What comes next.

    Attributes:
        answers: To be sent, in order; none when nothing is wanted of what was looked at.
        place: Where the follower stands then.
        removed: Chunks up to this position were removed meanwhile, and may be missing.
        is_full: Whether it ends before what was in memory: it may not be larger, or another stream begins there.
    """

    answers: Sequence[Answer]
    place: Place
    removed: int = 0
    is_full: bool = False


class LogFeed(Feed[LogState]):
    """One log that is followed.

    Attributes:
        recent: Its newest chunks.
    """

    def __init__(self, key: UUID, on_close: Callable[[UUID], None]) -> None:
        super().__init__(key)
        self._on_close = on_close
        self.recent = Recent()
        self._grown_to = 0
        self._remembered: dict[tuple[Place, Wanted], Batch] = {}
        self._remembered_bytes = 0

    def learn(self, newest: LogState | None) -> None:
        """Take what was seen; what was handed over meanwhile is newer."""
        if newest is not None and newest.position < self._grown_to:
            newest = replace(newest, position=self._grown_to)
        super().learn(newest)

    def grew(self, position: int, payloads: Sequence[bytes]) -> None:
        """Take chunks that were just committed. So were all before them, for positions are taken in order."""
        self.recent.add(position, payloads)
        self._grown_to = max(self._grown_to, position + len(payloads) - 1)
        if self.newest is not None:
            self.learn(self.newest)

    def recall(self, place: Place, wanted: Wanted) -> Batch | None:
        """Return what another follower got in this place.

        Not when there is more in memory by now: who is behind gets as much as possible at a time, or would stay behind.
        """
        found = self._remembered.get((place, wanted))
        if found is None or found.is_full or self.head is None or found.place.position >= self.head.position:
            return found
        return None if self.recent.holds(found.place.position + 1) else found

    def remember(self, place: Place, wanted: Wanted, batch: Batch) -> None:
        """Keep a batch of one answer at most for those who come to this place."""
        self._forget((place, wanted))
        self._remembered[place, wanted] = batch
        self._remembered_bytes += _size(batch)
        while self._remembered_bytes > REMEMBERED_BYTES and len(self._remembered) > 1:
            self._forget(next(iter(self._remembered)))

    def _forget(self, key: tuple[Place, Wanted]) -> None:
        known = self._remembered.pop(key, None)
        if known is not None:
            self._remembered_bytes -= _size(known)

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.recent.size + self._remembered_bytes

    def close(self) -> None:
        """Tell nobody any more."""
        super().close()
        self._on_close(self.key)

    def forget(self) -> None:
        """Keep nothing."""
        self.recent.clear()
        self._remembered.clear()
        self._remembered_bytes = 0


def _size(batch: Batch) -> int:
    return 200 + sum(len(answer.data) for answer in batch.answers)


class LogHub:
    """The logs that are followed in this process.

    Args:
        db: Where they are.
        bus: What wakes their followers.
    """

    def __init__(self, db: Database, bus: Bus) -> None:
        self._db = db
        self._shared = Shared()
        self._hub: Hub[LogState] = Hub(
            db.engine,
            bus,
            lambda deployment_id: (topic(deployment_id), history.topic(deployment_id)),
            self._look,
            is_due=lambda state: state.has_ended and state.is_open,  # until its streams are given up
            make=lambda key: LogFeed(key, self._closed),
        )
        self._sizes: dict[UUID, int] = {}  # of logs in memory, the one that grew last at the end
        self._size = 0
        self._loop = asyncio.get_running_loop()
        self.keep_looking = self._hub.keep_looking
        self.fresh = self._hub.fresh

    def __len__(self) -> int:
        """Return how many logs are followed."""
        return len(self._hub)

    def follow(self, deployment_id: UUID) -> AbstractContextManager[LogFeed]:
        """Follow a log while the block runs; see `Hub.follow`."""
        return cast("AbstractContextManager[LogFeed]", self._hub.follow(deployment_id))

    def hand_over(self, deployment_id: UUID, position: int, payloads: Sequence[bytes]) -> None:
        """Pass on what was just committed in this process. From any thread; never blocks.

        Args:
            deployment_id: Whose log it is.
            position: Of the first chunk.
            payloads: The chunks as they are stored; none when a stream was only finished.
        """
        if self._hub.feed(deployment_id) is None:  # who comes now reads afterwards
            return
        try:
            self._loop.call_soon_threadsafe(self._grew, deployment_id, position, payloads)
        except RuntimeError:  # the loop is closed: nobody follows any more
            return

    def _grew(self, deployment_id: UUID, position: int, payloads: Sequence[bytes]) -> None:
        feed = self._feed(deployment_id)
        if feed is None:
            return
        if payloads:
            feed.grew(position, payloads)
            self._make_room(feed)
        has_ended = feed.newest is not None and feed.newest.has_ended
        # A stream may have ended with these chunks. That matters once the deployment has ended, too.
        if not payloads or has_ended or self._hub.is_looking_at(deployment_id):
            self._hub.wake(deployment_id)

    def _feed(self, deployment_id: UUID) -> LogFeed | None:
        return cast("LogFeed | None", self._hub.feed(deployment_id))

    def _make_room(self, feed: LogFeed) -> None:
        """Keep what is in memory within bounds; the logs that have been quiet for longest go first."""
        self._closed(feed.key)
        if self._feed(feed.key) is not feed:
            return
        self._sizes[feed.key] = feed.size
        self._size += feed.size
        while self._size > PROCESS_BYTES and len(self._sizes) > 1:
            quiet = next(iter(self._sizes))
            self._closed(quiet)
            found = self._feed(quiet)
            if found is not None:
                found.forget()

    def _closed(self, deployment_id: UUID) -> None:
        self._size -= self._sizes.pop(deployment_id, 0)

    async def _look(self, deployment_ids: Collection[UUID]) -> Mapping[UUID, LogState]:
        rows = await self._db.read(store.states, deployment_ids)
        return {row.id: LogState(row.status, row.position, row.is_open, row.removed) for row in rows}

    async def stage_id(self, deployment_id: UUID, stage: str) -> UUID:
        """Return the id of the stage that a reference means, read once for all who come at this moment.

        Raises NotFound, InvalidInput for a stage of another deployment, and Unavailable without a database.
        """
        reading = partial(self._db.read, store.readable, deployment_id, stage)
        try:
            found = await self._shared.read(("stage", deployment_id, stage), reading)
        except NotFound:  # that read may have begun before the stage was created
            found = await reading()
        stage_id: UUID = found.stage_id
        return stage_id

    async def next(self, feed: LogFeed, place: Place, wanted: Wanted) -> Batch:
        """Return what comes after a place, which must not be the head, when the feed cannot `recall` it.

        Raises NotFound when the deployment is gone, and Unavailable without a database.
        """
        recent = feed.recent.after(place.position)
        if recent is None:
            return await self._shared.read((feed.key, place, wanted), lambda: self._read(feed, place, wanted))
        payload, count = convert.join(recent)
        is_full = place.position + count < feed.recent.last
        if len(payload) <= INLINE_BYTES or not wanted.narrows:
            return self._remember(feed, place, wanted, _batch(feed.key, place, wanted, payload, count, is_full=is_full))
        return await self._shared.read(
            ("narrowed", feed.key, place, wanted),
            lambda: self._narrow(
                feed, place, wanted, partial(_batch, feed.key, place, wanted, payload, count, is_full=is_full)
            ),
        )

    async def _narrow(self, feed: LogFeed, place: Place, wanted: Wanted, make: Callable[[], Batch]) -> Batch:
        return self._remember(feed, place, wanted, await asyncio.to_thread(make))

    def _remember(self, feed: LogFeed, place: Place, wanted: Wanted, batch: Batch) -> Batch:
        feed.remember(place, wanted, batch)
        self._make_room(feed)
        return batch

    async def _read(self, feed: LogFeed, place: Place, wanted: Wanted) -> Batch:
        state = feed.newest
        if state is None:
            raise NotFound("deployment", str(feed.key))
        batch, payloads = await self._db.read(_stored, feed.key, place, state, wanted)
        adjoins = place.position == feed.recent.last or not feed.recent.size
        if payloads and adjoins and place.position + len(payloads) == state.position and self._feed(feed.key) is feed:
            feed.recent.add(place.position + 1, payloads)
            self._make_room(feed)
        return batch


def _batch(deployment_id: UUID, place: Place, wanted: Wanted, payload: bytes, count: int, *, is_full: bool) -> Batch:
    then = Place(place.position + count)
    return Batch(_answers(deployment_id, then, convert.narrow(payload, wanted, place.skip)), then, is_full=is_full)


def _answers(deployment_id: UUID, place: Place, narrowed: bytes) -> tuple[Answer, ...]:
    if not narrowed:
        return ()
    cursor = encode_cursor(deployment_id, place)
    return (Answer(convert.with_cursor(narrowed, cursor), cursor),)


def _stored(
    tx: Reading, deployment_id: UUID, place: Place, state: LogState, wanted: Wanted
) -> tuple[Batch, Sequence[bytes]]:
    """Read what comes next; return it, and the chunks when they are all that there are."""
    read = chunks.read(tx, deployment_id, place.position, state.position, wanted)
    # Only logs of deployments that ended long ago lose chunks. Asked afterwards: what was not removed by now was there.
    removed = store.removed(tx, deployment_id) if state.has_ended else 0
    answers: list[Answer] = []
    rest = list(read.chunks)
    while rest:
        payload, count = convert.join([chunk.payload for chunk in rest])
        skip = place.skip_in(rest[0].position)
        answers += _answers(deployment_id, Place(rest[count - 1].position), convert.narrow(payload, wanted, skip))
        del rest[:count]
    batch = Batch(answers, Place(read.reached), removed if removed > place.position else 0)
    is_whole = len(read.chunks) == read.reached - place.position
    return batch, [chunk.payload for chunk in read.chunks] if is_whole else ()
