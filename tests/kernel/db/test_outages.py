"""A database that is busy, read-only, restarted or in a deadlock: what can be waited for is, the rest is said."""

import asyncio
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import event
from sqlalchemy.engine import make_url

from relman_client.v1 import system_pb2, team_pb2
from relman_server.kernel.db import Transaction, schema
from relman_server.kernel.db.drift import differences
from relman_server.kernel.db.engine import write_engine
from relman_server.teams.model import Team
from tests.conftest import MovableClock, serving
from tests.factories import Refusal, RunningServer, make_team, refused
from tests.services.postgres import Postgres, PostgresServer


@pytest.fixture
async def embedded(sqlite_template: Path, tmp_path: Path, clock: MovableClock) -> AsyncIterator[RunningServer]:
    """A server over a SQLite file, `relman.db` in the test's folder."""
    shutil.copy(sqlite_template, tmp_path / "relman.db")
    async with serving(f"sqlite:///{tmp_path / 'relman.db'}", tmp_path / "data", clock) as server:
        yield server


async def _teams(server: RunningServer) -> set[str]:
    page = await server.admin.teams.ListTeams(team_pb2.ListTeamsRequest(page_size=500))
    return {team.name for team in page.teams}


async def _refused_team(server: RunningServer, name: str = "half-written") -> Refusal:
    return await refused(server.admin.teams.CreateTeam(team_pb2.CreateTeamRequest(name=name)))


# --- SQLite


async def test_a_lock_that_is_released_in_time_is_only_a_delay(embedded: RunningServer, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "relman.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(make_team(embedded.admin, name="patient"))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    other.execute("ROLLBACK")
    other.close()
    assert (await waiting).name == "patient"


@contextmanager
def _before_every_transaction(server: RunningServer, statement: str) -> Iterator[None]:
    """Run a statement before every transaction while the block runs."""

    def run(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(statement).close()

    event.listen(server.app.db.writes, "checkout", run)
    try:
        yield
    finally:
        event.remove(server.app.db.writes, "checkout", run)


async def test_a_read_only_file_takes_no_change_and_answers_reads(embedded: RunningServer) -> None:
    await make_team(embedded.admin, name="before")
    with _before_every_transaction(embedded, "PRAGMA query_only = 1"):
        refusal = await _refused_team(embedded)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_READ_ONLY")
        assert await _teams(embedded) == {"before"}
    with _before_every_transaction(embedded, "PRAGMA query_only = 0"):
        await make_team(embedded.admin, name="after")
    assert await _teams(embedded) == {"before", "after"}


# --- PostgreSQL


async def test_a_postgresql_that_became_read_only_takes_no_change(
    postgres: Postgres, postgres_template: str, tmp_path: Path, clock: MovableClock
) -> None:
    """As a replica is, or a server at the end of its disk."""
    name = postgres.create_database(template=postgres_template)
    plain = make_url(postgres.url(name)).set(drivername="postgresql").render_as_string(hide_password=False)
    async with serving(postgres.url(name), tmp_path, clock) as server:
        await make_team(server.admin, name="before")
        with psycopg.connect(plain, autocommit=True) as admin:
            admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        server.app.db.writes.dispose()
        refusal = await _refused_team(server)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_READ_ONLY")
        assert await _teams(server) == {"before"}
    postgres.drop_database(name)


async def _becomes(server: RunningServer, status: int) -> None:
    """Return when the health of the database is as said, within 5 seconds."""
    stub = health_pb2_grpc.HealthStub(server.channel)
    async with asyncio.timeout(5):
        async for answer in stub.Watch(health_pb2.HealthCheckRequest(service="database")):
            if answer.status == status:
                return


async def test_a_postgresql_that_restarts_is_waited_for_by_the_callers_only(
    tmp_path: Path, clock: MovableClock
) -> None:
    """Fails when a pool keeps its dead connections: then calls go on failing after the database is back."""
    with PostgresServer() as postgres:
        url = postgres.url(postgres.client.create_database())
        engine = write_engine(url, 1)
        schema.migrate(engine)
        engine.dispose()
        async with serving(url, tmp_path, clock) as server:
            await make_team(server.admin, name="before")
            await asyncio.to_thread(postgres.stop)
            refusal = await _refused_team(server)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
            assert refusal.retry.retry_delay.seconds
            read = await refused(server.admin.teams.ListTeams(team_pb2.ListTeamsRequest()))
            assert read.code == grpc.StatusCode.UNAVAILABLE
            outside = await server.nobody.system.GetHealth(system_pb2.GetHealthRequest())
            assert outside.database.message
            assert str(postgres.folder) not in outside.database.message
            await _becomes(server, health_pb2.HealthCheckResponse.NOT_SERVING)
            await asyncio.to_thread(postgres.start)
            async with asyncio.timeout(5):
                await make_team(server.admin, name="after")
            await _becomes(server, health_pb2.HealthCheckResponse.SERVING)
            assert await _teams(server) == {"before", "after"}


# --- the schema, on both


async def test_the_migrations_make_what_the_models_say(engine_name: str, postgres: Postgres, tmp_path: Path) -> None:
    if engine_name == "sqlite":
        engine = write_engine(f"sqlite:///{tmp_path / 'fresh.db'}", 1)
    else:
        engine = write_engine(postgres.url(postgres.create_database()), 1)
    assert differences(engine) == []
    engine.dispose()


async def test_a_deadlock_is_survived(server: RunningServer) -> None:
    """Two transactions that lock two rows in opposite order: PostgreSQL ends one, which then runs again.

    Fails on PostgreSQL when `retryable` knows no deadlock; SQLite has one writer and cannot have any.
    """
    teams = [await make_team(server.admin) for _ in range(2)]
    attempts = []

    def lock(tx: Transaction, order: list[int]) -> None:
        attempts.append(order)
        for index in order:
            team = tx.lock(Team, UUID(teams[index].id))
            assert team is not None
            team.description = str(order)
            tx.flush()
            time.sleep(0.2)
            tx.audit("team.update", team)

    await asyncio.gather(server.app.db.write(lock, [0, 1]), server.app.db.write(lock, [1, 0]))
    assert len(attempts) == (2 if server.app.db.engine == "sqlite" else 3)
