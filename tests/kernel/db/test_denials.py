"""Who was refused is in the audit log: soon, once, with a count, and never more than a bounded number of rows."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from relman_client.v1 import auth_pb2, deployment_pb2, release_pb2, team_pb2
from relman_server.kernel.clock import SystemClock
from relman_server.kernel.db import Reading
from relman_server.kernel.db import denials as module
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.denials import Attempt, Denials
from relman_server.kernel.db.transaction import Record
from relman_server.kernel.errors import Unavailable
from tests.conftest import MovableClock
from tests.factories import Caller, RunningServer, make_deployment, make_service, make_team, refused


def _denied(tx: Reading) -> list[Record]:
    columns = AuditEntry.__table__.columns
    return list(tx.rows(select(*columns).where(AuditEntry.outcome == "DENIED").order_by(AuditEntry.id)))


async def _rows(server: RunningServer, count: int) -> list[Record]:
    """Return the rows of refused attempts once there are so many: they are written when the caller has its answer."""
    rows: list[Record] = []
    for _ in range(400):
        rows = await server.app.db.read(_denied)
        if len(rows) >= count:
            return rows
        await asyncio.sleep(0.02)
    raise AssertionError(f"{len(rows)} rows instead of {count}")


async def _delete_team(caller: Caller, team: str) -> None:
    await refused(caller.teams.DeleteTeam(team_pb2.DeleteTeamRequest(team=team)))


async def test_who_may_not_is_in_the_audit_log(server: RunningServer) -> None:
    """Fails when Refusals is taken out of the chain."""
    team, stranger = await make_team(server.admin), await server.user()
    await _delete_team(stranger, team.name)
    (row,) = await _rows(server, 1)
    assert (row.action, row.resource_type, row.resource_id) == ("team.delete", "team", team.name)
    assert (row.username, row.ip_address) == (stranger.username, "127.0.0.1")
    assert row.request_id
    assert (row.details["reason"], row.details["count"]) == ("PERMISSION_DENIED", 1)
    assert row.details["message"]


async def test_what_a_rule_about_a_row_refuses_is_there_too(server: RunningServer) -> None:
    service, stranger = await make_service(server.admin), await server.user()
    request = release_pb2.CreateReleaseRequest(service=service.name, version="1.0.0")
    await refused(stranger.releases.CreateRelease(request))
    (row,) = await _rows(server, 1)
    assert (row.action, row.resource_type, row.resource_id) == ("release.create", "release", "")
    assert row.details["service"] == service.name


async def test_a_wrong_password_is_there_with_the_login_and_without_the_password(server: RunningServer) -> None:
    user, wrong = await server.user(), "not-the-password-at-all"
    await refused(server.nobody.auth.Login(auth_pb2.LoginRequest(login=user.username, password=wrong)))
    (row,) = await _rows(server, 1)
    assert (row.action, row.user_id, row.details["login"]) == ("session.create", None, user.username)
    assert wrong not in str(row)


async def test_a_token_is_never_written(server: RunningServer) -> None:
    await refused(server.nobody.auth.RefreshToken(auth_pb2.RefreshTokenRequest(refresh_token="secret-canary")))
    assert "canary" not in str(await _rows(server, 1))


async def test_repeats_within_a_minute_are_one_more_row_with_their_count(
    server: RunningServer, clock: MovableClock
) -> None:
    team, stranger = await make_team(server.admin), await server.user()
    for _ in range(30):
        await _delete_team(stranger, team.name)
    await _rows(server, 1)
    clock.advance(timedelta(seconds=61))
    await _delete_team(stranger, team.name)  # wakes the writer, and is counted with them
    rows = await _rows(server, 2)
    assert sum(row.details["count"] for row in rows) == 31
    assert len(rows) == 2


async def test_what_was_counted_is_written_when_the_server_ends(server: RunningServer) -> None:
    db = server.app.db
    denials = Denials(SystemClock())
    for _ in range(3):
        _note(denials)
    await denials.write(db)
    _note(denials)
    await denials.write(db)
    assert [row.details["count"] for row in await db.read(_denied)] == [3]
    await denials.write(db, ending=True)
    assert [row.details["count"] for row in await db.read(_denied)] == [3, 1]


async def test_many_different_attempts_leave_a_bounded_number_of_rows(server: RunningServer) -> None:
    db = server.app.db
    denials = Denials(SystemClock())
    for number in range(5000):
        _note(denials, target=f"team-{number}", address=f"10.0.{number // 250}.{number % 250}")
    await denials.write(db, ending=True)
    rows = await db.read(_denied)
    assert len(rows) == module.MAX_ATTEMPTS + 1
    assert sum(row.details["count"] for row in rows) == 5000


async def test_attempts_wait_for_a_database_that_is_away(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = server.app.db
    denials = Denials(SystemClock())
    _note(denials)

    async def away(*_: Any) -> None:
        raise Unavailable("The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(db, "write", away)
        await denials.write(db)
    await denials.write(db)
    assert [row.details["count"] for row in await db.read(_denied)] == [1]


async def test_what_no_database_can_hold_does_not_keep_out_those_that_come_after(server: RunningServer) -> None:
    await refused(server.nobody.releases.GetRelease(release_pb2.GetReleaseRequest(release="check\0out@1.0.0")))
    (first,) = await _rows(server, 1)
    assert first.resource_id == "check\N{REPLACEMENT CHARACTER}out@1.0.0"
    await refused(server.nobody.releases.GetRelease(release_pb2.GetReleaseRequest(release="checkout@1.0.0")))
    await _rows(server, 2)


async def test_attempts_that_cannot_be_written_at_all_end_nothing(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = server.app.db
    denials = Denials(SystemClock())
    _note(denials)

    async def broken(*_: Any) -> None:
        raise ValueError("nobody foresaw this")

    with monkeypatch.context() as patch:
        patch.setattr(db, "write", broken)
        await denials.write(db)
    _note(denials, target="checkout")
    await denials.write(db)
    assert [row.resource_id for row in await db.read(_denied)] == ["checkout"]


async def test_a_stream_that_ends_with_its_token_was_no_attempt(server: RunningServer, clock: MovableClock) -> None:
    deployment = await make_deployment(server.admin, server.admin)
    watching = server.admin.deployments.WatchDeployment(deployment_pb2.WatchDeploymentRequest(deployment=deployment.id))
    await anext(aiter(watching))
    clock.advance(timedelta(minutes=16))
    assert (await refused(watching)).code == grpc.StatusCode.UNAUTHENTICATED
    await asyncio.sleep(0.5)
    assert await server.app.db.read(_denied) == []


def _note(denials: Denials, target: str = "payments", address: str = "10.0.0.1") -> None:
    denials.note(
        Attempt("team.delete", "PERMISSION_DENIED", "team", "team", target, address=address),
        request_id="r",
        user_agent="test",
        message="No.",
    )
