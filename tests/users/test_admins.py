"""There is always an active admin."""

import asyncio
from pathlib import Path

import grpc
import pytest

from relman_client.v1 import user_pb2 as pb
from relman_server import settings
from relman_server.commands import first_admin
from relman_server.kernel.clock import SystemClock
from relman_server.kernel.db import Database
from relman_server.users import store
from tests.factories import Caller, RunningServer, refused


async def _take_from(caller: Caller, user: Caller) -> pb.User:
    return await caller.users.UpdateUser(pb.UpdateUserRequest(user=user.username, is_admin=False))


async def _deactivate(caller: Caller, user: Caller) -> pb.User:
    return await caller.users.DeactivateUser(pb.DeactivateUserRequest(user=user.username))


async def test_the_last_admin_stays_one(server: RunningServer) -> None:
    for change in (_take_from, _deactivate):
        refusal = await refused(change(server.admin, server.admin))
        assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION


async def test_of_two_admins_who_end_each_other_one_stays(server: RunningServer) -> None:
    """Each would find the other one still there."""
    admins = [await server.user(is_admin=True) for _ in range(2)]
    await _take_from(admins[0], server.admin)
    for change in (_take_from, _deactivate, _take_from, _deactivate):
        one, other = admins
        await asyncio.gather(change(one, other), change(other, one), return_exceptions=True)
        assert await server.app.db.read(store.active_admins) == 1
        fresh = [await server.user(is_admin=True) for _ in range(2)]
        await asyncio.gather(*(_take_from(fresh[0], admin) for admin in admins))
        admins = fresh


async def test_replicas_that_start_at_once_make_one_admin(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings.build({"data_dir": tmp_path, "database_url": database_url})
    replicas = [Database(database_url, clock=SystemClock()) for _ in range(4)]
    try:
        await asyncio.gather(*(first_admin(db, chosen) for db in replicas))
        assert await replicas[0].read(store.active_admins) == 1
    finally:
        for db in replicas:
            db.close()
    assert capsys.readouterr().out.count("created the admin") == 1
