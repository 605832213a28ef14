import uuid
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select

from relman_client.v1 import catalog_pb2, environment_pb2
from relman_client.v1 import policy_pb2 as pb
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading
from relman_server.policies.logic import PoliciesChanged
from tests.factories import RunningServer, make_environment, make_policy, make_service, refused, unique

WEEKEND = pb.WeeklyWindow(
    days=[pb.DAY_OF_WEEK_FRIDAY, pb.DAY_OF_WEEK_SATURDAY], start="18:00", end="06:00", time_zone="Europe/Berlin"
)
CHRISTMAS = pb.OneTimeWindow(
    start=Timestamp(seconds=int(datetime(2026, 12, 24, tzinfo=UTC).timestamp())),
    end=Timestamp(seconds=int(datetime(2026, 12, 27, tzinfo=UTC).timestamp()), nanos=500_000),
)


async def _get(server: RunningServer, reference: str) -> pb.DeployPolicy:
    return await server.admin.policies.GetDeployPolicy(pb.GetDeployPolicyRequest(deploy_policy=reference))


async def _update(server: RunningServer, policy: pb.DeployPolicy, **fields: Any) -> pb.DeployPolicy:
    request = pb.UpdateDeployPolicyRequest(deploy_policy=policy.name, **fields)
    return await server.admin.policies.UpdateDeployPolicy(request)


async def _delete(server: RunningServer, policy: pb.DeployPolicy, etag: str = "") -> None:
    await server.admin.policies.DeleteDeployPolicy(pb.DeleteDeployPolicyRequest(deploy_policy=policy.name, etag=etag))


async def test_a_policy_is_read_as_it_was_written(server: RunningServer) -> None:
    services = [await make_service(server.admin) for _ in range(2)]
    environment = await make_environment(server.admin)
    created = await make_policy(
        server.admin,
        name="weekends",
        description="People sleep.",
        services=[services[1].name, services[0].id, services[1].id],
        environments=[environment.name],
        weekly_windows=[WEEKEND],
        one_time_windows=[CHRISTMAS],
    )
    assert created == await _get(server, "weekends") == await _get(server, created.id)
    assert (created.description, created.is_active) == ("People sleep.", True)
    assert list(created.services) == sorted(service.name for service in services)
    assert list(created.environments) == [environment.name]
    assert (list(created.weekly_windows), list(created.one_time_windows)) == ([WEEKEND], [CHRISTMAS])
    assert created.created_by == str(server.admin.user_id)
    assert created.created_at == created.updated_at


async def test_days_are_kept_once_and_in_order_and_a_window_without_a_zone_is_in_utc(server: RunningServer) -> None:
    days = [pb.DAY_OF_WEEK_SUNDAY, pb.DAY_OF_WEEK_MONDAY, pb.DAY_OF_WEEK_SUNDAY]
    policy = await make_policy(server.admin, weekly_windows=[pb.WeeklyWindow(days=days, start="00:00", end="24:00")])
    window = policy.weekly_windows[0]
    assert list(window.days) == [pb.DAY_OF_WEEK_MONDAY, pb.DAY_OF_WEEK_SUNDAY]
    assert (window.end, window.time_zone) == ("24:00", "UTC")


async def test_every_violation_comes_at_once(server: RunningServer) -> None:
    backwards = pb.OneTimeWindow(start=CHRISTMAS.end, end=CHRISTMAS.start)
    refusal = await refused(
        make_policy(
            server.admin,
            name="Weekends",
            description="x" * 2001,
            services=["service"] * 501,
            environments=["environment"] * 501,
            weekly_windows=[
                WEEKEND,
                pb.WeeklyWindow(days=[pb.DAY_OF_WEEK_MONDAY], start="24:00", end="24:01", time_zone="Europe/Atlantis"),
                pb.WeeklyWindow(start="9:00", end="17:00"),
            ],
            one_time_windows=[CHRISTMAS, backwards, pb.OneTimeWindow(start=CHRISTMAS.start)],
        )
    )
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {
        "name",
        "description",
        "services",
        "environments",
        "weekly_windows[1].start",
        "weekly_windows[1].end",
        "weekly_windows[1].time_zone",
        "weekly_windows[2].days",
        "weekly_windows[2].start",
        "one_time_windows[1].end",
        "one_time_windows[2].end",
    }


@pytest.mark.parametrize(
    "time", ["", "7:00", "07:60", "25:00", "0700", "07:00:00", "07:00\n", "\u0660\u0667:\u0660\u0660", "noon"]
)
async def test_what_is_no_time_of_day_is_refused(shared_server: RunningServer, time: str) -> None:
    window = pb.WeeklyWindow(days=[pb.DAY_OF_WEEK_MONDAY], start=time, end=time)
    refusal = await refused(make_policy(shared_server.admin, weekly_windows=[window]))
    assert set(refusal.violations) == {"weekly_windows[0].start", "weekly_windows[0].end"}


@pytest.mark.parametrize("zone", ["europe/berlin", "CET/", "../UTC", "/etc/localtime", "localtime", "Europe", "+02:00"])
async def test_what_is_no_time_zone_everywhere_is_refused(shared_server: RunningServer, zone: str) -> None:
    window = pb.WeeklyWindow(days=[pb.DAY_OF_WEEK_MONDAY], start="09:00", end="17:00", time_zone=zone)
    refusal = await refused(make_policy(shared_server.admin, weekly_windows=[window]))
    assert set(refusal.violations) == {"weekly_windows[0].time_zone"}


async def test_there_are_at_most_50_windows_of_a_kind(server: RunningServer) -> None:
    policy = await make_policy(server.admin, weekly_windows=[WEEKEND] * 50, one_time_windows=[CHRISTMAS] * 50)
    refusal = await refused(_update(server, policy, weekly_windows=[WEEKEND] * 51, one_time_windows=[CHRISTMAS] * 51))
    assert set(refusal.violations) == {"weekly_windows", "one_time_windows"}


async def test_every_unknown_service_is_named(server: RunningServer) -> None:
    service = await make_service(server.admin)
    refusal = await refused(make_policy(server.admin, services=["ghosts", service.name, str(uuid.UUID(int=7))]))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "service")
    assert refusal.resource.resource_name == f"ghosts, {uuid.UUID(int=7)}"


async def test_every_unknown_environment_is_named(server: RunningServer) -> None:
    refusal = await refused(_update(server, await make_policy(server.admin), environments=["ghosts", "spirits"]))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "environment")
    assert refusal.resource.resource_name == "ghosts, spirits"


async def test_a_name_is_given_once(server: RunningServer) -> None:
    first, second = await make_policy(server.admin), await make_policy(server.admin)
    for call in (make_policy(server.admin, name=first.name), _update(server, second, name=first.name)):
        refusal = await refused(call)
        assert (refusal.code, refusal.resource.resource_name) == (grpc.StatusCode.ALREADY_EXISTS, first.name)


async def test_an_update_sets_what_is_present(server: RunningServer) -> None:
    service = await make_service(server.admin)
    policy = await make_policy(server.admin, description="kept", services=[service.name], weekly_windows=[WEEKEND])
    updated = await _update(server, policy, name=unique("policy"), is_active=False, etag=policy.etag)
    assert (updated.description, updated.is_active) == ("kept", False)
    assert (list(updated.services), list(updated.weekly_windows)) == ([service.name], [WEEKEND])
    assert updated.etag != policy.etag
    assert (await _get(server, updated.name)).id == policy.id


async def test_a_mask_empties_what_is_absent(server: RunningServer) -> None:
    policy = await make_policy(
        server.admin,
        services=[(await make_service(server.admin)).name],
        environments=[(await make_environment(server.admin)).name],
        weekly_windows=[WEEKEND],
        one_time_windows=[CHRISTMAS],
    )
    paths = ["services", "environments", "weekly_windows", "one_time_windows"]
    emptied = await _update(server, policy, update_mask=FieldMask(paths=paths))
    assert not any(len(getattr(emptied, path)) for path in paths)


@pytest.mark.parametrize("path", ["id", "created_by", "deploy_policy", "weekly_windows.days"])
async def test_a_mask_of_what_cannot_be_set_is_refused(shared_server: RunningServer, path: str) -> None:
    policy = await make_policy(shared_server.admin)
    refusal = await refused(_update(shared_server, policy, update_mask=FieldMask(paths=[path])))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"update_mask"})


async def test_other_services_alone_change_the_etag(server: RunningServer) -> None:
    old, new = await make_service(server.admin), await make_service(server.admin)
    policy = await make_policy(server.admin, services=[old.name])
    updated = await _update(server, policy, services=[new.name])
    assert (list(updated.services), updated.etag != policy.etag) == ([new.name], True)
    assert (await _update(server, policy, services=[new.id])).etag == updated.etag


async def test_a_stale_etag_changes_nothing(server: RunningServer) -> None:
    policy = await make_policy(server.admin)
    await _update(server, policy, description="newer")
    for call in (_update(server, policy, description="older", etag=policy.etag), _delete(server, policy, policy.etag)):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")


async def test_a_deleted_policy_is_gone(server: RunningServer) -> None:
    policy = await make_policy(server.admin, services=[(await make_service(server.admin)).name])
    await _delete(server, policy, policy.etag)
    refusal = await refused(_get(server, policy.name))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "deploy_policy")


async def test_a_policy_follows_the_names_of_what_it_holds_for(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    policy = await make_policy(server.admin, services=[service.name], environments=[environment.name])
    names = unique("service"), unique("environment")
    await server.admin.catalog.UpdateService(catalog_pb2.UpdateServiceRequest(service=service.id, name=names[0]))
    await server.admin.environments.UpdateEnvironment(
        environment_pb2.UpdateEnvironmentRequest(environment=environment.id, name=names[1])
    )
    read = await _get(server, policy.name)
    assert (list(read.services), list(read.environments)) == ([names[0]], [names[1]])


async def test_a_service_that_a_policy_names_stays(server: RunningServer) -> None:
    """With the service gone the policy would hold for none that it names, which means for all."""
    service = await make_service(server.admin)
    policy = await make_policy(server.admin, services=[service.name])
    delete = catalog_pb2.DeleteServiceRequest(service=service.name)
    refusal = await refused(server.admin.catalog.DeleteService(delete))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_USE")
    await _delete(server, policy)
    await server.admin.catalog.DeleteService(delete)


async def test_an_environment_that_a_policy_names_stays(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    policy = await make_policy(server.admin, environments=[environment.name])
    delete = environment_pb2.DeleteEnvironmentRequest(environment=environment.name)
    refusal = await refused(server.admin.environments.DeleteEnvironment(delete))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_USE")
    await _delete(server, policy)
    await server.admin.environments.DeleteEnvironment(delete)


async def test_policies_are_for_admins_to_change_and_for_all_to_read(own_server: RunningServer) -> None:
    ann = await own_server.user()
    policy = await make_policy(own_server.admin)
    for call in (
        make_policy(ann),
        ann.policies.UpdateDeployPolicy(pb.UpdateDeployPolicyRequest(deploy_policy=policy.name, is_active=False)),
        ann.policies.DeleteDeployPolicy(pb.DeleteDeployPolicyRequest(deploy_policy=policy.name)),
    ):
        assert (await refused(call)).code == grpc.StatusCode.PERMISSION_DENIED
    assert await ann.policies.GetDeployPolicy(pb.GetDeployPolicyRequest(deploy_policy=policy.id)) == policy
    assert len((await ann.policies.ListDeployPolicies(pb.ListDeployPoliciesRequest())).deploy_policies) == 1


async def test_a_change_of_freezes_is_announced_and_one_of_words_is_not(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    announced: list[PoliciesChanged] = []
    server.app.events.subscribe(PoliciesChanged, lambda _, changed: announced.append(changed))
    policy = await make_policy(server.admin, services=[service.name])
    assert len(announced) == 1
    changes: list[dict[str, Any]] = [
        {"weekly_windows": [WEEKEND]},
        {"one_time_windows": [CHRISTMAS]},
        {"is_active": False},
        {"environments": [environment.name]},
        {"update_mask": FieldMask(paths=["services"])},
    ]
    for number, change in enumerate(changes, start=2):
        await _update(server, policy, **change)
        assert len(announced) == number, change
    await _update(server, policy, description="new", weekly_windows=[WEEKEND], environments=[environment.id])
    assert len(announced) == 6
    await _delete(server, policy)
    assert len(announced) == 7


async def test_the_audit_log_says_what_a_policy_holds_for(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    policy = await make_policy(server.admin, services=[service.name])
    await _update(server, policy, environments=[environment.name], is_active=False)
    await _delete(server, policy)
    entries = await server.app.db.read(_audited, policy.id)
    assert [entry.action for entry in entries] == [
        "deploy_policy.create",
        "deploy_policy.update",
        "deploy_policy.delete",
    ]
    assert [entry.details["services"] for entry in entries] == [[service.name]] * 3
    assert [entry.details["environments"] for entry in entries] == [[], [environment.name], [environment.name]]
    assert entries[1].details["changes"] == {"is_active": [True, False]}


def _audited(tx: Reading, policy_id: str) -> list[Any]:
    entries = select(AuditEntry.action, AuditEntry.details).where(AuditEntry.resource_id == policy_id)
    return list(tx.rows(entries.order_by(AuditEntry.created_at)))
