import uuid

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from relman_client.v1 import catalog_pb2 as pb
from relman_client.v1 import common_pb2, team_pb2
from relman_server.catalog.logic import ServiceChanged
from tests.factories import Caller, RunningServer, make_release, make_service, make_team, refused, unique
from tests.statements import statements


async def _join(maintainer: Caller, team: team_pb2.Team, *users: Caller) -> None:
    for user in users:
        await maintainer.teams.AddTeamMember(team_pb2.AddTeamMemberRequest(team=team.name, user=user.username))


async def test_a_service_belongs_to_who_records_it(server: RunningServer) -> None:
    ann = await server.user()
    service = await make_service(
        ann,
        name="checkout",
        description="Takes the money",
        repository_url="https://git.example.com/shop/checkout",
        slack_channel="#checkout",
    )
    assert (service.owner_id, service.team_id, service.is_active) == (str(ann.user_id), "", True)
    assert service.repository_url == "https://git.example.com/shop/checkout"
    assert service.HasField("created_at")


async def test_a_service_is_found_by_name_and_id_in_one_statement(server: RunningServer) -> None:
    service = await make_service(server.admin)
    for reference in (service.id, service.name):
        with statements(server.app.db) as seen:
            assert await server.admin.catalog.GetService(pb.GetServiceRequest(service=reference)) == service
        assert len(seen) == 1


async def test_an_unknown_service_is_not_found(server: RunningServer) -> None:
    for reference in ("nothing", str(uuid.uuid4())):
        refusal = await refused(server.admin.catalog.GetService(pb.GetServiceRequest(service=reference)))
        assert refusal.code == grpc.StatusCode.NOT_FOUND
        assert (refusal.resource.resource_type, refusal.resource.resource_name) == ("service", reference)


async def test_a_name_is_given_once(server: RunningServer) -> None:
    service = await make_service(server.admin)
    refusal = await refused(make_service(await server.user(), name=service.name))
    assert (refusal.code, refusal.resource.resource_name) == (grpc.StatusCode.ALREADY_EXISTS, service.name)


async def test_every_violation_comes_at_once(server: RunningServer) -> None:
    refusal = await refused(
        make_service(server.admin, name="-", description="x" * 2001, repository_url="nowhere", slack_channel="x" * 101)
    )
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {"name", "description", "repository_url", "slack_channel"}


async def test_unknown_teams_and_owners_are_not_found(server: RunningServer) -> None:
    service = await make_service(server.admin)
    for field, missing in (("team", "team"), ("owner", "user")):
        for call in (
            make_service(server.admin, **{field: "nothing"}),
            server.admin.catalog.UpdateService(
                pb.UpdateServiceRequest(service=service.name, **{field: "nothing"})  # type: ignore[arg-type]
            ),
        ):
            refusal = await refused(call)
            assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, missing)


async def test_only_members_and_admins_record_services_of_a_team(server: RunningServer) -> None:
    ann, member, stranger = await server.user(), await server.user(), await server.user()
    team = await make_team(ann)
    await _join(ann, team, member)
    for caller in (ann, member, server.admin):
        assert (await make_service(caller, team=team.name)).team_id == team.id
    refusal = await refused(make_service(stranger, team=team.name))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


async def test_maintainers_the_owner_and_admins_change_a_service(server: RunningServer) -> None:
    ann, owner = await server.user(), await server.user()
    team = await make_team(ann)
    service = await make_service(ann, team=team.id, owner=owner.username)
    for caller in (ann, owner, server.admin):
        updated = await caller.catalog.UpdateService(
            pb.UpdateServiceRequest(service=service.name, description=caller.username)
        )
        assert updated.description == caller.username


async def test_members_and_strangers_do_not_change_a_service(server: RunningServer) -> None:
    ann, member, stranger = await server.user(), await server.user(), await server.user()
    team = await make_team(ann)
    await _join(ann, team, member)
    service = await make_service(ann, team=team.name)
    for caller in (member, stranger):
        for call in (
            caller.catalog.UpdateService(pb.UpdateServiceRequest(service=service.name, description="mine")),
            caller.catalog.DeleteService(pb.DeleteServiceRequest(service=service.name)),
        ):
            assert (await refused(call)).code == grpc.StatusCode.PERMISSION_DENIED


async def test_a_maintainer_of_another_team_does_not_change_a_service(server: RunningServer) -> None:
    ann, bob = await server.user(), await server.user()
    service = await make_service(ann, team=(await make_team(ann)).name)
    await make_team(bob)
    refusal = await refused(
        bob.catalog.UpdateService(pb.UpdateServiceRequest(service=service.name, description="mine"))
    )
    assert refusal.code == grpc.StatusCode.PERMISSION_DENIED


async def test_a_service_moves_to_a_team_its_mover_is_in(server: RunningServer) -> None:
    ann, bob = await server.user(), await server.user()
    mine, theirs = await make_team(ann), await make_team(bob)
    service = await make_service(ann, team=mine.name)
    move = pb.UpdateServiceRequest(service=service.name, team=theirs.name)
    assert (await refused(ann.catalog.UpdateService(move))).code == grpc.StatusCode.PERMISSION_DENIED
    await _join(bob, theirs, ann)
    assert (await ann.catalog.UpdateService(move)).team_id == theirs.id


async def test_a_service_leaves_its_team(server: RunningServer) -> None:
    ann = await server.user()
    service = await make_service(ann, team=(await make_team(ann)).name)
    updated = await ann.catalog.UpdateService(pb.UpdateServiceRequest(service=service.name, team=""))
    assert updated.team_id == ""


async def test_a_mask_empties_what_is_absent(server: RunningServer) -> None:
    ann = await server.user()
    service = await make_service(ann, team=(await make_team(ann)).name, slack_channel="#a", description="kept")
    updated = await ann.catalog.UpdateService(
        pb.UpdateServiceRequest(service=service.name, update_mask=FieldMask(paths=["team", "slack_channel"]))
    )
    assert (updated.team_id, updated.slack_channel, updated.description) == ("", "", "kept")


@pytest.mark.parametrize("path", ["owner", "name"])
async def test_a_mask_does_not_empty_what_every_service_has(server: RunningServer, path: str) -> None:
    service = await make_service(server.admin)
    refusal = await refused(
        server.admin.catalog.UpdateService(
            pb.UpdateServiceRequest(service=service.name, update_mask=FieldMask(paths=[path]))
        )
    )
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {path})


@pytest.mark.parametrize("path", ["id", "owner_id", "created_at", "service"])
async def test_a_mask_of_what_cannot_be_set_is_refused(server: RunningServer, path: str) -> None:
    service = await make_service(server.admin)
    refusal = await refused(
        server.admin.catalog.UpdateService(
            pb.UpdateServiceRequest(service=service.name, update_mask=FieldMask(paths=[path]))
        )
    )
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"update_mask"})


async def test_a_stale_etag_changes_nothing(server: RunningServer) -> None:
    service = await make_service(server.admin)
    await server.admin.catalog.UpdateService(pb.UpdateServiceRequest(service=service.id, description="newer"))
    for call in (
        server.admin.catalog.UpdateService(
            pb.UpdateServiceRequest(service=service.id, description="older", etag=service.etag)
        ),
        server.admin.catalog.DeleteService(pb.DeleteServiceRequest(service=service.id, etag=service.etag)),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")


async def test_a_service_that_becomes_inactive_is_announced_once(server: RunningServer) -> None:
    service = await make_service(server.admin)
    announced: list[str] = []
    server.app.events.subscribe(ServiceChanged, lambda _, changed: announced.append(str(changed.service_id)))
    for _ in range(2):
        request = pb.UpdateServiceRequest(service=service.name, is_active=False, description="over")
        assert not (await server.admin.catalog.UpdateService(request)).is_active
    assert announced == [service.id]


async def test_an_unused_service_is_deleted(server: RunningServer) -> None:
    service = await make_service(server.admin)
    await server.admin.catalog.DeleteService(pb.DeleteServiceRequest(service=service.name, etag=service.etag))
    refusal = await refused(server.admin.catalog.GetService(pb.GetServiceRequest(service=service.id)))
    assert refusal.code == grpc.StatusCode.NOT_FOUND


async def test_a_service_with_releases_stays(server: RunningServer) -> None:
    service = await make_service(server.admin)
    await make_release(server.admin, service=service.name)
    refusal = await refused(server.admin.catalog.DeleteService(pb.DeleteServiceRequest(service=service.name)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_USE")
    assert refusal.conditions[0][:2] == ("IN_USE", service.name)


async def test_a_repeated_request_id_records_one_service(server: RunningServer) -> None:
    request = pb.CreateServiceRequest(name=unique("service"), request_id=str(uuid.uuid4()))
    assert await server.admin.catalog.CreateService(request) == await server.admin.catalog.CreateService(request)


async def test_services_are_listed_by_name_in_one_statement(own_server: RunningServer) -> None:
    for name in ("b", "a", "c"):
        await make_service(own_server.admin, name=name)
    with statements(own_server.app.db) as seen:
        listed = await own_server.admin.catalog.ListServices(pb.ListServicesRequest())
    assert [service.name for service in listed.services] == ["a", "b", "c"]
    assert len(seen) == 1


async def test_services_are_listed_in_the_order_asked_for(own_server: RunningServer) -> None:
    for name in ("b", "a", "c"):
        await make_service(own_server.admin, name=name)
    listed = await own_server.admin.catalog.ListServices(pb.ListServicesRequest(order_by="created_at desc"))
    assert [service.name for service in listed.services] == ["c", "a", "b"]
    refusal = await refused(own_server.admin.catalog.ListServices(pb.ListServicesRequest(order_by="is_active")))
    assert set(refusal.violations) == {"order_by"}


async def test_services_of_a_team_are_listed_in_one_statement(server: RunningServer) -> None:
    team = await make_team(server.admin)
    service = await make_service(server.admin, team=team.name)
    await make_service(server.admin)
    for reference in (team.name, team.id):
        with statements(server.app.db) as seen:
            listed = await server.admin.catalog.ListServices(pb.ListServicesRequest(team=reference))
        assert [found.id for found in listed.services] == [service.id]
        assert len(seen) == 1


async def test_a_team_without_services_has_none_and_an_unknown_one_is_not_found(server: RunningServer) -> None:
    team = await make_team(server.admin)
    with statements(server.app.db) as seen:
        listed = await server.admin.catalog.ListServices(pb.ListServicesRequest(team=team.name))
    assert listed.total_size == 0
    assert len(seen) == 2
    refusal = await refused(server.admin.catalog.ListServices(pb.ListServicesRequest(team="nothing")))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "team")


async def test_services_are_filtered_by_activity_and_text(own_server: RunningServer) -> None:
    alive = await make_service(own_server.admin, description="Sends mail_s")
    over = await make_service(own_server.admin, description="Sends mails")
    await own_server.admin.catalog.UpdateService(pb.UpdateServiceRequest(service=over.name, is_active=False))
    for wanted, expected in (
        (pb.ListServicesRequest(is_active=True), [alive.id]),
        (pb.ListServicesRequest(is_active=False), [over.id]),
        (pb.ListServicesRequest(query="MAIL_"), [alive.id]),
    ):
        listed = await own_server.admin.catalog.ListServices(wanted)
        assert [service.id for service in listed.services] == expected


async def test_pages_by_token_keep_to_the_filters_they_began_with(own_server: RunningServer) -> None:
    for _ in range(3):
        await make_service(own_server.admin)
    first = await own_server.admin.catalog.ListServices(pb.ListServicesRequest(page_size=2, is_active=True))
    second = await own_server.admin.catalog.ListServices(
        pb.ListServicesRequest(page_size=2, is_active=True, page_token=first.next_page_token)
    )
    assert len({service.id for service in (*first.services, *second.services)}) == 3
    assert (second.page, second.total_size, second.next_page_token) == (2, 3, "")
    refusal = await refused(
        own_server.admin.catalog.ListServices(
            pb.ListServicesRequest(page_size=2, is_active=False, page_token=first.next_page_token)
        )
    )
    assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_the_health_of_a_service_that_runs_nowhere_is_unknown(server: RunningServer) -> None:
    service = await make_service(server.admin)
    health = await server.admin.catalog.GetServiceHealth(pb.GetServiceHealthRequest(service=service.name))
    assert (health.service_id, health.service_name) == (service.id, service.name)
    assert health.status == common_pb2.HEALTH_STATUS_UNKNOWN
    refusal = await refused(server.admin.catalog.GetServiceHealth(pb.GetServiceHealthRequest(service="nothing")))
    assert refusal.code == grpc.StatusCode.NOT_FOUND
