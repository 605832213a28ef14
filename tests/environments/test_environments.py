import uuid
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from relman_client.v1 import environment_pb2 as pb
from relman_client.v1 import team_pb2
from relman_server.environments.logic import EnvironmentChanged
from tests.factories import RunningServer, make_deployment, make_environment, make_team, refused, unique
from tests.statements import statements

DAY = 86400


async def _update(server: RunningServer, environment: pb.Environment, **fields: Any) -> pb.Environment:
    return await server.admin.environments.UpdateEnvironment(
        pb.UpdateEnvironmentRequest(environment=environment.name, **fields)
    )


async def test_an_environment_keeps_every_rule_it_was_given(server: RunningServer) -> None:
    team, other = await make_team(server.admin), await make_team(server.admin)
    staging = await make_environment(server.admin)
    created = await make_environment(
        server.admin,
        name="production",
        description="For users",
        environment_type=pb.ENVIRONMENT_TYPE_PRODUCTION,
        config_path="deploy/production.yaml",
        promotes_from=staging.name,
        soak_time=Duration(seconds=3600),
        required_approvals=2,
        approver_teams=[other.name, team.id, other.id],
        allow_self_approval=True,
        approval_ttl=Duration(seconds=DAY),
        rollbacks_need_approval=True,
    )
    assert created.environment_type == pb.ENVIRONMENT_TYPE_PRODUCTION
    assert (created.promotes_from, created.config_path) == (staging.id, "deploy/production.yaml")
    assert (created.soak_time.seconds, created.approval_ttl.seconds) == (3600, DAY)
    assert (created.required_approvals, list(created.approver_team_ids)) == (2, [other.id, team.id])
    assert created.allow_self_approval
    assert created.rollbacks_need_approval
    assert created.is_active
    assert not created.HasField("lock")


async def test_an_environment_without_rules_has_none(server: RunningServer) -> None:
    created = await make_environment(server.admin)
    assert (created.promotes_from, list(created.approver_team_ids), created.required_approvals) == ("", [], 0)
    assert (created.soak_time.seconds, created.approval_ttl.seconds) == (0, 7 * DAY)


async def test_an_environment_is_found_by_name_and_id_in_one_statement(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    for reference in (environment.id, environment.name):
        with statements(server.app.db) as seen:
            found = await server.admin.environments.GetEnvironment(pb.GetEnvironmentRequest(environment=reference))
        assert found == environment
        assert len(seen) == 1


async def test_an_unknown_environment_is_not_found(server: RunningServer) -> None:
    for reference in ("nothing", str(uuid.uuid4())):
        refusal = await refused(
            server.admin.environments.GetEnvironment(pb.GetEnvironmentRequest(environment=reference))
        )
        assert refusal.code == grpc.StatusCode.NOT_FOUND
        assert (refusal.resource.resource_type, refusal.resource.resource_name) == ("environment", reference)


async def test_only_admins_manage_environments_and_everyone_reads_them(server: RunningServer) -> None:
    ann = await server.user()
    environment = await make_environment(server.admin)
    for call in (
        make_environment(ann),
        ann.environments.UpdateEnvironment(pb.UpdateEnvironmentRequest(environment=environment.name, is_active=False)),
        ann.environments.DeleteEnvironment(pb.DeleteEnvironmentRequest(environment=environment.name)),
        ann.environments.LockEnvironment(pb.LockEnvironmentRequest(environment=environment.name, reason="mine")),
        ann.environments.UnlockEnvironment(pb.UnlockEnvironmentRequest(environment=environment.name)),
    ):
        assert (await refused(call)).code == grpc.StatusCode.PERMISSION_DENIED
    assert await ann.environments.GetEnvironment(pb.GetEnvironmentRequest(environment=environment.id)) == environment


async def test_every_violation_comes_at_once(server: RunningServer) -> None:
    refusal = await refused(
        make_environment(
            server.admin,
            name="Production",
            environment_type=pb.ENVIRONMENT_TYPE_UNSPECIFIED,
            config_path="x" * 1001,
            soak_time=Duration(seconds=30 * DAY + 1),
            required_approvals=21,
            approver_teams=["team"] * 51,
            approval_ttl=Duration(seconds=59),
        )
    )
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {
        "name",
        "environment_type",
        "config_path",
        "soak_time",
        "required_approvals",
        "approver_teams",
        "approval_ttl",
    }


@pytest.mark.parametrize(
    ("field", "span"),
    [
        ("soak_time", Duration(seconds=-1)),
        ("soak_time", Duration(nanos=500_000_000)),
        ("approval_ttl", Duration(seconds=90 * DAY + 1)),
        ("approval_ttl", Duration()),
    ],
    ids=["negative", "a fraction", "too long", "nothing"],
)
async def test_a_span_out_of_bounds_is_refused(server: RunningServer, field: str, span: Duration) -> None:
    refusal = await refused(make_environment(server.admin, **{field: span}))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {field})


async def test_the_widest_spans_are_accepted(server: RunningServer) -> None:
    created = await make_environment(
        server.admin, soak_time=Duration(seconds=30 * DAY), approval_ttl=Duration(seconds=90 * DAY)
    )
    assert (created.soak_time.seconds, created.approval_ttl.seconds) == (30 * DAY, 90 * DAY)


async def test_every_unknown_approver_team_is_named(server: RunningServer) -> None:
    team = await make_team(server.admin)
    refusal = await refused(make_environment(server.admin, approver_teams=["ghosts", team.name, "spirits"]))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "team")
    assert refusal.resource.resource_name == "ghosts, spirits"


async def test_a_name_is_given_once(server: RunningServer) -> None:
    first, second = await make_environment(server.admin), await make_environment(server.admin)
    for call in (make_environment(server.admin, name=first.name), _update(server, second, name=first.name)):
        refusal = await refused(call)
        assert (refusal.code, refusal.resource.resource_name) == (grpc.StatusCode.ALREADY_EXISTS, first.name)


async def test_an_update_sets_what_is_present(server: RunningServer) -> None:
    environment = await make_environment(server.admin, description="kept", required_approvals=3)
    updated = await _update(
        server,
        environment,
        environment_type=pb.ENVIRONMENT_TYPE_STAGING,
        required_approvals=0,
        soak_time=Duration(seconds=60),
        etag=environment.etag,
    )
    assert (updated.environment_type, updated.description) == (pb.ENVIRONMENT_TYPE_STAGING, "kept")
    assert (updated.required_approvals, updated.soak_time.seconds) == (0, 60)
    assert updated.etag != environment.etag


async def test_a_mask_empties_what_is_absent(server: RunningServer) -> None:
    environment = await make_environment(
        server.admin,
        promotes_from=(await make_environment(server.admin)).name,
        approver_teams=[(await make_team(server.admin)).name],
        soak_time=Duration(seconds=60),
        approval_ttl=Duration(seconds=DAY),
        description="kept",
    )
    paths = ["promotes_from", "approver_teams", "soak_time", "approval_ttl"]
    updated = await _update(server, environment, update_mask=FieldMask(paths=paths))
    assert (updated.promotes_from, list(updated.approver_team_ids)) == ("", [])
    assert (updated.soak_time.seconds, updated.approval_ttl.seconds) == (0, 7 * DAY)
    assert updated.description == "kept"


async def test_approver_teams_without_a_mask_replace_those_before(server: RunningServer) -> None:
    old, new = await make_team(server.admin), await make_team(server.admin)
    environment = await make_environment(server.admin, approver_teams=[old.name])
    assert list((await _update(server, environment, description="as before")).approver_team_ids) == [old.id]
    assert list((await _update(server, environment, approver_teams=[new.name])).approver_team_ids) == [new.id]


@pytest.mark.parametrize("path", ["lock", "approver_team_ids", "id", "environment"])
async def test_a_mask_of_what_cannot_be_set_is_refused(server: RunningServer, path: str) -> None:
    environment = await make_environment(server.admin)
    refusal = await refused(_update(server, environment, update_mask=FieldMask(paths=[path])))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"update_mask"})


async def test_a_mask_does_not_empty_the_type(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    refusal = await refused(_update(server, environment, update_mask=FieldMask(paths=["environment_type"])))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"environment_type"})


async def test_a_stale_etag_changes_nothing(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    await _update(server, environment, description="newer")
    environments, name, etag = server.admin.environments, environment.name, environment.etag
    for call in (
        _update(server, environment, description="older", etag=etag),
        environments.DeleteEnvironment(pb.DeleteEnvironmentRequest(environment=name, etag=etag)),
        environments.LockEnvironment(pb.LockEnvironmentRequest(environment=name, reason="late", etag=etag)),
        environments.UnlockEnvironment(pb.UnlockEnvironmentRequest(environment=name, etag=etag)),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")


async def test_a_change_of_the_rules_is_announced_and_one_of_the_words_is_not(server: RunningServer) -> None:
    team, before = await make_team(server.admin), await make_environment(server.admin)
    environment = await make_environment(server.admin)
    announced: list[str] = []
    server.app.events.subscribe(EnvironmentChanged, lambda _, changed: announced.append(str(changed.environment_id)))
    for rule in (
        {"is_active": False},
        {"promotes_from": before.name},
        {"soak_time": Duration(seconds=60)},
        {"required_approvals": 1},
        {"approver_teams": [team.name]},
        {"allow_self_approval": True},
        {"rollbacks_need_approval": True},
    ):
        announced.clear()
        await _update(server, environment, **rule)
        assert announced == [environment.id], rule
    announced.clear()
    await _update(server, environment, description="same rules", config_path="elsewhere", required_approvals=1)
    assert announced == []


async def test_an_unused_environment_is_deleted(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    await server.admin.environments.DeleteEnvironment(
        pb.DeleteEnvironmentRequest(environment=environment.name, etag=environment.etag)
    )
    refusal = await refused(
        server.admin.environments.GetEnvironment(pb.GetEnvironmentRequest(environment=environment.id))
    )
    assert refusal.code == grpc.StatusCode.NOT_FOUND


async def test_an_environment_with_deployments_stays(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    await make_deployment(server.admin, server.admin, environment=environment.name)
    refusal = await refused(
        server.admin.environments.DeleteEnvironment(pb.DeleteEnvironmentRequest(environment=environment.name))
    )
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_USE")


async def test_an_environment_others_promote_from_stays(server: RunningServer) -> None:
    staging = await make_environment(server.admin)
    await make_environment(server.admin, promotes_from=staging.name)
    refusal = await refused(
        server.admin.environments.DeleteEnvironment(pb.DeleteEnvironmentRequest(environment=staging.name))
    )
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_USE")
    assert refusal.conditions[0][:2] == ("IN_USE", staging.name)


async def test_a_team_that_approves_stays(server: RunningServer) -> None:
    team = await make_team(server.admin)
    environment = await make_environment(server.admin, approver_teams=[team.name])
    refusal = await refused(server.admin.teams.DeleteTeam(team_pb2.DeleteTeamRequest(team=team.name)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_USE")
    assert refusal.conditions[0][:2] == ("IN_USE", environment.name)
    await _update(server, environment, update_mask=FieldMask(paths=["approver_teams"]))
    await server.admin.teams.DeleteTeam(team_pb2.DeleteTeamRequest(team=team.name))


async def test_a_repeated_request_id_creates_one_environment(server: RunningServer) -> None:
    request = pb.CreateEnvironmentRequest(
        name=unique("environment"),
        environment_type=pb.ENVIRONMENT_TYPE_TESTING,
        request_id=str(uuid.uuid4()),
    )
    create = server.admin.environments.CreateEnvironment
    assert await create(request) == await create(request)


async def test_environments_are_listed_by_name_in_one_statement(own_server: RunningServer) -> None:
    for name in ("b", "a", "c"):
        await make_environment(own_server.admin, name=name)
    with statements(own_server.app.db) as seen:
        listed = await own_server.admin.environments.ListEnvironments(pb.ListEnvironmentsRequest())
    assert [environment.name for environment in listed.environments] == ["a", "b", "c"]
    assert len(seen) == 1


async def test_environments_are_listed_in_the_order_asked_for(own_server: RunningServer) -> None:
    for name in ("b", "a", "c"):
        await make_environment(own_server.admin, name=name)
    listed = await own_server.admin.environments.ListEnvironments(
        pb.ListEnvironmentsRequest(order_by="created_at desc")
    )
    assert [environment.name for environment in listed.environments] == ["c", "a", "b"]
    refusal = await refused(
        own_server.admin.environments.ListEnvironments(pb.ListEnvironmentsRequest(order_by="environment_type"))
    )
    assert set(refusal.violations) == {"order_by"}


async def test_environments_are_filtered_by_type_activity_and_text(own_server: RunningServer) -> None:
    alive = await make_environment(own_server.admin, description="Like production")
    over = await make_environment(own_server.admin, environment_type=pb.ENVIRONMENT_TYPE_STAGING)
    await _update(own_server, over, is_active=False)
    for wanted, expected in (
        (pb.ListEnvironmentsRequest(environment_type=pb.ENVIRONMENT_TYPE_STAGING), [over.id]),
        (pb.ListEnvironmentsRequest(is_active=True), [alive.id]),
        (pb.ListEnvironmentsRequest(is_active=False), [over.id]),
        (pb.ListEnvironmentsRequest(query="PRODUCTION"), [alive.id]),
        (pb.ListEnvironmentsRequest(environment_type=pb.ENVIRONMENT_TYPE_TESTING), []),
    ):
        listed = await own_server.admin.environments.ListEnvironments(wanted)
        assert [environment.id for environment in listed.environments] == expected


async def test_pages_by_token_keep_to_the_filters_they_began_with(own_server: RunningServer) -> None:
    for _ in range(3):
        await make_environment(own_server.admin)
    environments = own_server.admin.environments
    first = await environments.ListEnvironments(pb.ListEnvironmentsRequest(page_size=2))
    second = await environments.ListEnvironments(
        pb.ListEnvironmentsRequest(page_size=2, page_token=first.next_page_token)
    )
    assert len({environment.id for environment in (*first.environments, *second.environments)}) == 3
    assert (second.page, second.total_size, second.next_page_token) == (2, 3, "")
    refusal = await refused(
        environments.ListEnvironments(
            pb.ListEnvironmentsRequest(page_size=2, is_active=True, page_token=first.next_page_token)
        )
    )
    assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_nothing_runs_in_a_new_environment(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    status = await server.admin.environments.GetEnvironmentStatus(
        pb.GetEnvironmentStatusRequest(environment=environment.name)
    )
    assert status == pb.EnvironmentStatus(environment=environment)
    refusal = await refused(
        server.admin.environments.GetEnvironmentStatus(pb.GetEnvironmentStatusRequest(environment="nothing"))
    )
    assert refusal.code == grpc.StatusCode.NOT_FOUND
