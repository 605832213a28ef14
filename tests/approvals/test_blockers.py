"""What is said of missing approvals: how many, by whom, and why it may not come to that."""

import pytest

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import team_pb2, user_pb2
from tests.approvals.steps import decide, join, waiting
from tests.deployments.steps import check, events_of, gates
from tests.factories import RunningServer, make_deployment, make_environment, make_release, make_team, refused


async def test_it_says_how_many_are_missing_and_which_team_may_give_them(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3, required=2)
    blocker = await scene.blocker()
    assert blocker.message == f"Waiting for 2 of 2 approvals: team {scene.team}."
    assert (list(blocker.waiting_for), blocker.subject_id) == ([f"team {scene.team}"], scene.environment.id)
    assert not blocker.HasField("until")
    await scene.approve()
    assert (await scene.blocker()).message == f"Waiting for 1 of 2 approvals: team {scene.team}."


async def test_the_first_event_says_it_too(server: RunningServer) -> None:
    scene = await waiting(server)
    (created,) = await events_of(scene.author, scene.deployment)
    assert created.message == f"It cannot start yet. Waiting for 1 of 1 approvals: team {scene.team}."


async def test_the_check_the_start_and_the_deployment_say_the_same(server: RunningServer) -> None:
    scene = await waiting(server)
    blocker = await scene.blocker()
    assert list((await check(scene.author, scene.deployment)).blockers) == [blocker]
    refusal = await refused(scene.start())
    assert refusal.conditions == [("APPROVAL", blocker.subject_id, blocker.message)]


@pytest.mark.parametrize("approvers", [0, 2], ids=["admins", "a team"])
async def test_a_check_of_what_is_not_created_says_what_its_creation_would(
    server: RunningServer, approvers: int
) -> None:
    scene = await waiting(server, approvers)
    other = await make_release(scene.writer)
    question = pb.CheckDeploymentRequest(release=other.id, environment=scene.environment.name)
    answer = await scene.writer.deployments.CheckDeployment(question)
    created = await make_deployment(scene.writer, server.admin, release=other.id, environment=scene.environment.name)
    assert gates(answer) == ["APPROVAL"]
    assert answer.blockers == created.blockers


async def test_admins_are_named_where_no_team_approves(own_server: RunningServer) -> None:
    other = await own_server.user("the-other-admin", is_admin=True)
    scene = await waiting(own_server, approvers=0)
    blocker = await scene.blocker()
    assert list(blocker.waiting_for) == ["root-admin", "the-other-admin"]
    assert blocker.message == "Waiting for 1 of 1 approvals: root-admin, the-other-admin."
    own = await make_deployment(other, own_server.admin, environment=scene.environment.name)
    assert list(own.blockers[0].waiting_for) == ["root-admin"], "not of the author"


async def test_who_is_asked_by_name_is_named(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3)
    asked = scene.approvers[1]
    await scene.ask(approver=asked.username)
    blocker = await scene.blocker()
    assert list(blocker.waiting_for) == [f"team {scene.team}", asked.username]
    assert blocker.message == f"Waiting for 2 of 2 approvals: team {scene.team}, {asked.username}."
    await scene.approve()
    assert (await scene.blocker()).message == f"Waiting for 1 of 2 approvals: {asked.username}."


async def test_all_approver_teams_are_named(server: RunningServer) -> None:
    scene = await waiting(server)
    second = await make_team(await server.user())
    await scene.change_environment(approver_teams=[scene.team, second.name])
    assert list((await scene.blocker()).waiting_for) == sorted([f"team {scene.team}", f"team {second.name}"])


async def test_a_quorum_that_nobody_can_reach_is_said_to_be_one(server: RunningServer) -> None:
    scene = await waiting(server, approvers=2, required=3)
    assert (await scene.blocker()).message.endswith(" It needs 3, only 2 can approve.")
    await scene.approve()
    assert (await scene.blocker()).message.endswith(" It needs 3, only 2 can approve.")
    third = await server.user()
    await join(scene.approvers[0], scene.team, third)
    assert (await check(scene.author, scene.deployment)).blockers[0].message.endswith(f"team {scene.team}.")


async def test_authors_and_deactivated_members_are_no_possible_approvers(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3, required=3)
    for member in (scene.author, scene.writer):
        await join(scene.approvers[0], scene.team, member)
    await server.admin.users.DeactivateUser(user_pb2.DeactivateUserRequest(user=scene.approvers[2].username))
    (blocker,) = (await check(scene.author, scene.deployment)).blockers
    assert blocker.message.endswith(" It needs 3, only 2 can approve.")
    await scene.change_environment(allow_self_approval=True)
    assert (await scene.blocker()).message.endswith(f"team {scene.team}."), "the release's author may, now"


async def test_a_member_of_two_approver_teams_is_one_possible_approver(server: RunningServer) -> None:
    scene = await waiting(server, approvers=2, required=3)
    second = await make_team(scene.approvers[1])
    await scene.change_environment(approver_teams=[scene.team, second.name])
    assert (await scene.blocker()).message.endswith(" It needs 3, only 2 can approve.")


async def test_who_is_asked_by_name_is_one_of_those_who_can_approve_and_not_one_more(server: RunningServer) -> None:
    scene = await waiting(server, approvers=2, required=2)
    await scene.ask(approver=scene.approvers[1].username)
    assert (await scene.blocker()).message.endswith(" It needs 3, only 2 can approve.")


async def test_a_named_approver_who_was_deactivated_is_none(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3)
    asked = scene.approvers[1]
    await scene.ask(approver=asked.username)
    await server.admin.users.DeactivateUser(user_pb2.DeactivateUserRequest(user=asked.username))
    (blocker,) = (await check(scene.author, scene.deployment)).blockers
    assert blocker.message.endswith(" It needs 2, only 1 can approve.")


async def test_an_approver_who_left_after_approving_still_counts_as_one(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3, required=3)
    await scene.approve(scene.approvers[2])
    await scene.leave_team(scene.approvers[2])
    (blocker,) = (await check(scene.author, scene.deployment)).blockers
    assert blocker.message == f"Waiting for 2 of 3 approvals: team {scene.team}."


async def test_a_team_of_the_author_alone_can_never_approve(server: RunningServer) -> None:
    scene = await waiting(server)
    alone = await make_team(scene.author)
    await scene.change_environment(approver_teams=[alone.name])
    message = f"Waiting for 1 of 1 approvals: team {alone.name}. It needs 1, nobody can approve."
    assert (await scene.blocker()).message == message


async def test_more_admins_than_a_blocker_names_can_still_approve(own_server: RunningServer) -> None:
    for number in range(25):
        await own_server.user(f"admin-{number:02}", is_admin=True)
    scene = await waiting(own_server, approvers=0, required=20)
    blocker = await scene.blocker()
    assert len(blocker.waiting_for) == 20
    assert "can approve" not in blocker.message


async def test_every_closed_gate_is_named_beside_it_in_its_order(server: RunningServer) -> None:
    environment = await make_environment(server.admin, required_approvals=1, approver_teams=[])
    draft = await make_release(server.admin, publish=False)
    before = await make_deployment(server.admin, server.admin, release=draft.id, environment=environment.name)
    behind = await make_deployment(server.admin, server.admin, release=draft.id, environment=environment.name)
    assert gates(before) == ["RELEASE", "APPROVAL"]
    assert gates(behind) == ["RELEASE", "APPROVAL", "QUEUE"]


async def test_decisions_of_several_deployments_do_not_mix(server: RunningServer) -> None:
    scene = await waiting(server, approvers=2, required=2)
    other = await make_deployment(
        scene.author, server.admin, release=scene.release.id, environment=scene.environment.name
    )
    await scene.approve()
    await scene.change_environment(required_approvals=3)
    first, second = (await scene.now()).blockers[0], (await check(scene.author, other)).blockers[0]
    assert first.message == f"Waiting for 2 of 3 approvals: team {scene.team}. It needs 3, only 2 can approve."
    assert second.message == f"Waiting for 3 of 3 approvals: team {scene.team}. It needs 3, only 2 can approve."
    approval = (await scene.approvals(status=1))[0]
    await decide(scene.approvers[1], approval)
    assert (await scene.blocker()).message.startswith("Waiting for 1 of 3 approvals")


async def test_who_watches_hears_when_there_are_others_who_can_approve(server: RunningServer) -> None:
    scene = await waiting(server, approvers=2, required=2)
    other, leaver = scene.approvers
    members = {"team": scene.team, "user": leaver.username}
    enough = (await scene.blocker()).message

    async def said() -> str:
        """Return what the newest event says is waited for; it was not asked what is."""
        event = (await events_of(scene.author, scene.deployment))[-1]
        return event.deployment.blockers[0].message

    await server.admin.teams.RemoveTeamMember(team_pb2.RemoveTeamMemberRequest(**members))
    assert "needs 2, only 1 can approve" in await said()
    await server.admin.teams.AddTeamMember(team_pb2.AddTeamMemberRequest(**members, role=team_pb2.TEAM_ROLE_MEMBER))
    assert await said() == enough
    await server.admin.users.DeactivateUser(user_pb2.DeactivateUserRequest(user=other.username))
    assert "needs 2, only 1 can approve" in await said()
    await server.admin.users.ActivateUser(user_pb2.ActivateUserRequest(user=other.username))
    assert await said() == enough
    await server.admin.teams.UpdateTeam(team_pb2.UpdateTeamRequest(team=scene.team, name=f"{scene.team}-x"))
    assert await said() == f"Waiting for 2 of 2 approvals: team {scene.team}-x."
