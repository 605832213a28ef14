"""Who may do what: the team of the service, its owner and admins; everyone reads; only admins delete."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import release_pb2, stage_pb2, team_pb2
from tests.deployments import steps
from tests.deployments.steps import SUCCEEDED, get, state
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

Calls = Callable[[Caller, pb.Deployment], Awaitable[Any]]  # of answers of different RPCs


def _stage(deployment: pb.Deployment) -> str:
    return f"{deployment.id}/build"


WRITES: dict[str, Calls] = {
    "create": lambda who, found: make_deployment(
        who, who, release=found.release_id, environment=found.environment_name
    ),
    "deploy": lambda who, found: who.releases.DeployRelease(
        release_pb2.DeployReleaseRequest(release=found.release_id, environment=found.environment_name)
    ),
    "update": lambda who, found: who.deployments.UpdateDeployment(
        pb.UpdateDeploymentRequest(deployment=found.id, labels={"a": "b"})
    ),
    "start": steps.start,
    "add a stage": lambda who, found: who.stages.CreateStage(
        stage_pb2.CreateStageRequest(deployment=found.id, name="more")
    ),
    "change a stage": lambda who, found: who.stages.UpdateStage(
        stage_pb2.UpdateStageRequest(stage=f"{found.id}/more", timeout_seconds=1)
    ),
    "start a stage": lambda who, found: who.stages.StartStage(stage_pb2.StartStageRequest(stage=_stage(found))),
    "report": lambda who, found: who.stages.ReportStageProgress(
        stage_pb2.ReportStageProgressRequest(stage=_stage(found), progress_percent=1)
    ),
    "fail a stage": lambda who, found: who.stages.CompleteStage(
        stage_pb2.CompleteStageRequest(stage=_stage(found), outcome=steps.FAILED)
    ),
    "retry a stage": lambda who, found: who.stages.RetryStage(stage_pb2.RetryStageRequest(stage=_stage(found))),
    "skip a stage": lambda who, found: who.stages.SkipStage(stage_pb2.SkipStageRequest(stage=_stage(found))),
    "cancel": steps.cancel,
    "retry": steps.retry,
}
"""In an order in which each is allowed by the state that the one before left."""


async def _deployment_of(server: RunningServer, role: str) -> tuple[Caller, pb.Deployment]:
    """Return someone with a role, and a deployment of a service of their team."""
    someone, owner = await server.user(), await server.user()
    team = await make_team(owner)
    if role in {"member", "maintainer"}:
        await owner.teams.AddTeamMember(
            team_pb2.AddTeamMemberRequest(
                team=team.name,
                user=someone.username,
                role=team_pb2.TeamRole.Value(f"TEAM_ROLE_{role.upper()}"),
            )
        )
    service = await make_service(
        server.admin, team=team.name, owner=someone.username if role == "owner" else owner.username
    )
    release = await make_release(server.admin, service=service.name)
    environment = await make_environment(server.admin)
    deployment = await make_deployment(
        owner, server.admin, release=release.id, environment=environment.name, stages=["build"]
    )
    return server.admin if role == "admin" else someone, deployment


@pytest.mark.parametrize("role", ["member", "maintainer", "owner", "admin"])
async def test_the_team_the_owner_and_admins_carry_a_deployment_through(server: RunningServer, role: str) -> None:
    caller, deployment = await _deployment_of(server, role)
    for call in WRITES.values():
        await call(caller, deployment)
    assert state(await get(caller, deployment)) == "CANCELLED"


async def test_outsiders_change_nothing(server: RunningServer) -> None:
    outsider, deployment = await _deployment_of(server, "outsider")
    for name, call in WRITES.items():
        refusal = await refused(call(outsider, deployment))
        if name == "change a stage":  # there is none yet
            assert refusal.code == grpc.StatusCode.NOT_FOUND
            await WRITES["add a stage"](server.admin, deployment)
            refusal = await refused(call(outsider, deployment))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"), name
        assert deployment.service_name in refusal.message
    complete = steps.complete(outsider, deployment, SUCCEEDED)
    assert (await refused(complete)).code == grpc.StatusCode.PERMISSION_DENIED


async def test_a_dry_run_is_refused_to_outsiders_too(server: RunningServer) -> None:
    outsider, deployment = await _deployment_of(server, "outsider")
    refusal = await refused(
        make_deployment(
            outsider,
            server.admin,
            release=deployment.release_id,
            environment=deployment.environment_name,
            validate_only=True,
        )
    )
    assert refusal.code == grpc.StatusCode.PERMISSION_DENIED


async def test_everyone_reads(server: RunningServer) -> None:
    outsider, deployment = await _deployment_of(server, "outsider")
    assert (await get(outsider, deployment)).id == deployment.id
    assert (await steps.check(outsider, deployment)).allowed
    assert len(await steps.events_of(outsider, deployment)) == 1
    await outsider.stages.GetStage(stage_pb2.GetStageRequest(stage=_stage(deployment)))


@pytest.mark.parametrize("role", ["member", "maintainer", "owner"])
async def test_only_admins_delete(server: RunningServer, role: str) -> None:
    caller, deployment = await _deployment_of(server, role)
    await steps.cancel(caller, deployment)
    request = pb.DeleteDeploymentRequest(deployment=deployment.id)
    assert (await refused(caller.deployments.DeleteDeployment(request))).code == grpc.StatusCode.PERMISSION_DENIED
    await server.admin.deployments.DeleteDeployment(request)
