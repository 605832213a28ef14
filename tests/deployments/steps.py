"""What the tests of deployments do all the time."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from relman_client.v1 import common_pb2, environment_pb2, release_pb2, stage_pb2
from relman_client.v1 import deployment_pb2 as pb
from relman_server.deployments.model import Deployment
from relman_server.kernel.db.transaction import Transaction
from tests.factories import Caller, RunningServer, make_deployment, make_environment, make_release, make_service

SUCCEEDED = common_pb2.OUTCOME_SUCCEEDED
FAILED = common_pb2.OUTCOME_FAILED
PRODUCTION = environment_pb2.ENVIRONMENT_TYPE_PRODUCTION
STATES = ("PENDING", "READY", "IN_PROGRESS", "SUCCEEDED", "FAILED", "CANCELLED", "REJECTED", "ROLLED_BACK")


def state(deployment: pb.Deployment) -> str:
    """Return a deployment's status without its prefix."""
    return pb.DeploymentStatus.Name(deployment.status).removeprefix("DEPLOYMENT_STATUS_")


def stage_state(stage: stage_pb2.PipelineStage) -> str:
    """Return a stage's status without its prefix."""
    return stage_pb2.StageStatus.Name(stage.status).removeprefix("STAGE_STATUS_")


def kind(deployment: pb.Deployment) -> str:
    """Return a deployment's kind without its prefix."""
    return pb.DeploymentKind.Name(deployment.kind).removeprefix("DEPLOYMENT_KIND_")


def event_type(event: pb.DeploymentEvent) -> str:
    """Return an event's type without its prefix."""
    return pb.DeploymentEventType.Name(event.type).removeprefix("DEPLOYMENT_EVENT_TYPE_")


def gates(blocked: pb.Deployment | pb.DeploymentCheck) -> list[str]:
    """Return the kinds of the closed gates, without their prefix."""
    return [pb.BlockerKind.Name(blocker.kind).removeprefix("BLOCKER_KIND_") for blocker in blocked.blockers]


async def get(caller: Caller, deployment: pb.Deployment) -> pb.Deployment:
    """Read a deployment again."""
    return await caller.deployments.GetDeployment(pb.GetDeploymentRequest(deployment=deployment.id))


async def start(caller: Caller, deployment: pb.Deployment, **fields: Any) -> pb.Deployment:
    """Start a deployment."""
    started = await caller.deployments.StartDeployment(pb.StartDeploymentRequest(deployment=deployment.id, **fields))
    return started.deployment


async def complete(
    caller: Caller, deployment: pb.Deployment, outcome: common_pb2.Outcome.ValueType = SUCCEEDED, **fields: Any
) -> pb.Deployment:
    """End a deployment."""
    return await caller.deployments.CompleteDeployment(
        pb.CompleteDeploymentRequest(deployment=deployment.id, outcome=outcome, **fields)
    )


async def cancel(caller: Caller, deployment: pb.Deployment, **fields: Any) -> pb.Deployment:
    """Call a deployment off."""
    return await caller.deployments.CancelDeployment(pb.CancelDeploymentRequest(deployment=deployment.id, **fields))


async def retry(caller: Caller, deployment: pb.Deployment) -> pb.Deployment:
    """Try a deployment again."""
    return await caller.deployments.RetryDeployment(pb.RetryDeploymentRequest(deployment=deployment.id))


async def check(caller: Caller, deployment: pb.Deployment) -> pb.DeploymentCheck:
    """Ask whether a deployment may start."""
    return await caller.deployments.CheckDeployment(pb.CheckDeploymentRequest(deployment=deployment.id))


async def events_of(caller: Caller, deployment: pb.Deployment) -> list[pb.DeploymentEvent]:
    """Return a deployment's history, of which revisions have no gaps."""
    found: list[pb.DeploymentEvent] = []
    token = ""
    while token or not found:
        page = await caller.deployments.ListDeploymentEvents(
            pb.ListDeploymentEventsRequest(deployment=deployment.id, page_size=500, page_token=token)
        )
        found += page.events
        token = page.next_page_token
        if not token:
            break
    assert [event.revision for event in found] == list(range(1, len(found) + 1))
    return found


async def deploy(server: RunningServer, release: str, environment: str, **fields: Any) -> pb.Deployment:
    """Carry a release into an environment as the admin, to the end."""
    deployment = await make_deployment(server.admin, server.admin, release=release, environment=environment)
    await start(server.admin, deployment)
    return await complete(server.admin, deployment, **fields)


async def queue(server: RunningServer, length: int) -> list[pb.Deployment]:
    """Create deployments of releases of one service into one environment."""
    service = await make_service(server.admin)
    environment = await make_environment(server.admin)
    return [
        await make_deployment(
            server.admin,
            server.admin,
            release=(await make_release(server.admin, service=service.name)).id,
            environment=environment.name,
        )
        for _ in range(length)
    ]


async def make_in(server: RunningServer, wanted: str, **fields: Any) -> pb.Deployment:
    """Create a deployment and bring it into a state."""
    admin = server.admin
    if wanted == "PENDING":
        fields["release"] = (await make_release(admin, publish=False)).id
    deployment = await make_deployment(admin, admin, **fields)
    if wanted in {"IN_PROGRESS", "SUCCEEDED", "FAILED"}:
        deployment = await start(admin, deployment)
    if wanted == "SUCCEEDED":
        deployment = await complete(admin, deployment)
    if wanted == "FAILED":
        deployment = await complete(admin, deployment, FAILED, failure_reason="broken")
    if wanted == "CANCELLED":
        deployment = await cancel(admin, deployment)
    if wanted in {"REJECTED", "ROLLED_BACK"}:  # by approvals and rollbacks, which are not of this folder
        await server.app.db.write(set_columns, deployment.id, {"status": wanted, "completed_at": datetime.now(UTC)})
        deployment = await get(admin, deployment)
    assert state(deployment) == wanted
    return deployment


def set_columns(tx: Transaction, deployment: str, columns: dict[str, Any]) -> None:
    """Change a deployment's row behind the rules' back."""
    (found,) = tx.entities(select(Deployment).where(Deployment.id == UUID(deployment)))
    for name, value in columns.items():
        setattr(found, name, value)
    tx.audit("deployment.update", found)


async def set_active(server: RunningServer, environment: str, *, active: bool) -> None:
    """Open or close an environment."""
    await server.admin.environments.UpdateEnvironment(
        environment_pb2.UpdateEnvironmentRequest(environment=environment, is_active=active)
    )


async def lock(server: RunningServer, environment: str, **fields: Any) -> None:
    """Lock an environment."""
    await server.admin.environments.LockEnvironment(
        environment_pb2.LockEnvironmentRequest(environment=environment, reason="moving house", **fields)
    )


async def unlock(server: RunningServer, environment: str) -> None:
    """Unlock an environment."""
    await server.admin.environments.UnlockEnvironment(environment_pb2.UnlockEnvironmentRequest(environment=environment))


async def release_state(caller: Caller, release: str) -> str:
    """Return a release's status without its prefix."""
    found = await caller.releases.GetRelease(release_pb2.GetReleaseRequest(release=release))
    return release_pb2.ReleaseStatus.Name(found.status).removeprefix("RELEASE_STATUS_")


async def hold_for_a_moment(server: RunningServer, deployment: pb.Deployment) -> None:
    """Hold a deployment's release and let it go."""
    hold = {"release": deployment.release_id, "reason": "a look"}
    await server.admin.releases.QuarantineRelease(release_pb2.QuarantineReleaseRequest(**hold))
    await server.admin.releases.ClearQuarantine(release_pb2.ClearQuarantineRequest(**hold))
