"""Who may approve: the approver teams or admins, and nobody what is their own."""

import grpc
import pytest

from relman_client.v1 import team_pb2, user_pb2
from tests.approvals.steps import Scene, decide, join, waiting
from tests.deployments.steps import state as deployment_state
from tests.factories import Caller, RunningServer, make_deployment, make_team, refused


async def _refusals(scene: Scene, who: Caller) -> set[str]:
    """Return what someone is told who tries to decide in each way."""
    (approval, *_) = await scene.approvals()
    messages = set()
    for call in (scene.approve(who), scene.reject(who), decide(who, approval)):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
        messages.add(refusal.message)
    assert await scene.state() == "PENDING"
    return messages


@pytest.mark.parametrize("role", ["MEMBER", "MAINTAINER"])
async def test_members_of_any_role_approve(server: RunningServer, role: str) -> None:
    scene = await waiting(server)
    user = await server.user()
    await scene.approvers[0].teams.AddTeamMember(
        team_pb2.AddTeamMemberRequest(
            team=scene.team, user=user.username, role=team_pb2.TeamRole.Value(f"TEAM_ROLE_{role}")
        )
    )
    assert deployment_state(await scene.approve(user)) == "READY"


async def test_members_of_every_approver_team_approve(server: RunningServer) -> None:
    scene = await waiting(server, required=2)
    other = await server.user()
    second = await make_team(other)
    await scene.change_environment(approver_teams=[scene.team, second.name])
    await scene.approve(scene.approvers[0])
    assert deployment_state(await scene.approve(other)) == "READY"


async def test_outsiders_do_not_approve_and_neither_does_an_admin_who_is_not_in_the_team(server: RunningServer) -> None:
    scene = await waiting(server)
    told = f"Only members of the team {scene.team} may decide on deployments to {scene.environment.name}."
    for who in (await server.user(), server.admin):
        assert await _refusals(scene, who) == {told}


async def test_without_approver_teams_admins_approve_and_nobody_else(server: RunningServer) -> None:
    scene = await waiting(server, approvers=0)
    told = f"Only admins may decide on deployments to {scene.environment.name}."
    assert await _refusals(scene, await server.user()) == {told}
    assert deployment_state(await scene.approve(server.admin)) == "READY"


@pytest.mark.parametrize("self_approval", [False, True])
async def test_the_author_of_a_deployment_never_approves_it(server: RunningServer, self_approval: bool) -> None:
    scene = await waiting(server, allow_self_approval=self_approval)
    await join(scene.approvers[0], scene.team, scene.author)
    told = "You created this deployment: somebody else has to decide on it."
    assert await _refusals(scene, scene.author) == {told}


async def test_an_admin_is_not_exempt_from_that(server: RunningServer) -> None:
    scene = await waiting(server, approvers=0, allow_self_approval=True)
    own = await make_deployment(
        server.admin, server.admin, release=scene.release.id, environment=scene.environment.name
    )
    scene.deployment = own
    (refusal,) = await _refusals(scene, server.admin)
    assert refusal.startswith("You created this deployment")


async def test_the_author_of_the_release_does_not_approve_its_deployment(server: RunningServer) -> None:
    scene = await waiting(server)
    await join(scene.approvers[0], scene.team, scene.writer)
    there = scene.environment.name
    told = f"You created the release: for {there} somebody else has to decide on its deployment."
    assert await _refusals(scene, scene.writer) == {told}


async def test_the_author_of_the_release_does_where_the_environment_allows_it(server: RunningServer) -> None:
    scene = await waiting(server, allow_self_approval=True)
    await join(scene.approvers[0], scene.team, scene.writer)
    assert deployment_state(await scene.approve(scene.writer)) == "READY"


async def test_an_author_of_both_does_not_approve_even_there(server: RunningServer) -> None:
    scene = await waiting(server, allow_self_approval=True)
    await join(scene.approvers[0], scene.team, scene.writer)
    scene.deployment = await make_deployment(
        scene.writer, server.admin, release=scene.release.id, environment=scene.environment.name
    )
    (refusal,) = await _refusals(scene, scene.writer)
    assert refusal.startswith("You created this deployment")


async def test_who_left_the_team_before_does_not_approve(server: RunningServer) -> None:
    scene = await waiting(server)
    await scene.leave_team(scene.approvers[1])
    (refusal,) = await _refusals(scene, scene.approvers[1])
    assert refusal.startswith("Only members of the team")


async def test_an_approval_stands_when_the_approver_leaves_the_team(server: RunningServer) -> None:
    scene = await waiting(server, required=2)
    await scene.approve(scene.approvers[1])
    await scene.leave_team(scene.approvers[1])
    assert deployment_state(await scene.approve()) == "READY"
    assert deployment_state(await scene.start()) == "IN_PROGRESS"


async def test_who_was_deactivated_before_does_not_approve(server: RunningServer) -> None:
    scene = await waiting(server)
    await server.admin.users.DeactivateUser(user_pb2.DeactivateUserRequest(user=scene.approvers[1].username))
    refusal = await refused(scene.approve(scene.approvers[1]))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")
    assert await scene.states() == ["PENDING"]


async def test_an_approval_stands_when_the_approver_is_deactivated_afterwards(server: RunningServer) -> None:
    scene = await waiting(server)
    await scene.approve(scene.approvers[1])
    await server.admin.users.DeactivateUser(user_pb2.DeactivateUserRequest(user=scene.approvers[1].username))
    assert deployment_state(await scene.start()) == "IN_PROGRESS"
    (approval,) = await scene.approvals()
    assert approval.approver_id == str(scene.approvers[1].user_id)
