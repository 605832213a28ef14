"""One server for all tests of a folder, on each engine: what they make has names of its own, so they do not meet.

A folder's conftest.py says `from tests.shared import engine_name, server` and gets both in the place of those of
tests/conftest.py. Tests that move the clock, or need an empty database, ask for `own_server`.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import pytest
from sqlalchemy import text

from relman_server import settings
from relman_server.app import App
from relman_server.kernel.clock import Clock, SystemClock
from relman_server.kernel.db.transaction import Reading
from tests.conftest import ENGINES, MovableClock
from tests.factories import RunningServer
from tests.services.postgres import Postgres


@pytest.fixture(scope="session", params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """The database engine of the shared server."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
async def server(
    engine_name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningServer]:
    """A server with an admin and whatever the tests before left."""
    async with _serving(engine_name, request, tmp_path_factory.mktemp("shared"), SystemClock()) as running:
        yield running


@pytest.fixture
async def own_server(
    engine_name: str, request: pytest.FixtureRequest, tmp_path: Path, clock: MovableClock
) -> AsyncIterator[RunningServer]:
    """A server with an admin and nothing else, whose clock can be moved."""
    async with _serving(engine_name, request, tmp_path, clock) as running:
        yield running


@pytest.fixture
async def no_deadlock(server: RunningServer, engine_name: str) -> AsyncIterator[None]:
    """Retried deadlocks would be right, too, but each costs a second: there shall be none."""
    if engine_name == "sqlite":
        yield
        return
    before = await server.app.db.read(_deadlocks)
    yield
    await asyncio.sleep(0.1)
    assert await server.app.db.read(_deadlocks) == before


def _deadlocks(tx: Reading) -> int:
    tx.scalar(text("select pg_stat_force_next_flush()"))
    return int(tx.scalar(text("select deadlocks from pg_stat_database where datname = current_database()")))


@asynccontextmanager
async def _serving(
    engine_name: str, request: pytest.FixtureRequest, folder: Path, clock: Clock
) -> AsyncIterator[RunningServer]:
    with _database(engine_name, request, folder) as url:
        async with _serving_on(url, folder, clock) as running:
            yield running


@contextmanager
def _database(engine_name: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if engine_name == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), folder / "relman.db")
        yield f"sqlite:///{folder / 'relman.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create_database(template=request.getfixturevalue("postgres_template"))
    yield postgres.url(name)
    postgres.drop_database(name)


@asynccontextmanager
async def _serving_on(url: str, folder: Path, clock: Clock) -> AsyncIterator[RunningServer]:
    chosen = settings.build(
        {"listen": "127.0.0.1:0", "data_dir": folder / "data", "database_url": url, "database_connections": 8}
    )
    app = App(chosen, clock)
    try:
        async with app.serving() as address, grpc.aio.insecure_channel(address) as channel:
            running = RunningServer(app, address, channel)
            await running.prepare()
            yield running
    finally:
        app.close()
