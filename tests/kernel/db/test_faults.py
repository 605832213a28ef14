"""A database that cannot: a clear refusal, and nothing half-written."""

import sqlite3
from pathlib import Path

import grpc
import pytest
from sqlalchemy import text

from relman_client.v1 import system_pb2, team_pb2
from relman_server.kernel.db import engine as engines
from relman_server.kernel.db import schema
from relman_server.kernel.db.engine import write_engine
from tests.factories import RunningServer, make_team, refused


@pytest.fixture
def engine_name() -> str:
    """These faults are SQLite's."""
    return "sqlite"


def _file(server: RunningServer) -> str:
    return str(server.app.db.writes.url.database)


async def _names(server: RunningServer) -> list[str]:
    return [team.name for team in (await server.admin.teams.ListTeams(team_pb2.ListTeamsRequest())).teams]


async def test_a_database_locked_by_another_program_refuses_writes_and_goes_on_afterwards(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY_SECONDS", 0)
    server.app.db.writes.dispose()  # the next connection waits for nobody
    other = sqlite3.connect(_file(server), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refusal = await refused(make_team(server.admin, name="held"))
    other.close()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    assert refusal.retry.retry_delay.seconds == 1
    assert await _names(server) == []
    await make_team(server.admin, name="free")


async def test_a_full_database_says_that_it_takes_no_writes_and_keeps_none(server: RunningServer) -> None:
    with server.app.db.writes.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))
    refusal = None
    made = []
    for number in range(60):
        try:
            made.append((await make_team(server.admin, name=f"team-{number}", description="x" * 2000)).name)
        except grpc.aio.AioRpcError:
            refusal = await refused(make_team(server.admin, name="one-more", description="x" * 2000))
            break
    assert refusal is not None, "the database was never full"
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_READ_ONLY")
    assert sorted(await _names(server)) == sorted(made)
    assert (await server.nobody.system.GetHealth(system_pb2.GetHealthRequest())).HasField("database")


def test_a_schema_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    engine = write_engine(f"sqlite:///{tmp_path / 'relman.db'}", 1)
    schema.migrate(engine)
    engine.dispose()
    newer = sqlite3.connect(tmp_path / "relman.db")
    newer.execute("UPDATE alembic_version SET version_num = '9999'")
    newer.commit()
    newer.close()
    for look in (schema.migrate, schema.require_newest):
        with pytest.raises(schema.SchemaMismatch, match="newer relman"):
            look(engine)
    engine.dispose()


def test_a_schema_that_is_missing_says_what_to_run(tmp_path: Path) -> None:
    engine = write_engine(f"sqlite:///{tmp_path / 'relman.db'}", 1)
    with pytest.raises(schema.SchemaMismatch, match="relman-server migrate"):
        schema.require_newest(engine)
    engine.dispose()
