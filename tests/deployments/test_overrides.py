"""Break glass: passing gates that are closed, by those who answer for it, and never silently."""

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import select

from relman_client.v1 import catalog_pb2, team_pb2
from relman_client.v1 import deployment_pb2 as pb
from relman_server.deployments.inputs import Override, Start
from relman_server.deployments.model import BlockerKind
from relman_server.deployments.starting import start_deployment
from relman_server.kernel.db import Reading
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.errors import PermissionDenied
from relman_server.kernel.identity import Call, Identity, current_call
from tests.deployments import steps
from tests.deployments.steps import state
from tests.factories import (
    Caller,
    RunningServer,
    make_deployment,
    make_environment,
    make_release,
    make_service,
    make_team,
    refused,
)

LOCK, SOAK, PROMOTION = pb.BLOCKER_KIND_LOCK, pb.BLOCKER_KIND_SOAK, pb.BLOCKER_KIND_PROMOTION


async def _locked(server: RunningServer, **fields: Any) -> pb.Deployment:
    deployment = await make_deployment(server.admin, server.admin, **fields)
    await steps.lock(server, deployment.environment_name)
    return deployment


async def _start(caller: Caller, deployment: pb.Deployment, *kinds: Any, reason: str = "the shop is down") -> Any:
    return await steps.start(caller, deployment, override=pb.GateOverride(reason=reason, kinds=kinds))


async def test_a_lock_is_passed_with_a_reason_that_everyone_sees(server: RunningServer) -> None:
    deployment = await _locked(server)
    await refused(steps.start(server.admin, deployment))
    assert state(await _start(server.admin, deployment, LOCK)) == "IN_PROGRESS"
    last = (await steps.events_of(server.admin, deployment))[-1]
    assert last.message == "Started by root-admin in spite of LOCK: the shop is down"

    def entry(tx: Reading) -> Any:
        of_it = select(AuditEntry.details).where(
            AuditEntry.resource_id == deployment.id, AuditEntry.action == "deployment.start"
        )
        return tx.scalar(of_it.order_by(AuditEntry.id.desc()).limit(1))

    details = await server.app.db.read(entry)
    assert details["reason"] == "the shop is down"
    assert details["overridden"][0].startswith("LOCK: ")


async def test_only_the_gates_that_are_named_are_passed(server: RunningServer) -> None:
    deployment = await _locked(server)
    refusal = await refused(_start(server.admin, deployment, SOAK, PROMOTION))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BLOCKED")
    assert state(await steps.get(server.admin, deployment)) == "PENDING"


async def test_promotion_and_soak_are_passed(server: RunningServer) -> None:
    first = await make_environment(server.admin)
    second = await make_environment(server.admin, promotes_from=first.name, soak_time=Duration(seconds=3600))
    release = await make_release(server.admin)
    deployment = await make_deployment(server.admin, server.admin, release=release.id, environment=second.name)
    assert steps.gates(deployment) == ["PROMOTION"]
    await _start(server.admin, deployment, PROMOTION)
    await steps.cancel(server.admin, deployment)
    await steps.deploy(server, release.id, first.name)
    deployment = await make_deployment(server.admin, server.admin, release=release.id, environment=second.name)
    assert steps.gates(deployment) == ["SOAK"]
    assert state(await _start(server.admin, deployment, SOAK)) == "IN_PROGRESS"


@pytest.mark.parametrize("kind", ["RELEASE", "APPROVAL", "QUEUE", "INACTIVE", "UNSPECIFIED"])
async def test_some_gates_cannot_be_passed(server: RunningServer, kind: str) -> None:
    deployment = await _locked(server)
    refusal = await refused(_start(server.admin, deployment, LOCK, pb.BlockerKind.Value(f"BLOCKER_KIND_{kind}")))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {"override.kinds[1]"}


async def test_a_reason_and_a_gate_must_be_named(server: RunningServer) -> None:
    deployment = await _locked(server)
    refusal = await refused(_start(server.admin, deployment, reason=""))
    assert set(refusal.violations) == {"override.reason", "override.kinds"}
    assert set((await refused(_start(server.admin, deployment, LOCK, reason="  "))).violations) == {"override.reason"}


async def test_members_cannot_and_maintainers_can(server: RunningServer) -> None:
    team = await make_team(server.admin)
    service = await make_service(server.admin, team=team.name)
    release = await make_release(server.admin, service=service.name)
    deployment = await _locked(server, release=release.id)
    for role, may in ((team_pb2.TEAM_ROLE_MEMBER, False), (team_pb2.TEAM_ROLE_MAINTAINER, True)):
        user = await server.user()
        await server.admin.teams.AddTeamMember(
            team_pb2.AddTeamMemberRequest(team=team.name, user=user.username, role=role)
        )
        if may:
            assert state(await _start(user, deployment, LOCK)) == "IN_PROGRESS"
        else:
            refusal = await refused(_start(user, deployment, LOCK))
            assert refusal.code == grpc.StatusCode.PERMISSION_DENIED


async def test_the_owner_can(server: RunningServer) -> None:
    owner = await server.user()
    service = await make_service(server.admin)
    await server.admin.catalog.UpdateService(
        catalog_pb2.UpdateServiceRequest(service=service.name, owner=owner.username)
    )
    deployment = await _locked(server, release=(await make_release(server.admin, service=service.name)).id)
    assert state(await _start(owner, deployment, LOCK)) == "IN_PROGRESS"


async def test_admins_are_not_exempt(server: RunningServer) -> None:
    deployment = await _locked(server)
    assert (await refused(steps.start(server.admin, deployment))).reason == "BLOCKED"


@pytest.mark.parametrize("carries", [False, True])
async def test_a_token_must_carry_the_permission(server: RunningServer, *, carries: bool) -> None:
    deployment = await _locked(server)
    assert server.admin.user_id is not None
    permissions = frozenset({"deployments.run", "deployments.override"} if carries else {"deployments.run"})
    identity = Identity(
        server.admin.user_id, "root-admin", 1, server.app.clock.now(), is_admin=True, permissions=permissions
    )
    override = Override(reason="the shop is down", kinds=[BlockerKind.LOCK])
    token = current_call.set(Call("", None, identity=identity))
    try:
        start = server.app.db.write(start_deployment, Start(deployment=deployment.id, override=override))
        if carries:
            await start
        else:
            with pytest.raises(PermissionDenied, match=r"deployments\.override"):
                await start
    finally:
        current_call.reset(token)


async def test_an_override_that_is_not_needed_is_a_plain_start(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin)
    await _start(server.admin, deployment, LOCK)
    assert (await steps.events_of(server.admin, deployment))[-1].message == "Started by root-admin."
