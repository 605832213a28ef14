"""Watching a deployment: the state now, then every event, resumable by revision.

Whoever watches the same deployment in this process shares its reader: a look finds whether there is something new, and
what is new is read, and written as a message, once for all of them.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from relman_server.deployments import convert, store
from relman_server.deployments.history import topic
from relman_server.deployments.inputs import Watch
from relman_server.deployments.model import ENDED
from relman_server.kernel.db import Database
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.kernel.errors import NotFound, OutOfRange
from relman_server.kernel.streams.bus import Bus
from relman_server.kernel.streams.delivery import Delivery
from relman_server.kernel.streams.hub import Feed, Hub
from relman_server.kernel.streams.shared import Shared

BATCH = 20
REMEMBERED = 4
"""Batches of a deployment that others may want, too."""
HEARTBEAT = 15.0


@dataclass(frozen=True)
class Head:
    """Where the history of a deployment ends, and its status there."""

    revision: int
    status: str


@dataclass(frozen=True)
class Event:
    """An event as it is sent.

    Attributes:
        data: The serialized message.
    """

    revision: int
    data: bytes


class DeploymentFeed(Feed[Head]):
    """One deployment that is watched.

    Attributes:
        remembered: The newest batches, by the revision they come after.
    """

    def __init__(self, key: UUID) -> None:
        super().__init__(key)
        self.remembered: dict[int, Sequence[Event]] = {}


class WatchHub:
    """The deployments that are watched in this process.

    Args:
        db: Where their events are.
        bus: What wakes those who watch.
    """

    def __init__(self, db: Database, bus: Bus) -> None:
        self._db = db
        self._shared = Shared()
        self._hub: Hub[Head] = Hub(db.engine, bus, lambda key: (topic(key),), self._look, make=DeploymentFeed)
        self.keep_looking = self._hub.keep_looking

    def follow(self, deployment_id: UUID) -> AbstractContextManager[DeploymentFeed]:
        """Follow a deployment while the block runs; see `Hub.follow`."""
        return cast("AbstractContextManager[DeploymentFeed]", self._hub.follow(deployment_id))

    async def _look(self, keys: Collection[UUID]) -> Mapping[UUID, Head]:
        rows = await self._db.read(store.heads, keys)
        return {row.id: Head(row.revision, row.status) for row in rows}

    async def snapshot(self, feed: DeploymentFeed) -> Record:
        """Return a deployment as it is now, read once for all who begin at this moment.

        Raises NotFound, and Unavailable without a database.
        """
        head = await self._hub.fresh(feed)
        while head is not None:
            row: Record = await self._shared.read(
                ("snapshot", feed.key), lambda: self._db.read(store.get_deployment_by_id, feed.key)
            )
            if row.revision >= head.revision:  # else it was begun by someone who came before
                return row
        raise NotFound("deployment", str(feed.key))

    async def next(self, feed: DeploymentFeed, seen: int) -> Sequence[Event]:
        """Return the next events after a revision, which must not be the head.

        Raises NotFound when the deployment is gone, and Unavailable without a database.
        """
        known = feed.remembered.get(seen)
        if known is not None:
            return known
        events: Sequence[Event] = await self._shared.read(
            (feed.key, seen), lambda: self._db.read(_events, feed.key, seen)
        )
        if not events and await self._hub.fresh(feed) is None:
            raise NotFound("deployment", str(feed.key))
        if events:
            feed.remembered[seen] = events
        if len(feed.remembered) > REMEMBERED:
            del feed.remembered[next(iter(feed.remembered))]
        return events


def _events(tx: Reading, deployment_id: UUID, seen: int) -> Sequence[Event]:
    rows = store.events_after(tx, deployment_id, seen, BATCH)
    return [Event(row.revision, convert.event(row).SerializeToString()) for row in rows]


async def watch(hub: WatchHub, delivery: Delivery, wanted: Watch) -> None:
    """Send the deployment as it is now, then each event after.

    Ends after the final event unless it shall stay open.

    Raises NotFound when there is no such deployment, or no longer, and OutOfRange for a revision ahead of it.
    """
    deployment_id = store.deployment_id(wanted.deployment)
    # Following comes before reading, so that what happens in between wakes this watch.
    with hub.follow(deployment_id) as feed, delivery.resumable():
        now = await delivery.wait(hub.snapshot(feed))
        seen = now.revision if wanted.after_revision is None else wanted.after_revision
        if seen > now.revision:
            raise OutOfRange(f"There is no revision {seen} yet; the newest is {now.revision}.")
        # The events between stand still to come: who breaks off here resumes before them.
        await delivery.send(convert.snapshot(now, seen), str(seen))
        while True:
            version = feed.version
            head = feed.head
            if head is None:
                raise NotFound("deployment", str(deployment_id))
            while seen < head.revision:
                for event in await delivery.wait(hub.next(feed, seen)):
                    await delivery.send(event.data, str(event.revision))
                    seen = event.revision
            if head.status in ENDED and seen >= head.revision and not wanted.keep_open:
                return
            if version == feed.version:
                await delivery.pause(feed.waking, HEARTBEAT)
            if delivery.silent_for >= HEARTBEAT:
                await delivery.send(convert.heartbeat(wanted.deployment, seen), str(seen))
