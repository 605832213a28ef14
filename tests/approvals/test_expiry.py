"""Requests that nobody answers: time ends them, whether or not the server has noticed yet."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import select

from relman_server.deployments import approving
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading
from tests.approvals import steps
from tests.approvals.steps import Scene, decide, expire, waiting, withdraw
from tests.conftest import MovableClock
from tests.deployments.steps import cancel, check, event_type, events_of
from tests.deployments.steps import state as deployment_state
from tests.factories import RunningServer, make_deployment, refused

MINUTES = 5
AGAIN = "Nobody answered in time: ask with CreateApproval."


async def _expired(server: RunningServer, clock: MovableClock, required: int = 1) -> Scene:
    """Create a deployment whose requests have run out."""
    scene = await waiting(server, required=required, approval_ttl=Duration(seconds=60 * MINUTES))
    clock.advance(timedelta(minutes=MINUTES))
    return scene


async def test_what_nobody_answered_in_time_is_expired(own_server: RunningServer, clock: MovableClock) -> None:
    scene = await _expired(own_server, clock, required=2)
    assert await expire(own_server) == 1
    assert await scene.states() == ["EXPIRED", "EXPIRED"]
    blocker = await scene.blocker()
    assert blocker.message == f"Waiting for 2 of 2 approvals: team {scene.team}. {AGAIN}"
    *_, expired, blocked = await events_of(scene.author, scene.deployment)
    assert [event_type(event) for event in (expired, blocked)] == ["APPROVAL", "BLOCKED"]
    assert (expired.message, expired.actor_id) == ("2 requests for approval expired.", "")
    assert await expire(own_server) == 0, "once is enough"


async def test_time_decides_and_not_whether_the_server_has_noticed(
    own_server: RunningServer, clock: MovableClock
) -> None:
    scene = await _expired(own_server, clock)
    (approval,) = await scene.approvals()
    assert steps.state(approval) == "EXPIRED"
    (blocker,) = (await check(scene.author, scene.deployment)).blockers
    assert blocker.message.endswith(AGAIN)
    for call in (scene.approve(), scene.reject(), decide(scene.approvers[0], approval)):
        refusal = await refused(call)
        assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "EXPIRED")
        assert "ask again with CreateApproval" in refusal.message
    await expire(own_server)
    for call in (scene.approve(), scene.reject(), decide(scene.approvers[0], approval)):
        assert (await refused(call)).info.metadata["state"] == "EXPIRED"


async def test_up_to_the_end_it_can_be_answered(own_server: RunningServer, clock: MovableClock) -> None:
    scene = await waiting(own_server, approval_ttl=Duration(seconds=60 * MINUTES))
    clock.advance(timedelta(minutes=MINUTES - 2))
    assert await expire(own_server) == 0
    assert deployment_state(await scene.approve()) == "READY"
    clock.advance(timedelta(minutes=MINUTES))
    assert await expire(own_server) == 0, "what was given stays given"
    assert deployment_state(await scene.start()) == "IN_PROGRESS"


@pytest.mark.parametrize("noticed", [True, False])
async def test_who_asks_again_takes_the_place_of_what_expired(
    own_server: RunningServer, clock: MovableClock, noticed: bool
) -> None:
    scene = await _expired(own_server, clock)
    if noticed:
        await expire(own_server)
    await scene.ask()
    assert (await scene.blocker()).message == f"Waiting for 1 of 1 approvals: team {scene.team}."
    assert deployment_state(await scene.approve()) == "READY"
    assert await scene.states() == ["EXPIRED", "APPROVED"]


async def test_one_more_that_expired_is_waited_for_until_it_is_asked_again(
    own_server: RunningServer, clock: MovableClock
) -> None:
    scene = await waiting(own_server, required=1, approval_ttl=Duration(seconds=60 * MINUTES))
    await scene.ask(approver=scene.approvers[1].username)
    await scene.approve()
    clock.advance(timedelta(minutes=MINUTES))
    await expire(own_server)
    assert (await scene.blocker()).message == f"Waiting for 1 of 2 approvals: team {scene.team}. {AGAIN}"
    await scene.ask(approver=scene.approvers[1].username)
    assert deployment_state(await scene.approve(scene.approvers[1])) == "READY"


async def test_who_withdraws_what_took_a_place_leaves_it_empty(own_server: RunningServer, clock: MovableClock) -> None:
    scene = await _expired(own_server, clock)
    await withdraw(scene.author, await scene.ask())
    message = f"Waiting for 1 of 1 approvals: team {scene.team}. Nobody is asked: ask with CreateApproval."
    assert (await scene.blocker()).message == message
    await scene.ask()
    assert deployment_state(await scene.approve()) == "READY"


@pytest.mark.parametrize("noticed", [True, False])
async def test_what_expired_may_still_be_withdrawn(
    own_server: RunningServer, clock: MovableClock, noticed: bool
) -> None:
    scene = await waiting(own_server, required=0, approval_ttl=Duration(seconds=60 * MINUTES))
    asked = await scene.ask()
    clock.advance(timedelta(minutes=MINUTES))
    if noticed:
        await expire(own_server)
    await withdraw(scene.author, asked)
    assert (await scene.states(), await scene.state()) == (["CANCELLED"], "READY")


async def test_what_was_asked_again_is_not_withdrawn(own_server: RunningServer, clock: MovableClock) -> None:
    scene = await waiting(own_server, approval_ttl=Duration(seconds=60 * MINUTES))
    asked = await scene.ask(approver=scene.approvers[0].username)
    clock.advance(timedelta(minutes=MINUTES))
    await scene.ask(approver=scene.approvers[0].username)
    refusal = await refused(withdraw(scene.author, asked))
    assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "EXPIRED")


async def test_who_was_asked_by_name_is_replaced_by_nobody_else(own_server: RunningServer, clock: MovableClock) -> None:
    scene = await waiting(own_server, approvers=3, required=0, approval_ttl=Duration(seconds=60 * MINUTES))
    await scene.ask(approver=scene.approvers[0].username)
    clock.advance(timedelta(minutes=MINUTES))
    await scene.ask(scene.writer, approver=scene.approvers[1].username)
    await scene.ask(scene.writer)
    assert (await scene.blocker()).message.startswith("Waiting for 3 of 3 approvals: ")
    await scene.ask(scene.writer, approver=scene.approvers[0].username)
    assert (await scene.blocker()).message.startswith("Waiting for 3 of 3 approvals: ")
    assert await scene.states() == ["EXPIRED", "PENDING", "PENDING", "PENDING"]


async def test_a_change_of_the_environment_does_not_ask_again(own_server: RunningServer, clock: MovableClock) -> None:
    scene = await _expired(own_server, clock)
    await expire(own_server)
    await scene.change_environment(allow_self_approval=True)
    assert await scene.states() == ["EXPIRED"]
    await scene.change_environment(required_approvals=0)
    assert (await scene.states(), await scene.state()) == (["EXPIRED"], "READY")


async def test_the_requests_of_what_has_ended_do_not_expire(own_server: RunningServer, clock: MovableClock) -> None:
    scene = await waiting(own_server, approval_ttl=Duration(seconds=60 * MINUTES))
    await cancel(scene.author, scene.deployment)
    clock.advance(timedelta(minutes=MINUTES))
    assert await expire(own_server) == 0
    assert await scene.states() == ["CANCELLED"]


async def test_many_are_expired_in_bounded_portions_the_longest_overdue_first(
    own_server: RunningServer, clock: MovableClock
) -> None:
    scene = await waiting(own_server, approval_ttl=Duration(seconds=60 * MINUTES))
    clock.advance(timedelta(seconds=1))
    for _ in range(3):
        await make_deployment(
            scene.author, own_server.admin, release=scene.release.id, environment=scene.environment.name
        )
    async with own_server.app.reconciler._ticking:  # or its own tick may come first, where a machine stands still
        clock.advance(timedelta(minutes=MINUTES + 1))
        assert await own_server.app.db.write(approving.expire_due, 1) == 1
        assert (await scene.told())[-2] == "A request for approval expired.", "the oldest"
        assert [await own_server.app.db.write(approving.expire_due, 2) for _ in range(3)] == [2, 1, 0]


async def test_several_at_once_expire_each_request_once(own_server: RunningServer, clock: MovableClock) -> None:
    scene = await waiting(own_server, approval_ttl=Duration(seconds=60 * MINUTES))
    deployments = [scene.deployment] + [
        await make_deployment(
            scene.author, own_server.admin, release=scene.release.id, environment=scene.environment.name
        )
        for _ in range(5)
    ]
    clock.advance(timedelta(minutes=MINUTES + 1))
    await asyncio.gather(*(expire(own_server) for _ in range(6)))
    for deployment in deployments:
        types = [event_type(event) for event in await events_of(scene.author, deployment)]
        assert types == ["CREATED", "APPROVAL", "BLOCKED"]


def _expiries(tx: Reading) -> list[tuple[str, str]]:
    statement = select(AuditEntry.resource_id, AuditEntry.username).where(AuditEntry.action == "approval.expire")
    return [(row.resource_id, row.username) for row in tx.rows(statement)]


async def test_the_server_s_own_expiry_is_audited(own_server: RunningServer, clock: MovableClock) -> None:
    scene = await _expired(own_server, clock)
    await expire(own_server)
    (approval,) = await scene.approvals()
    assert await own_server.app.db.read(_expiries) == [(approval.id, "system")]
