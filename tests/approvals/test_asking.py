"""Asking for more approvals than the environment does, and taking that back."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import approval_pb2, catalog_pb2, user_pb2
from tests.approvals import steps
from tests.approvals.steps import decide, waiting, withdraw
from tests.deployments.steps import cancel, event_type, events_of
from tests.deployments.steps import state as deployment_state
from tests.factories import RunningServer, refused


def _in(span: timedelta) -> Timestamp:
    moment = Timestamp()
    moment.GetCurrentTime()
    moment.FromDatetime(moment.ToDatetime() + span)
    return moment


async def test_one_more_approval_is_one_more_that_is_needed(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3, required=1)
    asked = await scene.ask(notes="it touches payments")
    assert (steps.state(asked), asked.notes, asked.approver_id) == ("PENDING", "it touches payments", "")
    assert (asked.requested_by, asked.deployment_revision) == (str(scene.author.user_id), 1)
    assert (await scene.blocker()).message == f"Waiting for 2 of 2 approvals: team {scene.team}."
    await scene.approve()
    assert await scene.state() == "PENDING"
    assert deployment_state(await scene.approve(scene.approvers[1])) == "READY"


async def test_a_ready_deployment_waits_again_for_one_more(server: RunningServer) -> None:
    scene = await waiting(server, required=0)
    asked = await scene.ask(approver=scene.approvers[0].username)
    assert (await scene.blocker()).message == f"Waiting for 1 of 1 approvals: {scene.approvers[0].username}."
    assert asked.approver_id == str(scene.approvers[0].user_id)
    assert deployment_state(await scene.approve()) == "READY"
    types = [event_type(event) for event in await events_of(scene.author, scene.deployment)]
    assert types == ["CREATED", "APPROVAL", "BLOCKED", "APPROVAL", "READY"]


async def test_the_approval_of_who_is_asked_is_needed_whatever_others_say(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3, required=2)
    await scene.ask(approver=scene.approvers[2].username)
    await scene.approve(scene.approvers[0])
    await scene.approve(scene.approvers[1])
    await scene.change_environment(required_approvals=1)
    assert (await scene.blocker()).message == f"Waiting for 1 of 3 approvals: {scene.approvers[2].username}."
    assert deployment_state(await scene.approve(scene.approvers[2])) == "READY"


async def test_the_history_says_who_asked_whom(server: RunningServer) -> None:
    scene = await waiting(server)
    asked = scene.approvers[1].username
    await scene.ask()
    await scene.ask(scene.writer, approver=asked)
    told = await scene.told()
    assert told[1] == f"The approvers were asked by {scene.author.username} to approve."
    assert told[3] == f"{asked} was asked by {scene.writer.username} to approve."


async def test_the_team_of_the_service_asks_and_nobody_else(server: RunningServer) -> None:
    scene = await waiting(server)
    refusal = await refused(scene.ask(scene.approvers[0]))
    assert refusal.code == grpc.StatusCode.PERMISSION_DENIED
    for who in (scene.writer, scene.author, server.admin):
        await scene.ask(who)


@pytest.mark.parametrize("who", ["outsider", "author", "writer", "left", "deactivated", "approved"])
async def test_only_who_can_approve_is_asked(server: RunningServer, who: str) -> None:
    scene = await waiting(server, approvers=3)
    someone = {"outsider": server.admin, "author": scene.author, "writer": scene.writer}.get(who, scene.approvers[1])
    if who in {"author", "writer"}:
        await steps.join(scene.approvers[0], scene.team, someone)
    if who == "left":
        await scene.leave_team(someone)
    if who == "deactivated":
        await server.admin.users.DeactivateUser(user_pb2.DeactivateUserRequest(user=someone.username))
    if who == "approved":
        await scene.approve(someone)
    refusal = await refused(scene.ask(approver=someone.username))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {"approver"}


async def test_everything_wrong_with_a_request_is_said_at_once(server: RunningServer) -> None:
    scene = await waiting(server)
    call = scene.ask(approver=scene.author.username, expires_at=_in(timedelta(seconds=-1)))
    assert set((await refused(call)).violations) == {"approver", "expires_at"}


async def test_who_is_asked_already_is_not_asked_twice(server: RunningServer) -> None:
    scene = await waiting(server)
    await scene.ask(approver=scene.approvers[1].username)
    refusal = await refused(scene.ask(approver=scene.approvers[1].username))
    assert refusal.code == grpc.StatusCode.ALREADY_EXISTS


async def test_an_unknown_approver_is_not_found(server: RunningServer) -> None:
    scene = await waiting(server)
    refusal = await refused(scene.ask(approver="nobody-at-all"))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "user")


async def test_there_is_an_end_to_asking(server: RunningServer) -> None:
    scene = await waiting(server, required=20)
    for _ in range(30):
        await scene.ask()
    refusal = await refused(scene.ask())
    assert refusal.conditions[0][:2] == ("TOO_MANY", scene.deployment.id)


async def test_nobody_is_asked_about_what_does_not_wait(server: RunningServer) -> None:
    scene = await waiting(server, required=0)
    await scene.start()
    refusal = await refused(scene.ask())
    assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_PROGRESS")


async def test_a_request_has_the_time_it_is_given(server: RunningServer) -> None:
    scene = await waiting(server)
    until = _in(timedelta(minutes=5))
    assert (await scene.ask(expires_at=until)).expires_at.seconds == until.seconds


async def test_a_request_that_is_withdrawn_is_waited_for_no_more(server: RunningServer) -> None:
    scene = await waiting(server)
    asked = await scene.ask()
    await scene.approve()
    await withdraw(scene.author, asked)
    assert await scene.state() == "READY"
    found = await scene.author.approvals.GetApproval(approval_pb2.GetApprovalRequest(approval=asked.id))
    assert steps.state(found) == "CANCELLED"
    assert f"A request for approval was withdrawn by {scene.author.username}." in await scene.told()


async def test_who_asked_withdraws_or_a_maintainer_or_an_admin(server: RunningServer) -> None:
    scene = await waiting(server)
    member = await server.user()
    service = await scene.author.catalog.GetService(catalog_pb2.GetServiceRequest(service=scene.release.service_name))
    await steps.join(scene.author, service.team_id, member)
    for who in (scene.writer, scene.author, server.admin):
        asked = await scene.ask(scene.writer)
        for other in (member, scene.approvers[0], await server.user()):
            assert (await refused(withdraw(other, asked))).code == grpc.StatusCode.PERMISSION_DENIED
        await withdraw(who, asked)


async def test_what_the_environment_asks_for_is_not_withdrawn(server: RunningServer) -> None:
    scene = await waiting(server)
    (approval,) = await scene.approvals()
    refusal = await refused(withdraw(server.admin, approval))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.conditions[0][:2] == ("REQUIRED", approval.id)


@pytest.mark.parametrize("after", ["APPROVED", "CANCELLED"])
async def test_what_is_decided_or_over_is_not_withdrawn(server: RunningServer, after: str) -> None:
    scene = await waiting(server)
    asked = await scene.ask()
    if after == "APPROVED":
        await decide(scene.approvers[0], asked)
    else:
        await cancel(scene.author, scene.deployment)
    refusal = await refused(withdraw(scene.author, asked))
    assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, after)


async def test_a_stale_etag_withdraws_nothing(server: RunningServer) -> None:
    scene = await waiting(server)
    asked = await scene.ask()
    request = approval_pb2.UpdateApprovalRequest(approval=asked.id, notes="please")
    await scene.author.approvals.UpdateApproval(request)
    refusal = await refused(withdraw(scene.author, asked, etag=asked.etag))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
