"""Asking whether a deployment may start and starting it agree, gate by gate."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import select

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import release_pb2
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading
from tests.conftest import MovableClock
from tests.deployments import steps
from tests.deployments.steps import check, event_type, events_of, gates, get, make_in, state
from tests.factories import RunningServer, make_deployment, make_environment, make_release, refused


async def _held(server: RunningServer, gate: str) -> pb.Deployment:
    """Create a deployment that is held by one gate, which closed after it was created."""
    if gate == "QUEUE":
        return (await steps.queue(server, 2))[1]
    deployment = await make_in(server, "READY")
    if gate == "RELEASE":
        await server.admin.releases.AbandonRelease(release_pb2.AbandonReleaseRequest(release=deployment.release_id))
    elif gate == "LOCK":
        await steps.lock(server, deployment.environment_name)
    else:
        await steps.set_active(server, deployment.environment_name, active=False)
    return deployment


@pytest.mark.parametrize("gate", ["RELEASE", "INACTIVE", "LOCK", "QUEUE"])
async def test_a_closed_gate_is_said_by_the_check_the_start_and_the_deployment_alike(
    server: RunningServer, gate: str
) -> None:
    deployment = await _held(server, gate)
    answer = await check(server.admin, deployment)
    assert (answer.allowed, gates(answer)) == (False, [gate])
    refusal = await refused(steps.start(server.admin, deployment))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BLOCKED")
    (blocker,) = answer.blockers
    assert refusal.conditions == [(gate, blocker.subject_id, blocker.message)]
    found = await get(server.admin, deployment)
    assert (state(found), list(found.blockers)) == ("PENDING", [blocker])


async def test_every_closed_gate_is_named_at_once(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    draft = await make_release(server.admin, publish=False)
    await steps.lock(server, environment.name)
    await steps.set_active(server, environment.name, active=False)
    deployment = await make_deployment(server.admin, server.admin, release=draft.id, environment=environment.name)
    assert gates(deployment) == ["RELEASE", "INACTIVE", "LOCK"]
    for blocker in deployment.blockers:
        assert blocker.message.endswith((".", ":", "house"))


async def test_a_check_of_what_is_not_created_says_what_its_creation_would(server: RunningServer) -> None:
    first = await make_in(server, "READY")
    release = await make_release(server.admin, service=first.service_name, publish=False)
    name = f"{release.service_name}@{release.version}"
    answer = await server.admin.deployments.CheckDeployment(
        pb.CheckDeploymentRequest(release=name, environment=first.environment_name)
    )
    created = await make_deployment(server.admin, server.admin, release=name, environment=first.environment_name)
    assert gates(answer) == ["RELEASE", "QUEUE"]
    assert answer.blockers == created.blockers


@pytest.mark.parametrize(
    "fields",
    [{}, {"release": "a@1.0.0"}, {"environment": "b"}, {"deployment": "c", "release": "a@1.0.0", "environment": "b"}],
    ids=["nothing", "no environment", "no release", "both"],
)
async def test_a_check_is_of_a_deployment_or_of_a_release_and_an_environment(
    server: RunningServer, fields: dict[str, str]
) -> None:
    refusal = await refused(server.admin.deployments.CheckDeployment(pb.CheckDeploymentRequest(**fields)))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"deployment"})


async def test_a_check_of_unknown_things_is_not_found(server: RunningServer) -> None:
    release, environment = await make_release(server.admin), await make_environment(server.admin)
    for fields, missing in (
        ({"release": "nothing@1.0.0", "environment": environment.name}, "release"),
        ({"release": release.id, "environment": "nothing"}, "environment"),
    ):
        refusal = await refused(server.admin.deployments.CheckDeployment(pb.CheckDeploymentRequest(**fields)))
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, missing)


async def test_a_lock_blocks_what_waits_until_it_is_ended(server: RunningServer) -> None:
    deployment = await make_in(server, "READY")
    await steps.lock(server, deployment.environment_name, ttl=Duration(seconds=3600))
    locked = await get(server.admin, deployment)
    (blocker,) = locked.blockers
    assert (blocker.subject_id, list(blocker.waiting_for)) == (deployment.environment_id, ["root-admin"])
    assert "root-admin: moving house" in blocker.message
    assert blocker.HasField("until")
    await steps.unlock(server, deployment.environment_name)
    assert [event_type(event) for event in await events_of(server.admin, deployment)] == ["CREATED", "BLOCKED", "READY"]


async def test_a_lock_does_not_stop_what_is_in_progress(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    await steps.lock(server, deployment.environment_name)
    assert state(await steps.complete(server.admin, deployment)) == "SUCCEEDED"


async def test_an_expired_lock_stops_nobody_whatever_the_stored_state_says(
    own_server: RunningServer, clock: MovableClock
) -> None:
    server = own_server
    deployment = await make_in(server, "READY")
    await steps.lock(server, deployment.environment_name, ttl=Duration(seconds=60))
    clock.advance(timedelta(seconds=59))
    assert gates(await check(server.admin, deployment)) == ["LOCK"]
    clock.advance(timedelta(seconds=1))
    assert (await check(server.admin, deployment)).allowed
    assert state(await steps.start(server.admin, deployment)) == "IN_PROGRESS"


async def test_a_quarantine_holds_until_it_is_cleared(server: RunningServer) -> None:
    deployment = await make_in(server, "READY")
    hold = {"release": deployment.release_id, "reason": "it leaks"}
    await server.admin.releases.QuarantineRelease(release_pb2.QuarantineReleaseRequest(**hold))
    held = await get(server.admin, deployment)
    assert (gates(held), "it leaks" in held.blockers[0].message) == (["RELEASE"], True)
    await server.admin.releases.ClearQuarantine(release_pb2.ClearQuarantineRequest(**hold))
    assert state(await get(server.admin, deployment)) == "READY"


async def test_what_is_in_progress_finishes_when_its_release_is_held(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    await server.admin.releases.QuarantineRelease(
        release_pb2.QuarantineReleaseRequest(release=deployment.release_id, reason="it leaks")
    )
    assert state(await steps.complete(server.admin, deployment)) == "SUCCEEDED"


def _attempts(tx: Reading, deployment: str) -> list[tuple[str, str]]:
    statement = select(AuditEntry.action, AuditEntry.outcome).where(AuditEntry.resource_id == deployment)
    return [(row.action, row.outcome) for row in tx.rows(statement.order_by(AuditEntry.created_at, AuditEntry.id))]


async def test_a_refused_start_is_audited_as_one_that_failed(server: RunningServer) -> None:
    deployment = await make_in(server, "PENDING")
    await refused(steps.start(server.admin, deployment))
    assert await server.app.db.read(_attempts, deployment.id) == [
        ("deployment.create", "SUCCESS"),
        ("deployment.start", "FAILED"),
    ]
    assert len(await events_of(server.admin, deployment)) == 1
