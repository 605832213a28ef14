"""Two servers over one PostgreSQL: what is written at one is followed at the other, woken by the bus."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from relman_server import settings
from relman_server.app import App
from relman_server.kernel.clock import SystemClock
from relman_server.kernel.streams import hub
from tests.conftest import serving
from tests.factories import Caller, RunningServer
from tests.logs.steps import Follower, append, cancel, new_log
from tests.services.valkey import ValkeyServer


@pytest.fixture
def engine_name() -> str:
    """SQLite has no replicas."""
    return "postgresql"


@asynccontextmanager
async def replica(server: RunningServer) -> AsyncIterator[Caller]:
    """Serve the same database once more; yields the admin there."""
    more = {"listen": "127.0.0.1:0", "database_connections": 4}
    app = App(settings.build(server.app.settings.model_dump(exclude_none=True) | more), SystemClock())
    try:
        async with app.serving() as address, grpc.aio.insecure_channel(address) as channel:
            yield Caller(channel, server.admin.token)
    finally:
        app.close()


@pytest.mark.parametrize("bus", ["postgresql", "redis"])
async def test_lines_written_at_one_replica_wake_those_who_follow_at_another(
    bus: str, database_url: str, tmp_path: Path, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody polls: without the bus no line would come in an hour."""
    monkeypatch.setitem(hub.POLL, "postgresql", 3600.0)
    more = {"redis_url": valkey.url} if bus == "redis" else {}
    async with serving(database_url, tmp_path, SystemClock(), **more) as one, replica(one) as other:
        deployment = await new_log(one)
        await append(one.admin, deployment, "a")
        follower = Follower(other, deployment)
        await follower.has(1)
        await append(one.admin, deployment, "b", first=2)
        await follower.has(2)
        await append(other, deployment, "c", first=3, finish=True)
        await follower.has(3)
        await cancel(one.admin, deployment)
        await follower.to_the_end()
