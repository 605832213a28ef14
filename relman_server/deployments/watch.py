"""Watching a deployment: the state now, then every event, resumable by revision."""

from collections.abc import AsyncGenerator
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
POLL = {"sqlite": HEARTBEAT, "postgresql": 1.0}


async def watch(
    db: Database, bus: Bus, delivery: Delivery, wanted: Watch
) -> AsyncGenerator[tuple[Record | None, Record | None]]:
    """Yield the deployment as it is now, then each event after; `(deployment, None)` and `(None, event)`.

    `(None, None)` means that nothing happened for a while. Ends after the final event unless it shall stay open.

    Raises NotFound when there is no such deployment, or no longer, and OutOfRange for a revision ahead of it.
    """
    # Listening comes before reading, so that what happens in between wakes this watch.
    deployment_id = store.deployment_id(wanted.deployment)
    with bus.listen(topic(deployment_id)) as woken:
        now = await db.read(store.get_deployment_by_id, deployment_id)
        seen = now.revision if wanted.after_revision is None else wanted.after_revision
        if seen > now.revision:
            raise OutOfRange(f"There is no revision {seen} yet; the newest is {now.revision}.")
        yield now, None
        final = now.status in ENDED and seen >= now.revision
        while wanted.keep_open or not final:
            woken.clear()
            events = await db.read(_events, deployment_id, seen)
            for event in events:
                yield None, event
                seen = event.revision
                final = event.deployment["status"] in ENDED
            if not events:
                await delivery.sleep(woken, min(POLL[db.engine], HEARTBEAT - delivery.silent_for))
                if delivery.silent_for >= HEARTBEAT:
                    yield None, None


def _events(tx: Reading, deployment_id: UUID, seen: int) -> list[Record]:
    found = store.events_after(tx, deployment_id, seen, BATCH)
    if not found:
        # Deleted meanwhile? Whoever watches it should know.
        store.get_deployment_by_id(tx, deployment_id)
    return list(found)
