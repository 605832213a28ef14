"""One follower of a log: reads by cursor, sleeps until it is woken, and ends when nothing more can come.

A follower holds no connection while it waits. What wakes it carries no data and may be lost: it looks by itself, too.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from relman_server.deployments import history
from relman_server.deployments.model import ENDED
from relman_server.kernel.db import Database
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.kernel.streams.bus import Bus
from relman_server.kernel.streams.delivery import Delivery
from relman_server.logs import chunks, convert, store
from relman_server.logs.cursor import BEGINNING, Place, decode_cursor, encode_cursor
from relman_server.logs.inputs import TailLogs, Wanted

T = TypeVar("T")

PROGRESS_EVERY = 15.0
"""Seconds after which a follower hears that it is alive, if nothing else."""
POLL = {"sqlite": PROGRESS_EVERY, "postgresql": 1.0}
"""Seconds after which it looks without having been woken; SQLite has no other process whose wake-up could be lost."""


def topic(deployment_id: UUID) -> str:
    """Return what is published when a log grows."""
    return f"logs:{deployment_id}"


class Tail:
    """A follower of one log.

    Args:
        asked: What the caller wants.
        db: Where the log is.
        bus: What wakes it: topics `logs:<id>` and `deployment:<id>`.
        delivery: Takes its answers to the caller.
    """

    def __init__(self, asked: TailLogs, db: Database, bus: Bus, delivery: Delivery) -> None:
        self._asked = asked
        self._deployment = asked.deployment
        self._db = db
        self._bus = bus
        self._delivery = delivery
        self._poll = POLL[db.engine]
        self._wanted = Wanted()
        self._place = BEGINNING

    async def run(self) -> None:
        """Send what is asked for.

        Raises NotFound, InvalidInput for a stage of another deployment or a damaged cursor, OutOfRange for a cursor of
        another log, and whatever ends the stream.
        """
        topics = topic(self._deployment), history.topic(self._deployment)
        # Listens before it reads: what is committed in between wakes it.
        with self._bus.listen(*topics) as woken, self._delivery.resumable():
            log = await self._read(store.readable, self._deployment, self._asked.stage)
            self._wanted = convert.wanted(self._asked, log.stage_id)
            self._move(await self._start(log.position))
            await self._catch_up(log.position)
            if self._asked.follow and not self._is_over(log):
                log = await self._follow(woken)
            if self._is_over(log):
                await self._delivery.send(convert.end(log.status, self._cursor), self._cursor)

    async def _follow(self, woken: asyncio.Event) -> Record:
        """Go on until nothing more can come; return the state of the log then."""
        # Who starts at the head learns where that is, and can resume there before the first line.
        await self._say_alive(1.0)
        while True:
            await self._delivery.sleep(woken, min(self._poll, PROGRESS_EVERY - self._delivery.silent_for))
            woken.clear()
            log = await self._read(store.state, self._deployment)
            await self._catch_up(log.position)
            if self._is_over(log):
                return log
            if self._delivery.silent_for >= PROGRESS_EVERY:
                await self._say_alive(1.0)

    def _is_over(self, log: Record) -> bool:
        """Whether this reader has seen all there ever will be: no stream is opened once the deployment has ended."""
        return log.status in ENDED and not log.is_open and self._place == Place(log.position)

    async def _catch_up(self, head: int) -> None:
        """Send everything up to the head."""
        while self._place.position < head:
            batch = await self._read(_next_answers, self._deployment, self._place, head, self._wanted)
            for position, answer in batch.answers:
                self._place = Place(position)
                await self._delivery.send(convert.with_cursor(answer, self._cursor), self._cursor)
            self._move(Place(batch.reached))
            if self._delivery.silent_for >= PROGRESS_EVERY:
                await self._say_alive(batch.reached / head)

    async def _start(self, head: int) -> Place:
        asked = self._asked
        if asked.cursor:
            return decode_cursor(asked.cursor, self._deployment, head)
        if asked.start_time is not None:
            return await self._read(_first_since, self._deployment, head, asked.start_time)
        if asked.tail_lines is not None:
            return await self._last_lines(asked.tail_lines, head)
        return BEGINNING

    async def _last_lines(self, count: int, head: int) -> Place:
        """Return the place before the last lines that are wanted."""
        before = head + 1
        while count and before:
            back = await self._read(_look_back, self._deployment, before, self._wanted, count)
            if back.place is not None:
                return back.place
            count, before = back.missing, back.before
        return BEGINNING if count else Place(head)

    @property
    def _cursor(self) -> str:
        return encode_cursor(self._deployment, self._place)

    def _move(self, place: Place) -> None:
        """Go on without an answer that says so."""
        self._place = place
        self._delivery.reached(self._cursor)

    async def _say_alive(self, fraction: float) -> None:
        await self._delivery.send(convert.progress(fraction, self._cursor), self._cursor)

    async def _read(self, fn: Callable[..., T], *args: Any) -> T:  # the arguments of fn after the first
        return await self._delivery.wait(self._db.read(fn, *args))


@dataclass(frozen=True)
class _Answers:
    """What to send next.

    Attributes:
        answers: Position of each chunk and the answer that holds what is wanted of it, without a cursor.
        reached: The last position that was looked at.
    """

    answers: list[tuple[int, bytes]]
    reached: int


def _next_answers(tx: Reading, deployment_id: UUID, place: Place, head: int, wanted: Wanted) -> _Answers:
    batch = chunks.read(tx, deployment_id, place.position, head, wanted)
    answers = (
        (chunk.position, convert.narrow(chunk.payload, wanted, place.skip_in(chunk.position))) for chunk in batch.chunks
    )
    return _Answers([(position, answer) for position, answer in answers if answer], batch.reached)


def _first_since(tx: Reading, deployment_id: UUID, head: int, since: Any) -> Place:
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


def _look_back(tx: Reading, deployment_id: UUID, before: int, wanted: Wanted, count: int) -> _Back:
    batch = chunks.read_back(tx, deployment_id, before, wanted)
    for chunk in batch.chunks:
        found = convert.find(chunk.payload, wanted)
        if len(found) >= count:
            return _Back(Place(chunk.position - 1, found[-count].index), 0, 0)
        count -= len(found)
    return _Back(None, count, batch.reached)
