"""Watching a deployment: the state now, then every event, resumable by revision."""

from collections.abc import AsyncGenerator, Sequence
from uuid import UUID

from relman_server.deployments import store
from relman_server.deployments.history import topic
from relman_server.deployments.inputs import Watch
from relman_server.deployments.model import ENDED
from relman_server.kernel.db import Database, Reading
from relman_server.kernel.db.transaction import Record
from relman_server.kernel.errors import OutOfRange
from relman_server.kernel.streams.bus import Bus
from relman_server.kernel.streams.delivery import Delivery

BATCH = 100
HEARTBEAT = 15.0
# How soon a change by another process is found when its wake-up is lost; SQLite has no other process.
POLL = {"sqlite": 15.0, "postgresql": 1.0}

Seen = tuple[int, Record | None, Record | None]
"""After which revision the watch resumes, and what there is to see: the deployment as it is now, or an event, or (with
neither) that nothing happened for a while."""


async def watch(db: Database, bus: Bus, delivery: Delivery, wanted: Watch) -> AsyncGenerator[Seen]:
    """Yield the deployment as it is now, then each event after.

    Ends after the final event unless it shall stay open.

    Raises NotFound when there is no such deployment, or no longer, and OutOfRange for a revision ahead of it.
    """
    # Listening comes before reading, so that what happens in between wakes this watch.
    deployment_id = store.deployment_id(wanted.deployment)
    with bus.listen(topic(deployment_id)) as woken:
        now = await db.read(store.get_deployment_by_id, deployment_id)
        seen = now.revision if wanted.after_revision is None else wanted.after_revision
        if seen > now.revision:
            raise OutOfRange(f"There is no revision {seen} yet; the newest is {now.revision}.")
        # The events between stand still to come: who breaks off here resumes before them.
        yield seen, now, None
        while True:
            woken.clear()
            head, events = await db.read(_news, deployment_id, seen)
            for event in events:
                seen = event.revision
                yield seen, None, event
            if head.status in ENDED and seen >= head.revision and not wanted.keep_open:
                return
            if not events:
                await delivery.sleep(woken, min(POLL[db.engine], HEARTBEAT - delivery.silent_for))
                if delivery.silent_for >= HEARTBEAT:
                    yield seen, None, None


def _news(tx: Reading, deployment_id: UUID, seen: int) -> tuple[Record, Sequence[Record]]:
    """Return the head of the history, and events after a revision; one cheap statement when there are none."""
    head = store.head(tx, deployment_id)
    return head, store.events_after(tx, deployment_id, seen, BATCH) if head.revision > seen else ()
