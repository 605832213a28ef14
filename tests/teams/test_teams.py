import uuid

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from relman_client.v1 import team_pb2 as pb
from tests.factories import RunningServer, make_service, make_team, refused, unique
from tests.statements import statements


async def test_whoever_creates_a_team_is_its_maintainer(server: RunningServer) -> None:
    ann = await server.user()
    team = await make_team(ann, name="payments", description="Money", slack_channel="#payments")
    assert team.member_count == 1
    members = await ann.teams.ListTeamMembers(pb.ListTeamMembersRequest(team="payments"))
    assert [(member.username, member.role) for member in members.team_members] == [
        (ann.username, pb.TEAM_ROLE_MAINTAINER)
    ]


async def test_a_team_is_found_by_name_and_id_in_one_statement(server: RunningServer) -> None:
    team = await make_team(server.admin)
    for reference in (team.id, team.name):
        with statements(server.app.db) as seen:
            assert await server.admin.teams.GetTeam(pb.GetTeamRequest(team=reference)) == team
        assert len(seen) == 1


async def test_an_unknown_team_is_not_found(server: RunningServer) -> None:
    for reference in ("nothing", str(uuid.uuid4())):
        refusal = await refused(server.admin.teams.GetTeam(pb.GetTeamRequest(team=reference)))
        assert refusal.code == grpc.StatusCode.NOT_FOUND
        assert (refusal.resource.resource_type, refusal.resource.resource_name) == ("team", reference)


async def test_a_name_is_given_once(server: RunningServer) -> None:
    team = await make_team(server.admin)
    refusal = await refused(make_team(await server.user(), name=team.name))
    assert refusal.code == grpc.StatusCode.ALREADY_EXISTS
    assert refusal.resource.resource_name == team.name


async def test_a_team_cannot_take_the_name_of_another(server: RunningServer) -> None:
    first, second = await make_team(server.admin), await make_team(server.admin)
    refusal = await refused(server.admin.teams.UpdateTeam(pb.UpdateTeamRequest(team=second.name, name=first.name)))
    assert refusal.code == grpc.StatusCode.ALREADY_EXISTS


async def test_every_violation_comes_at_once(server: RunningServer) -> None:
    refusal = await refused(make_team(server.admin, name="Not A Name", description="x" * 2001, slack_channel="#a\n#b"))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {"name", "description", "slack_channel"}


async def test_an_update_sets_what_is_present(server: RunningServer) -> None:
    team = await make_team(server.admin, description="Money", slack_channel="#payments")
    name = unique("team")
    updated = await server.admin.teams.UpdateTeam(pb.UpdateTeamRequest(team=team.id, name=name, etag=team.etag))
    assert (updated.name, updated.description, updated.slack_channel) == (name, "Money", "#payments")
    assert updated.etag != team.etag


async def test_a_mask_empties_what_is_absent(server: RunningServer) -> None:
    team = await make_team(server.admin, description="Money", slack_channel="#payments")
    updated = await server.admin.teams.UpdateTeam(
        pb.UpdateTeamRequest(team=team.id, name="ignored", update_mask=FieldMask(paths=["description"]))
    )
    assert (updated.name, updated.description, updated.slack_channel) == (team.name, "", "#payments")


@pytest.mark.parametrize("path", ["id", "member_count", "nothing", "team"])
async def test_a_mask_of_what_cannot_be_set_is_refused(server: RunningServer, path: str) -> None:
    team = await make_team(server.admin)
    refusal = await refused(
        server.admin.teams.UpdateTeam(pb.UpdateTeamRequest(team=team.id, update_mask=FieldMask(paths=[path])))
    )
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {"update_mask"}


async def test_a_stale_etag_changes_nothing(server: RunningServer) -> None:
    team = await make_team(server.admin)
    await server.admin.teams.UpdateTeam(pb.UpdateTeamRequest(team=team.id, description="newer"))
    for call in (
        server.admin.teams.UpdateTeam(pb.UpdateTeamRequest(team=team.id, description="older", etag=team.etag)),
        server.admin.teams.DeleteTeam(pb.DeleteTeamRequest(team=team.id, etag=team.etag)),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert (await server.admin.teams.GetTeam(pb.GetTeamRequest(team=team.id))).description == "newer"


async def test_a_deleted_team_is_gone_with_its_members(server: RunningServer) -> None:
    ann = await server.user()
    team = await make_team(ann)
    await ann.teams.DeleteTeam(pb.DeleteTeamRequest(team=team.name, etag=team.etag))
    assert (await refused(ann.teams.GetTeam(pb.GetTeamRequest(team=team.id)))).code == grpc.StatusCode.NOT_FOUND
    listed = await ann.teams.ListTeams(pb.ListTeamsRequest(user=ann.username))
    assert listed.total_size == 0


async def test_a_team_that_owns_services_stays(server: RunningServer) -> None:
    team = await make_team(server.admin)
    await make_service(server.admin, team=team.name)
    refusal = await refused(server.admin.teams.DeleteTeam(pb.DeleteTeamRequest(team=team.name)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_USE")
    assert refusal.conditions[0][:2] == ("IN_USE", team.name)


async def test_a_repeated_request_id_creates_one_team(server: RunningServer) -> None:
    request = pb.CreateTeamRequest(name=unique("team"), request_id=str(uuid.uuid4()))
    assert await server.admin.teams.CreateTeam(request) == await server.admin.teams.CreateTeam(request)


async def test_teams_are_listed_by_name_in_one_statement(own_server: RunningServer) -> None:
    for name in ("b", "a", "c"):
        await make_team(own_server.admin, name=name)
    with statements(own_server.app.db) as seen:
        listed = await own_server.admin.teams.ListTeams(pb.ListTeamsRequest())
    assert [team.name for team in listed.teams] == ["a", "b", "c"]
    assert len(seen) == 1


async def test_teams_are_listed_in_the_order_asked_for(own_server: RunningServer) -> None:
    for name in ("b", "a", "c"):
        await make_team(own_server.admin, name=name)
    listed = await own_server.admin.teams.ListTeams(pb.ListTeamsRequest(order_by="created_at desc"))
    assert [team.name for team in listed.teams] == ["c", "a", "b"]


async def test_an_order_by_anything_else_is_refused(server: RunningServer) -> None:
    refusal = await refused(server.admin.teams.ListTeams(pb.ListTeamsRequest(order_by="description")))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {"order_by"}


async def test_a_page_by_token_costs_one_statement_and_goes_on(own_server: RunningServer) -> None:
    names = [f"team-{letter}" for letter in "abcde"]
    for name in names:
        await make_team(own_server.admin, name=name)
    first = await own_server.admin.teams.ListTeams(pb.ListTeamsRequest(page_size=2))
    with statements(own_server.app.db) as seen:
        second = await own_server.admin.teams.ListTeams(
            pb.ListTeamsRequest(page_size=2, page_token=first.next_page_token)
        )
    assert len(seen) == 1
    assert [team.name for team in (*first.teams, *second.teams)] == names[:4]
    assert (second.page, second.total_size, second.total_pages) == (2, 5, 3)


async def test_a_token_is_refused_with_other_filters(server: RunningServer) -> None:
    for _ in range(2):
        await make_team(server.admin, description="same")
    first = await server.admin.teams.ListTeams(pb.ListTeamsRequest(page_size=1, query="same"))
    for changed in ({"query": "other"}, {"query": "same", "order_by": "name desc"}):
        refusal = await refused(
            server.admin.teams.ListTeams(
                pb.ListTeamsRequest(page_size=1, page_token=first.next_page_token, **changed)  # type: ignore[arg-type]
            )
        )
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_a_query_is_data_and_knows_no_case(server: RunningServer) -> None:
    team = await make_team(server.admin, description="100% Money")
    await make_team(server.admin, description="1000 things")
    listed = await server.admin.teams.ListTeams(pb.ListTeamsRequest(query="100% m"))
    assert [found.id for found in listed.teams] == [team.id]


async def test_a_query_finds_letters_outside_ascii(server: RunningServer, engine_name: str) -> None:
    """In any case where the database knows case: PostgreSQL without a locale, as here, does so of ASCII only."""
    team = await make_team(server.admin, description="Weniger Ärger")
    for query in ("Ärger", "ÄRGER") if engine_name == "sqlite" else ("Ärger",):
        listed = await server.admin.teams.ListTeams(pb.ListTeamsRequest(query=query))
        assert [found.name for found in listed.teams] == [team.name]


async def test_teams_of_a_user_are_those_they_are_in(server: RunningServer) -> None:
    ann = await server.user()
    team = await make_team(ann)
    await make_team(server.admin)
    for reference in (ann.username, f"{ann.username}@example.com", str(ann.user_id)):
        with statements(server.app.db) as seen:
            listed = await server.admin.teams.ListTeams(pb.ListTeamsRequest(user=reference))
        assert [found.id for found in listed.teams] == [team.id]
        assert len(seen) == 1


async def test_teams_of_a_user_who_is_in_none_are_none_in_two_statements(server: RunningServer) -> None:
    ann = await server.user()
    with statements(server.app.db) as seen:
        listed = await server.admin.teams.ListTeams(pb.ListTeamsRequest(user=ann.username))
    assert listed.total_size == 0
    assert len(seen) == 2


async def test_teams_of_an_unknown_user_are_not_found(server: RunningServer) -> None:
    refusal = await refused(server.admin.teams.ListTeams(pb.ListTeamsRequest(user="nobody")))
    assert refusal.code == grpc.StatusCode.NOT_FOUND
    assert refusal.resource.resource_type == "user"


async def test_strangers_and_members_do_not_keep_a_team(server: RunningServer) -> None:
    ann, member, stranger = await server.user(), await server.user(), await server.user()
    team = await make_team(ann)
    await ann.teams.AddTeamMember(pb.AddTeamMemberRequest(team=team.name, user=member.username))
    for caller in (member, stranger):
        for call in (
            caller.teams.UpdateTeam(pb.UpdateTeamRequest(team=team.name, description="mine")),
            caller.teams.DeleteTeam(pb.DeleteTeamRequest(team=team.name)),
            caller.teams.AddTeamMember(pb.AddTeamMemberRequest(team=team.name, user=stranger.username)),
            caller.teams.UpdateTeamMember(
                pb.UpdateTeamMemberRequest(team=team.name, user=member.username, role=pb.TEAM_ROLE_MAINTAINER)
            ),
            caller.teams.RemoveTeamMember(pb.RemoveTeamMemberRequest(team=team.name, user=ann.username)),
        ):
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


async def test_an_admin_keeps_every_team(server: RunningServer) -> None:
    team = await make_team(await server.user())
    updated = await server.admin.teams.UpdateTeam(pb.UpdateTeamRequest(team=team.name, description="ours"))
    assert updated.description == "ours"
    await server.admin.teams.DeleteTeam(pb.DeleteTeamRequest(team=team.name))


async def test_what_is_wrong_with_a_list_comes_at_once(server: RunningServer) -> None:
    wrong = pb.ListTeamsRequest(page_size=-1, skip=-1, order_by="colour", query="x" * 201)
    refusal = await refused(server.admin.teams.ListTeams(wrong))
    assert set(refusal.violations) == {"page_size", "skip", "order_by", "query"}
