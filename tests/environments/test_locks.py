from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import select

from relman_client.v1 import environment_pb2 as pb
from relman_server.environments.logic import EnvironmentChanged
from relman_server.kernel.db import Reading
from relman_server.kernel.db.audit import AuditEntry
from tests.conftest import MovableClock
from tests.factories import RunningServer, make_environment, refused


async def _lock(server: RunningServer, environment: pb.Environment, **fields: Any) -> pb.Environment:
    fields.setdefault("reason", "moving house")
    return await server.admin.environments.LockEnvironment(
        pb.LockEnvironmentRequest(environment=environment.name, **fields)
    )


async def _unlock(server: RunningServer, environment: pb.Environment) -> pb.Environment:
    return await server.admin.environments.UnlockEnvironment(pb.UnlockEnvironmentRequest(environment=environment.id))


async def test_a_lock_says_who_why_and_how_long(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    locked = await _lock(server, environment, reason=" moving house ", ttl=Duration(seconds=3600))
    assert (locked.lock.locked_by, locked.lock.reason) == (str(server.admin.user_id), "moving house")
    assert locked.lock.expires_at.ToDatetime() - locked.lock.locked_at.ToDatetime() == timedelta(hours=1)
    assert locked.etag != environment.etag


async def test_a_lock_without_a_span_holds_until_it_is_ended(server: RunningServer, clock: MovableClock) -> None:
    environment = await make_environment(server.admin)
    locked = await _lock(server, environment)
    assert not locked.lock.HasField("expires_at")
    clock.advance(timedelta(days=1000))
    caller = await server.user()
    found = await caller.environments.GetEnvironment(pb.GetEnvironmentRequest(environment=environment.id))
    assert found.lock == locked.lock


async def test_an_expired_lock_is_no_lock(own_server: RunningServer, clock: MovableClock) -> None:
    environment = await make_environment(own_server.admin)
    await _lock(own_server, environment, ttl=Duration(seconds=60))
    clock.advance(timedelta(seconds=59))
    get = pb.GetEnvironmentRequest(environment=environment.id)
    assert (await own_server.admin.environments.GetEnvironment(get)).HasField("lock")
    clock.advance(timedelta(seconds=1))
    assert not (await own_server.admin.environments.GetEnvironment(get)).HasField("lock")
    listed = await own_server.admin.environments.ListEnvironments(pb.ListEnvironmentsRequest())
    assert not listed.environments[0].HasField("lock")


async def test_a_lock_on_a_lock_replaces_it(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    await _lock(server, environment, ttl=Duration(seconds=60))
    replaced = await _lock(server, environment, reason="still moving")
    assert replaced.lock.reason == "still moving"
    assert not replaced.lock.HasField("expires_at")


async def test_an_ended_lock_is_gone(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    await _lock(server, environment)
    assert not (await _unlock(server, environment)).HasField("lock")


async def test_what_is_not_locked_cannot_be_unlocked(own_server: RunningServer, clock: MovableClock) -> None:
    environment = await make_environment(own_server.admin)
    expired = await make_environment(own_server.admin)
    await _lock(own_server, expired, ttl=Duration(seconds=1))
    clock.advance(timedelta(seconds=1))
    for unlocked in (environment, expired):
        refusal = await refused(_unlock(own_server, unlocked))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reason", ""),
        ("reason", "  "),
        ("reason", "x" * 1001),
        ("ttl", Duration()),
        ("ttl", Duration(seconds=-1)),
        ("ttl", Duration(seconds=90 * 86400 + 1)),
    ],
    ids=["no reason", "a blank one", "a long one", "no time", "negative", "too long"],
)
async def test_a_lock_out_of_bounds_is_refused(server: RunningServer, field: str, value: object) -> None:
    environment = await make_environment(server.admin)
    refusal = await refused(_lock(server, environment, **{field: value}))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {field})


async def test_locks_of_an_unknown_environment_are_not_found(server: RunningServer) -> None:
    unknown = pb.Environment(name="nothing", id="nothing")
    for call in (_lock(server, unknown), _unlock(server, unknown)):
        assert (await refused(call)).code == grpc.StatusCode.NOT_FOUND


async def test_locks_and_their_end_are_announced(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    announced: list[str] = []
    server.app.events.subscribe(EnvironmentChanged, lambda _, changed: announced.append(str(changed.environment_id)))
    await _lock(server, environment)
    assert announced == [environment.id]
    await _unlock(server, environment)
    assert announced == [environment.id] * 2


def _reasons(tx: Reading) -> list[tuple[str, list[str]]]:
    rows = tx.rows(
        select(AuditEntry.action, AuditEntry.details)
        .where(AuditEntry.action.in_(["environment.lock", "environment.unlock"]))
        .order_by(AuditEntry.created_at)
    )
    return [(row.action, row.details["changes"]["lock_reason"]) for row in rows]


async def test_locks_are_audited_with_what_was_before(own_server: RunningServer) -> None:
    environment = await make_environment(own_server.admin)
    await _lock(own_server, environment, reason="one")
    await _lock(own_server, environment, reason="two")
    await _unlock(own_server, environment)
    assert await own_server.app.db.read(_reasons) == [
        ("environment.lock", ["", "one"]),
        ("environment.lock", ["one", "two"]),
        ("environment.unlock", ["two", ""]),
    ]
