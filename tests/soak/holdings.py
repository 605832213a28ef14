"""What the server holds, as its metrics and the system say."""

import asyncio
import time
import urllib.request
from dataclasses import dataclass

import psutil
from prometheus_client.parser import text_string_to_metric_families

QUIET = 10.0
"""Seconds within which nothing may be left of those who are gone."""
LOOK_EVERY = 0.1


@dataclass(frozen=True)
class Holdings:
    """What a server holds.

    Attributes:
        streams: That are open.
        calls: Under way.
        connections: Of the database, in use.
        tasks: Of its event loop.
        memory: Resident, in KiB.
    """

    streams: int
    calls: int
    connections: int
    tasks: int
    memory: float

    @property
    def is_quiet(self) -> bool:
        """Whether nobody calls."""
        return not (self.streams or self.calls or self.connections)


def read(address: str, process: psutil.Process) -> Holdings:
    """Ask a server for its metrics at this address, and the system for its memory."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    values = {
        sample.name: int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }
    return Holdings(
        streams=values["relman_streams"],
        calls=values["relman_calls_under_way"],
        connections=values["relman_database_connections"],
        tasks=values["relman_tasks"],
        memory=process.memory_info().rss / 1024,
    )


async def when_quiet(address: str, process: psutil.Process, tasks: int | None = None) -> Holdings:
    """Return what a server holds once nobody calls any more, or when it still does not look so after some seconds.

    Its own work uses a connection now and then, and starts a task.

    Args:
        address: Of its metrics.
        process: The server.
        tasks: How many there should be; None when that is what is to be found out.
    """
    ends_at = time.monotonic() + QUIET
    while True:
        held = await asyncio.to_thread(read, address, process)
        is_quiet = held.is_quiet and (tasks is None or held.tasks <= tasks)
        if is_quiet or time.monotonic() > ends_at:
            return held
        await asyncio.sleep(LOOK_EVERY)
