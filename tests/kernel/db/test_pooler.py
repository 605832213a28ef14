"""PgBouncer in transaction mode: every transaction may have another session of PostgreSQL than the one before."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url

from relman_client.v1 import release_pb2 as rel
from relman_server.kernel.clock import SystemClock
from relman_server.kernel.db.engine import LIMITS, write_engine
from tests.conftest import serving
from tests.factories import make_release
from tests.logs.steps import Follower, append, cancel, new_log
from tests.services.pgbouncer import PgBouncer, program
from tests.services.postgres import Postgres

pytestmark = pytest.mark.skipif(
    program() is None, reason="pgbouncer is not installed (Debian: apt-get install pgbouncer)"
)
SESSIONS = 3


@pytest.fixture
def engine_name() -> str:
    """SQLite has no poolers."""
    return "postgresql"


@pytest.fixture(scope="module")
def pooler(postgres: Postgres) -> Iterator[PgBouncer]:
    """A pooler with fewer sessions than a server has connections."""
    with PgBouncer(postgres.server_url, SESSIONS) as running:
        yield running


@pytest.fixture
def pooled_url(pooler: PgBouncer, database_url: str) -> str:
    """The test's database through the pooler."""
    name = make_url(database_url).database
    assert name is not None
    return pooler.url(name)


async def test_a_server_works_through_a_pooler(pooled_url: str, database_url: str, tmp_path: Path) -> None:
    """Each statement is run more often than psycopg waits before it prepares one, in sessions that change.

    With statements prepared all the same, most of these calls fail: the session does not know them.
    """
    more = {"listen_database_url": database_url, "database_connections": 2 * SESSIONS}
    async with serving(pooled_url, tmp_path, SystemClock(), **more) as server:
        release = await make_release(server.admin)
        read = await asyncio.gather(
            *[server.admin.releases.GetRelease(rel.GetReleaseRequest(release=release.id)) for _ in range(60)]
        )
        assert {one.id for one in read} == {release.id}
        created = await asyncio.gather(*[make_release(server.admin) for _ in range(30)])
        assert len({one.id for one in created}) == 30

        deployment = await new_log(server)
        follower = Follower(server.admin, deployment)
        for number in range(1, 21):
            await append(server.admin, deployment, f"line {number}", first=number, finish=number == 20)
        await cancel(server.admin, deployment)
        await follower.to_the_end()
        assert follower.texts == [f"line {number}" for number in range(1, 21)]


def _limits(connection: Connection) -> dict[str, str]:
    return {name: str(connection.scalar(text(f"SHOW {name}"))) for name in LIMITS}


@pytest.fixture
def engine(pooled_url: str) -> Iterator[Engine]:
    """Transactions through the pooler."""
    engine = write_engine(pooled_url, SESSIONS)
    yield engine
    engine.dispose()


def test_limits_hold_in_every_transaction_and_in_nobody_elses(engine: Engine) -> None:
    expected = {name: f"{seconds}s" for name, seconds in LIMITS.items()}
    with engine.begin() as connection:
        assert _limits(connection) == expected
    with engine.begin() as one, engine.begin() as other:
        assert _limits(one) == _limits(other) == expected
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as outside:
        found = [_limits(outside) for _ in range(2 * SESSIONS)]
    assert found == [dict.fromkeys(LIMITS, "0")] * len(found), "the sessions are shared with others"


def test_times_are_read_in_utc_whatever_the_database_says(engine: Engine, database_url: str) -> None:
    name = make_url(database_url).database
    direct = write_engine(database_url, 1)
    with direct.begin() as connection:
        connection.execute(text(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Tokyo'"))
    direct.dispose()
    with engine.begin() as connection:
        assert connection.scalar(text("SHOW timezone")) == "UTC"
        assert connection.scalar(text("SELECT now()")).utcoffset().total_seconds() == 0
