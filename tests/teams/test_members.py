import asyncio
from typing import Any

import grpc
from sqlalchemy import select

from relman_client.v1 import team_pb2 as pb
from relman_server.kernel.db import Reading
from relman_server.kernel.db.audit import AuditEntry
from tests.factories import Caller, RunningServer, make_team, refused
from tests.statements import statements


async def _add(
    caller: Caller, team: pb.Team, user: Caller, role: pb.TeamRole.ValueType = pb.TEAM_ROLE_UNSPECIFIED
) -> pb.TeamMember:
    return await caller.teams.AddTeamMember(pb.AddTeamMemberRequest(team=team.name, user=user.username, role=role))


async def _set_role(caller: Caller, team: pb.Team, user: Caller, role: pb.TeamRole.ValueType) -> pb.TeamMember:
    return await caller.teams.UpdateTeamMember(
        pb.UpdateTeamMemberRequest(team=team.name, user=user.username, role=role)
    )


async def _remove(caller: Caller, team: pb.Team, user: Caller) -> None:
    await caller.teams.RemoveTeamMember(pb.RemoveTeamMemberRequest(team=team.name, user=user.username))


async def _roles(caller: Caller, team: pb.Team) -> dict[str, int]:
    listed = await caller.teams.ListTeamMembers(pb.ListTeamMembersRequest(team=team.name))
    return {member.username: member.role for member in listed.team_members}


async def test_a_user_joins_as_member_unless_said_otherwise(server: RunningServer) -> None:
    ann, bob = await server.user(), await server.user()
    team = await make_team(ann)
    joined = await _add(ann, team, bob)
    assert (joined.team_id, joined.user_id, joined.username) == (team.id, str(bob.user_id), bob.username)
    assert joined.role == pb.TEAM_ROLE_MEMBER
    assert joined.HasField("created_at")
    assert (await ann.teams.GetTeam(pb.GetTeamRequest(team=team.id))).member_count == 2


async def test_a_member_cannot_join_again(server: RunningServer) -> None:
    ann = await server.user()
    team = await make_team(ann)
    refusal = await refused(_add(ann, team, ann))
    assert refusal.code == grpc.StatusCode.ALREADY_EXISTS
    assert refusal.resource.resource_name == f"{team.name}/{ann.username}"


async def test_unknown_users_and_teams_are_not_found(server: RunningServer) -> None:
    team = await make_team(server.admin)
    for request, missing in (
        (pb.AddTeamMemberRequest(team=team.name, user="nobody"), "user"),
        (pb.AddTeamMemberRequest(team="nothing", user="root-admin"), "team"),
    ):
        refusal = await refused(server.admin.teams.AddTeamMember(request))
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, missing)


async def test_who_is_no_member_has_no_role_to_change(server: RunningServer) -> None:
    ann, stranger = await server.user(), await server.user()
    team = await make_team(ann)
    for call in (_set_role(ann, team, stranger, pb.TEAM_ROLE_MEMBER), _remove(ann, team, stranger)):
        refusal = await refused(call)
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "team member")


async def test_a_role_must_be_said_to_change_it(server: RunningServer) -> None:
    ann = await server.user()
    team = await make_team(ann)
    refusal = await refused(_set_role(ann, team, ann, pb.TEAM_ROLE_UNSPECIFIED))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {"role"}


async def test_a_maintainer_hands_the_team_over_and_leaves(server: RunningServer) -> None:
    ann, bob = await server.user(), await server.user()
    team = await make_team(ann)
    await _add(ann, team, bob)
    assert (await _set_role(ann, team, bob, pb.TEAM_ROLE_MAINTAINER)).role == pb.TEAM_ROLE_MAINTAINER
    await _remove(ann, team, ann)
    assert await _roles(bob, team) == {bob.username: pb.TEAM_ROLE_MAINTAINER}


async def test_a_member_leaves(server: RunningServer) -> None:
    ann, bob = await server.user(), await server.user()
    team = await make_team(ann)
    await _add(ann, team, bob)
    await _remove(bob, team, bob)
    assert set(await _roles(ann, team)) == {ann.username}


async def test_the_last_maintainer_stays_one(server: RunningServer) -> None:
    ann, bob = await server.user(), await server.user()
    team = await make_team(ann)
    await _add(ann, team, bob)
    for call in (
        _remove(ann, team, ann),
        _set_role(ann, team, ann, pb.TEAM_ROLE_MEMBER),
        _remove(server.admin, team, ann),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE")
        assert refusal.conditions[0][:2] == ("LAST_MAINTAINER", team.name)
    assert (await _roles(ann, team))[ann.username] == pb.TEAM_ROLE_MAINTAINER


async def test_two_maintainers_who_leave_at_once_do_not_both(server: RunningServer) -> None:
    ann, bob = await server.user(), await server.user()
    team = await make_team(ann)
    await _add(ann, team, bob, pb.TEAM_ROLE_MAINTAINER)
    results = await asyncio.gather(_remove(ann, team, ann), _remove(bob, team, bob), return_exceptions=True)
    assert sum(isinstance(result, grpc.aio.AioRpcError) for result in results) == 1
    assert len(await _roles(ann, team)) == 1


async def test_members_are_listed_by_username_in_one_statement(server: RunningServer) -> None:
    zoe, ann = await server.user("zoe"), await server.user("ann")
    team = await make_team(zoe)
    await _add(zoe, team, ann)
    for reference in (team.name, team.id):
        with statements(server.app.db) as seen:
            listed = await ann.teams.ListTeamMembers(pb.ListTeamMembersRequest(team=reference))
        assert [member.username for member in listed.team_members] == ["ann", "zoe"]
        assert len(seen) == 1


async def test_members_are_listed_by_role_and_time(own_server: RunningServer) -> None:
    zoe, ann = await own_server.user("zoe"), await own_server.user("ann")
    team = await make_team(zoe)
    await _add(zoe, team, ann)
    listed = await ann.teams.ListTeamMembers(pb.ListTeamMembersRequest(team=team.name, role=pb.TEAM_ROLE_MEMBER))
    assert [member.username for member in listed.team_members] == ["ann"]
    listed = await ann.teams.ListTeamMembers(pb.ListTeamMembersRequest(team=team.name, order_by="created_at"))
    assert [member.username for member in listed.team_members] == ["zoe", "ann"]


async def test_members_are_paged_by_token(server: RunningServer) -> None:
    ann = await server.user()
    team = await make_team(ann)
    for _ in range(4):
        await _add(ann, team, await server.user())
    seen: list[str] = []
    request = pb.ListTeamMembersRequest(team=team.name, page_size=2, order_by="created_at desc")
    while True:
        listed = await ann.teams.ListTeamMembers(request)
        seen += [member.username for member in listed.team_members]
        if not listed.next_page_token:
            break
        request.page_token = listed.next_page_token
    assert len(seen) == len(set(seen)) == 5


async def test_members_of_an_unknown_team_are_not_found(server: RunningServer) -> None:
    refusal = await refused(server.admin.teams.ListTeamMembers(pb.ListTeamMembersRequest(team="nothing")))
    assert refusal.code == grpc.StatusCode.NOT_FOUND


def _details(tx: Reading, action: str) -> list[tuple[str, dict[str, Any]]]:
    rows = tx.rows(select(AuditEntry.resource_id, AuditEntry.details).where(AuditEntry.action == action))
    return [(row.resource_id, row.details) for row in rows]


async def test_a_change_of_role_is_audited_with_the_team_and_both_roles(own_server: RunningServer) -> None:
    ann, bob = await own_server.user(), await own_server.user()
    team = await make_team(ann)
    await _add(ann, team, bob)
    await _set_role(ann, team, bob, pb.TEAM_ROLE_MAINTAINER)
    assert await own_server.app.db.read(_details, "team.update_member") == [
        (team.id, {"changes": {"role": ["MEMBER", "MAINTAINER"]}, "user_id": str(bob.user_id)})
    ]
