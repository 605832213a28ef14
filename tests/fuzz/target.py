"""The server that is called: a real `relman-server serve` in a process of its own, on either engine."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from relman_server import settings
from relman_server.app import App
from relman_server.kernel.db import schema
from relman_server.kernel.db.engine import write_engine
from tests.services.postgres import Postgres, PostgresServer
from tests.services.relman import ServerProcess

LOG_QUOTA = 100_000
"""Bytes of log that a deployment may have: so few that operations reach it."""


@dataclass(frozen=True)
class Target:
    """A server under test.

    Attributes:
        engine: "sqlite" or "postgresql".
        app: Over the server's database and keys, though it serves nothing itself: makes users and tokens.
        address: host:port.
        process: What must not die, nor grow without bound.
        log: What the server wrote to its standard error so far.
        ended: Returns the exit status of the process; None while it runs.
    """

    engine: str
    app: App
    address: str
    process: psutil.Process
    log: Callable[[], Sequence[str]]
    ended: Callable[[], int | None] = lambda: None

    @property
    def memory(self) -> float:
        """Resident memory, in MiB; 0 when the process is gone."""
        try:
            return float(self.process.memory_info().rss) / (1 << 20)
        except psutil.NoSuchProcess:
            return 0.0


@asynccontextmanager
async def served(engine: str, url: str, folder: Path, **more: str) -> AsyncIterator[Target]:
    """Serve a database while the block runs; keys go to the folder. `more` are settings, by name without RELMAN_."""
    chosen = {"DATABASE_URL": url, "LOG_QUOTA_BYTES": str(LOG_QUOTA), "LOG_FORMAT": "json"}
    server = ServerProcess(folder, chosen | more)
    app = None
    try:
        server.start()
        process = server.process
        assert process is not None
        app = App(settings.build({"listen": server.address, "data_dir": folder, "database_url": url}))
        yield Target(engine, app, server.address, psutil.Process(process.pid), lambda: server.logged, process.poll)
    finally:
        if app is not None:
            app.close()
        server.kill()


@asynccontextmanager
async def started(engine: str, **more: str) -> AsyncIterator[Target]:
    """Serve an empty database while the block runs; nothing of it is left behind."""
    with tempfile.TemporaryDirectory(prefix="relman-fuzz-") as name, _database(engine, Path(name)) as url:
        async with served(engine, url, Path(name), **more) as target:
            yield target


@contextmanager
def _database(engine: str, folder: Path) -> Iterator[str]:
    if engine == "sqlite":
        yield f"sqlite:///{folder / 'relman.db'}"
        return
    with _postgres() as postgres:
        name = postgres.create_database()
        migrating = write_engine(postgres.url(name), 1)
        schema.migrate(migrating)
        migrating.dispose()
        yield postgres.url(name)
        postgres.drop_database(name)


@contextmanager
def _postgres() -> Iterator[Postgres]:
    named = os.environ.get("RELMAN_TEST_POSTGRES_URL")
    if named:
        yield Postgres(named)
        return
    with PostgresServer() as server:
        yield server.client
