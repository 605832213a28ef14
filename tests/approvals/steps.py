"""What the tests of approvals do all the time."""

from dataclasses import dataclass
from typing import Any

from relman_client.v1 import approval_pb2 as pb
from relman_client.v1 import deployment_pb2, environment_pb2, release_pb2, team_pb2
from relman_server.deployments import approving
from tests.deployments.steps import events_of, get, start
from tests.deployments.steps import state as deployment_state
from tests.factories import (
    Caller,
    RunningServer,
    make_deployment,
    make_environment,
    make_release,
    make_service,
    make_team,
)

APPROVE = pb.DECISION_APPROVE
REJECT = pb.DECISION_REJECT


@dataclass
class Scene:
    """A deployment that waits for approvals, and everyone concerned.

    Attributes:
        author: Created the deployment, and maintains the service's team.
        writer: Created its release, and is a member of that team.
        approvers: Members of the approver team; none when admins approve.
        team: Name of the approver team.
    """

    server: RunningServer
    author: Caller
    writer: Caller
    approvers: list[Caller]
    team: str
    release: release_pb2.Release
    environment: environment_pb2.Environment
    deployment: deployment_pb2.Deployment

    async def now(self) -> deployment_pb2.Deployment:
        """Read the deployment again."""
        return await get(self.author, self.deployment)

    async def state(self) -> str:
        """Return the deployment's status without its prefix."""
        return deployment_state(await self.now())

    async def blocker(self) -> deployment_pb2.Blocker:
        """Return what the deployment says it waits for: approvals, and nothing else."""
        (blocker,) = (await self.now()).blockers
        assert blocker.kind == deployment_pb2.BLOCKER_KIND_APPROVAL
        return blocker

    async def approvals(self, **fields: Any) -> list[pb.Approval]:
        """Return the deployment's approvals, oldest first."""
        request = pb.ListApprovalsRequest(deployment=self.deployment.id, order_by="created_at", **fields)
        return list((await self.author.approvals.ListApprovals(request)).approvals)

    async def states(self) -> list[str]:
        """Return what became of each of them."""
        return [state(approval) for approval in await self.approvals()]

    async def approve(self, who: Caller | None = None, **fields: Any) -> deployment_pb2.Deployment:
        """Approve as someone, the first of the approvers unless said otherwise."""
        request = deployment_pb2.ApproveDeploymentRequest(deployment=self.deployment.id, **fields)
        return await (who or self.approvers[0]).deployments.ApproveDeployment(request)

    async def reject(self, who: Caller | None = None, **fields: Any) -> deployment_pb2.Deployment:
        """Reject as someone."""
        request = deployment_pb2.RejectDeploymentRequest(deployment=self.deployment.id, **fields)
        return await (who or self.approvers[0]).deployments.RejectDeployment(request)

    async def ask(self, who: Caller | None = None, **fields: Any) -> pb.Approval:
        """Ask for one more approval, as the author unless said otherwise."""
        request = pb.CreateApprovalRequest(deployment=self.deployment.id, **fields)
        return await (who or self.author).approvals.CreateApproval(request)

    async def change(self, **fields: Any) -> deployment_pb2.Deployment:
        """Change the deployment, as its author."""
        request = deployment_pb2.UpdateDeploymentRequest(deployment=self.deployment.id, **fields)
        return await self.author.deployments.UpdateDeployment(request)

    async def change_environment(self, **fields: Any) -> None:
        """Change the environment's rules."""
        request = environment_pb2.UpdateEnvironmentRequest(environment=self.environment.name, **fields)
        await self.server.admin.environments.UpdateEnvironment(request)

    async def leave_team(self, who: Caller) -> None:
        """Take someone out of the approver team."""
        request = team_pb2.RemoveTeamMemberRequest(team=self.team, user=who.username)
        await self.server.admin.teams.RemoveTeamMember(request)

    async def start(self) -> deployment_pb2.Deployment:
        """Start the deployment, as its author."""
        return await start(self.author, self.deployment)

    async def told(self) -> list[str]:
        """Return the messages of the deployment's history."""
        return [event.message for event in await events_of(self.author, self.deployment)]


async def waiting(
    server: RunningServer, approvers: int = 2, required: int = 1, *, draft: bool = False, **environment: Any
) -> Scene:
    """Create a deployment into an environment that asks for approvals; of admins when there are no approvers."""
    author, writer = await server.user(), await server.user()
    developers = (await make_team(author)).name
    await join(author, developers, writer)
    service = await make_service(author, team=developers)
    callers = [await server.user() for _ in range(approvers)]
    team = ""
    if callers:
        team = (await make_team(callers[0])).name
        for caller in callers[1:]:
            await join(callers[0], team, caller)
        environment.setdefault("approver_teams", [team])
    there = await make_environment(server.admin, required_approvals=required, **environment)
    release = await make_release(writer, service=service.name, publish=not draft)
    deployment = await make_deployment(author, server.admin, release=release.id, environment=there.name)
    return Scene(server, author, writer, callers, team, release, there, deployment)


async def join(maintainer: Caller, team: str, who: Caller) -> None:
    """Add someone to a team, as its maintainer."""
    await maintainer.teams.AddTeamMember(team_pb2.AddTeamMemberRequest(team=team, user=who.username))


async def decide(
    who: Caller, approval: pb.Approval, decision: pb.Decision.ValueType = APPROVE, **more: Any
) -> pb.Approval:
    """Decide an approval by its id."""
    request = pb.UpdateApprovalRequest(approval=approval.id, decision=decision, **more)
    return await who.approvals.UpdateApproval(request)


async def withdraw(who: Caller, approval: pb.Approval, **more: Any) -> None:
    """Take a request back."""
    await who.approvals.DeleteApproval(pb.DeleteApprovalRequest(approval=approval.id, **more))


async def expire(server: RunningServer) -> int:
    """Mark what has expired, as the server does from time to time."""
    return await server.app.db.write(approving.expire_due)


def state(approval: pb.Approval) -> str:
    """Return an approval's status without its prefix."""
    return pb.ApprovalStatus.Name(approval.status).removeprefix("APPROVAL_STATUS_")
