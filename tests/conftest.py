"""Fixtures that all tests share: a real server, over a real socket, on SQLite and on PostgreSQL."""

import io
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL

from relman_server import settings
from relman_server.app import App
from relman_server.kernel import log_format
from relman_server.kernel.clock import Clock
from relman_server.kernel.db import engine as engine_module
from relman_server.kernel.db import schema
from relman_server.kernel.db.engine import write_engine
from tests.factories import RunningServer, unique
from tests.services.postgres import Postgres
from tests.services.relman import ServerProcess

ENGINES = ("sqlite", "postgresql")


class MovableClock:
    """The machine's clock, plus as much as a test wants."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        """Return the moved time."""
        return datetime.now(UTC) + self.ahead

    def advance(self, span: timedelta) -> None:
        """Let time pass."""
        self.ahead += span


def _log(level: str, *, json: bool) -> None:
    log_format.configure(level, json=json)
    structlog.configure(cache_logger_on_first_use=False)  # so that a test can have the log for itself


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    _log("warning", json=False)


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Let the engines of all servers of this process share what SQLAlchemy compiled: it is half of a short test.

    That belongs to an engine and is found by its dialect. Dialects of engines that are made alike are alike.
    """
    first: dict[object, Engine] = {}

    def create(url: URL, **options: Any) -> Engine:
        engine = create_engine(url, **options)
        like = first.setdefault((engine.dialect.name, options.get("isolation_level")), engine)
        engine.dialect = engine.pool._dialect = like.dialect
        engine._compiled_cache = like._compiled_cache
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "create_engine", create)
        yield


@pytest.fixture
def server_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What servers of this process log from now on, as JSON lines, however unimportant."""
    log = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", log)
        _log("debug", json=True)
    yield log
    _log("warning", json=False)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite database to copy."""
    file = tmp_path_factory.mktemp("template") / "relman.db"
    engine = write_engine(f"sqlite:///{file}", 1)
    schema.migrate(engine)
    with engine.connect() as connection:
        connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return file


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """The name of a migrated, empty PostgreSQL database to copy."""
    name = postgres.create_database()
    engine = write_engine(postgres.url(name), 1)
    schema.migrate(engine)
    engine.dispose()
    return name


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """The database engine of the test; tests that use it, directly or not, run once on each."""
    name: str = request.param
    return name


@contextmanager
def empty_database(engine_name: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Make a migrated, empty database that lasts as long as the block."""
    if engine_name == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        shutil.copy(template, folder / "relman.db")
        yield f"sqlite:///{folder / 'relman.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create_database(template=request.getfixturevalue("postgres_template"))
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def database_url(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated, empty database of the test's own."""
    with empty_database(engine_name, request, tmp_path) as url:
        yield url


@pytest.fixture
def clock() -> MovableClock:
    """The server's clock."""
    return MovableClock()


@asynccontextmanager
async def serving(database_url: str, data_dir: Path, clock: Clock, **more: Any) -> AsyncIterator[RunningServer]:
    """Serve, with an admin and nothing else, while the block runs; `more` are settings."""
    age = more.pop("connection_age", timedelta(hours=1))  # shorter than may be set
    chosen = settings.build(
        {"listen": "127.0.0.1:0", "data_dir": data_dir, "database_url": database_url, "database_connections": 4} | more
    )
    app = App(chosen.model_copy(update={"connection_age": age}), clock)
    try:
        async with app.serving() as address, grpc.aio.insecure_channel(address) as channel:
            running = RunningServer(app, address, channel)
            await running.prepare()
            yield running
    finally:
        app.close()


@pytest.fixture
async def server(database_url: str, clock: MovableClock, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server with an admin and nothing else."""
    async with serving(database_url, tmp_path / "data", clock) as running:
        yield running


@pytest.fixture(scope="module", params=ENGINES)
async def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningServer]:
    """A server for a whole file of tests that need no state of their own, once on each engine."""
    folder = tmp_path_factory.mktemp("shared")
    with empty_database(request.param, request, folder) as url:
        async with serving(url, folder / "data", MovableClock()) as running:
            yield running


@pytest.fixture
def server_process(database_url: str, engine_name: str, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server in a process of its own, to be killed and started again; not started yet."""
    settings_of_it = {} if engine_name == "sqlite" else {"DATABASE_URL": database_url}
    process = ServerProcess(tmp_path / unique("data"), settings_of_it)
    yield process
    process.kill()
