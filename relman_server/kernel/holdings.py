"""What a process holds at the moment, for Prometheus: what stays when nobody calls any more has leaked."""

import asyncio

from prometheus_client import CollectorRegistry, Gauge

from relman_server.kernel.db.database import Database
from relman_server.kernel.streams.lifetime import Lifetimes


def observe(registry: CollectorRegistry, lifetimes: Lifetimes, db: Database) -> None:
    """Let the registry ask, whenever it is read, how much there is; within the event loop whose tasks are counted."""
    loop = asyncio.get_running_loop()
    streams = Gauge("relman_streams", "Streams (tails, watches, log writers) that are open.", registry=registry)
    streams.set_function(lambda: len(lifetimes))
    tasks = Gauge("relman_tasks", "Tasks of the event loop.", registry=registry)
    tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
    connections = Gauge("relman_database_connections", "Connections of the database in use.", registry=registry)
    connections.set_function(lambda: db.connections_in_use)
