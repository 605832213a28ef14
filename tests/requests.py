"""For every mutating RPC that is offered: a request that will be carried out, with everything it needs in place."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from google.protobuf.message import Message

from relman_client.v1 import (
    analytics_pb2,
    approval_pb2,
    audit_pb2,
    auth_pb2,
    catalog_pb2,
    common_pb2,
    deployment_pb2,
    environment_pb2,
    incident_pb2,
    log_pb2,
    policy_pb2,
    release_pb2,
    rollback_pb2,
    runbook_pb2,
    stage_pb2,
    team_pb2,
    user_pb2,
)
from tests.factories import (
    RunningServer,
    make_deployment,
    make_environment,
    make_policy,
    make_release,
    make_service,
    make_team,
    unique,
)

PASSWORD = "correct horse battery staple"

Make = Callable[[RunningServer], Awaitable[Message]]


async def _register(_: RunningServer) -> Message:
    name = unique("person")
    return auth_pb2.RegisterRequest(email=f"{name}@example.com", username=name, password=PASSWORD)


async def _create_user(_: RunningServer) -> Message:
    name = unique("person")
    return user_pb2.CreateUserRequest(email=f"{name}@example.com", username=name, password=PASSWORD)


async def _of_user(kind: Any, server: RunningServer, *, active: bool = True, **fields: Any) -> Message:
    name = (await server.user()).username
    if not active:
        await server.admin.users.DeactivateUser(user_pb2.DeactivateUserRequest(user=name))
    request: Message = kind(user=name, **fields)
    return request


async def _of_team(kind: Any, server: RunningServer, **fields: Any) -> Message:
    request: Message = kind(team=(await make_team(server.admin)).name, **fields)
    return request


async def _of_member(kind: Any, server: RunningServer, *, there: bool = True, **fields: Any) -> Message:
    team, user = await make_team(server.admin), await server.user()
    if there:
        await server.admin.teams.AddTeamMember(team_pb2.AddTeamMemberRequest(team=team.name, user=user.username))
    request: Message = kind(team=team.name, user=user.username, **fields)
    return request


async def _of_service(kind: Any, server: RunningServer, **fields: Any) -> Message:
    request: Message = kind(service=(await make_service(server.admin)).name, **fields)
    return request


async def _of_environment(kind: Any, server: RunningServer, *, locked: bool = False, **fields: Any) -> Message:
    environment = await make_environment(server.admin)
    if locked:
        await server.admin.environments.LockEnvironment(
            environment_pb2.LockEnvironmentRequest(environment=environment.name, reason="a test")
        )
    request: Message = kind(environment=environment.name, **fields)
    return request


async def _of_policy(kind: Any, server: RunningServer, **fields: Any) -> Message:
    request: Message = kind(deploy_policy=(await make_policy(server.admin)).name, **fields)
    return request


async def _of_release(
    kind: Any, server: RunningServer, *, publish: bool = True, quarantined: bool = False, **fields: Any
) -> Message:
    release = await make_release(server.admin, publish=publish)
    if quarantined:
        await server.admin.releases.QuarantineRelease(
            release_pb2.QuarantineReleaseRequest(release=release.id, reason="a test")
        )
    request: Message = kind(release=release.id, **fields)
    return request


async def _into_environment(kind: Any, server: RunningServer) -> Message:
    request: Message = kind(
        release=(await make_release(server.admin)).id, environment=(await make_environment(server.admin)).name
    )
    return request


async def _promote(server: RunningServer) -> Message:
    first = await make_environment(server.admin)
    await make_environment(server.admin, promotes_from=first.name)
    deployment = await _started(server, environment=first.name)
    await _complete(server, deployment)
    return release_pb2.PromoteReleaseRequest(release=deployment.release_id)


async def _started(server: RunningServer, **fields: Any) -> deployment_pb2.Deployment:
    deployment = await make_deployment(server.admin, server.admin, **fields)
    await server.admin.deployments.StartDeployment(deployment_pb2.StartDeploymentRequest(deployment=deployment.id))
    return deployment


async def _complete(server: RunningServer, deployment: deployment_pb2.Deployment, *, failed: bool = False) -> None:
    outcome = common_pb2.OUTCOME_FAILED if failed else common_pb2.OUTCOME_SUCCEEDED
    await server.admin.deployments.CompleteDeployment(
        deployment_pb2.CompleteDeploymentRequest(deployment=deployment.id, outcome=outcome)
    )


async def _of_deployment(
    kind: Any, server: RunningServer, *, started: bool = False, ended: bool = False, failed: bool = False, **fields: Any
) -> Message:
    make = _started(server) if started or ended or failed else make_deployment(server.admin, server.admin)
    deployment = await make
    if ended or failed:
        await _complete(server, deployment, failed=failed)
    request: Message = kind(deployment=deployment.id, **fields)
    return request


async def _rolled_forward(server: RunningServer) -> deployment_pb2.Deployment:
    """Return a deployment that succeeded where another release had before."""
    first = await _started(server)
    await _complete(server, first)
    release = await make_release(server.admin, service=first.service_name)
    second = await _started(server, release=release.id, environment=first.environment_name)
    await _complete(server, second)
    return second


async def _roll_back(kind: Any, server: RunningServer) -> Message:
    request: Message = kind(deployment=(await _rolled_forward(server)).id, reason="a test")
    return request


async def _cancel_rollback(server: RunningServer) -> Message:
    undone = await _rolled_forward(server)
    rollback = await server.admin.rollbacks.CreateRollback(rollback_pb2.CreateRollbackRequest(deployment=undone.id))
    return rollback_pb2.CancelRollbackRequest(rollback=rollback.id)


async def _heartbeat(server: RunningServer) -> Message:
    deployment = await make_deployment(server.admin, server.admin)
    start = deployment_pb2.StartDeploymentRequest(deployment=deployment.id, takeover=True)
    started = await server.admin.deployments.StartDeployment(start)
    return deployment_pb2.HeartbeatDeploymentRequest(deployment=deployment.id, lease=started.lease)


async def _of_stage(
    kind: Any, server: RunningServer, *, running: bool = False, failed: bool = False, **fields: Any
) -> Message:
    deployment = await _started(server, stages=["build"])
    reference = f"{deployment.id}/build"
    if running or failed:
        await server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=reference))
    if failed:
        await server.admin.stages.CompleteStage(
            stage_pb2.CompleteStageRequest(stage=reference, outcome=common_pb2.OUTCOME_FAILED)
        )
    request: Message = kind(stage=reference, **fields)
    return request


async def _to_approve(
    kind: Any, server: RunningServer, *, by_id: bool = False, asked: bool = False, **fields: Any
) -> Message:
    """Make a request about a deployment of somebody else that waits for an admin, or about an approval of it."""
    environment = await make_environment(server.admin, required_approvals=1)
    deployment = await make_deployment(await server.user(), server.admin, environment=environment.name)
    if asked:
        approval = await server.admin.approvals.CreateApproval(
            approval_pb2.CreateApprovalRequest(deployment=deployment.id)
        )
        fields["approval"] = approval.id
    elif by_id:
        listed = await server.admin.approvals.ListApprovals(approval_pb2.ListApprovalsRequest(deployment=deployment.id))
        fields["approval"] = listed.approvals[0].id
    else:
        fields["deployment"] = deployment.id
    request: Message = kind(**fields)
    return request


async def _of_incident(kind: Any, server: RunningServer, **fields: Any) -> Message:
    deployment = await make_deployment(server.admin, server.admin)
    new = incident_pb2.CreateIncidentRequest(deployment=deployment.id, title="Slow")
    incident = await server.admin.incidents.CreateIncident(new)
    request: Message = kind(incident=incident.id, **fields)
    return request


async def _append_logs(server: RunningServer) -> Message:
    deployment = await _started(server, stages=["build"])
    return log_pb2.AppendLogsRequest(
        deployment=deployment.id, first_sequence=1, entries=[log_pb2.LogEntry(text="hello")]
    )


async def _create_runbook(_: RunningServer) -> runbook_pb2.CreateRunbookRequest:
    return runbook_pb2.CreateRunbookRequest(title="What to do", content="Turn it off and on again.")


async def _of_runbook(kind: Any, server: RunningServer, **fields: Any) -> Message:
    runbook = await server.admin.runbooks.CreateRunbook(await _create_runbook(server))
    request: Message = kind(runbook=runbook.id, **fields)
    return request


async def _verify(_: RunningServer) -> Message:
    return audit_pb2.VerifyAuditLogsRequest(seal=True)


async def _create_service(_: RunningServer) -> Message:
    return catalog_pb2.CreateServiceRequest(name=unique("service"))


async def _create_team(_: RunningServer) -> Message:
    return team_pb2.CreateTeamRequest(name=unique("team"))


async def _create_environment(_: RunningServer) -> Message:
    return environment_pb2.CreateEnvironmentRequest(
        name=unique("environment"), environment_type=environment_pb2.ENVIRONMENT_TYPE_DEVELOPMENT
    )


async def _create_policy(_: RunningServer) -> Message:
    return policy_pb2.CreateDeployPolicyRequest(name=unique("policy"))


SUCCEEDED = common_pb2.OUTCOME_SUCCEEDED

VALID: dict[str, Make] = {
    "AuthService/Register": _register,
    "UserService/CreateUser": _create_user,
    "UserService/UpdateUser": partial(_of_user, user_pb2.UpdateUserRequest, full_name="Ann"),
    "UserService/DeactivateUser": partial(_of_user, user_pb2.DeactivateUserRequest),
    "UserService/ActivateUser": partial(_of_user, user_pb2.ActivateUserRequest, active=False),
    "TeamService/CreateTeam": _create_team,
    "TeamService/UpdateTeam": partial(_of_team, team_pb2.UpdateTeamRequest, description="new"),
    "TeamService/DeleteTeam": partial(_of_team, team_pb2.DeleteTeamRequest),
    "TeamService/AddTeamMember": partial(_of_member, team_pb2.AddTeamMemberRequest, there=False),
    "TeamService/UpdateTeamMember": partial(
        _of_member, team_pb2.UpdateTeamMemberRequest, role=team_pb2.TEAM_ROLE_MAINTAINER
    ),
    "TeamService/RemoveTeamMember": partial(_of_member, team_pb2.RemoveTeamMemberRequest),
    "CatalogService/CreateService": _create_service,
    "CatalogService/UpdateService": partial(_of_service, catalog_pb2.UpdateServiceRequest, description="new"),
    "CatalogService/DeleteService": partial(_of_service, catalog_pb2.DeleteServiceRequest),
    "EnvironmentService/CreateEnvironment": _create_environment,
    "EnvironmentService/UpdateEnvironment": partial(
        _of_environment, environment_pb2.UpdateEnvironmentRequest, description="new"
    ),
    "EnvironmentService/DeleteEnvironment": partial(_of_environment, environment_pb2.DeleteEnvironmentRequest),
    "EnvironmentService/LockEnvironment": partial(
        _of_environment, environment_pb2.LockEnvironmentRequest, reason="a test"
    ),
    "EnvironmentService/UnlockEnvironment": partial(
        _of_environment, environment_pb2.UnlockEnvironmentRequest, locked=True
    ),
    "DeployPolicyService/CreateDeployPolicy": _create_policy,
    "DeployPolicyService/UpdateDeployPolicy": partial(
        _of_policy, policy_pb2.UpdateDeployPolicyRequest, description="new"
    ),
    "DeployPolicyService/DeleteDeployPolicy": partial(_of_policy, policy_pb2.DeleteDeployPolicyRequest),
    "ReleaseService/CreateRelease": partial(_of_service, release_pb2.CreateReleaseRequest, version="1.2.3"),
    "ReleaseService/UpdateRelease": partial(_of_release, release_pb2.UpdateReleaseRequest, release_notes="new"),
    "ReleaseService/DeleteRelease": partial(_of_release, release_pb2.DeleteReleaseRequest, publish=False),
    "ReleaseService/PublishRelease": partial(_of_release, release_pb2.PublishReleaseRequest, publish=False),
    "ReleaseService/AbandonRelease": partial(_of_release, release_pb2.AbandonReleaseRequest, reason="a test"),
    "ReleaseService/QuarantineRelease": partial(_of_release, release_pb2.QuarantineReleaseRequest, reason="a test"),
    "ReleaseService/ClearQuarantine": partial(
        _of_release, release_pb2.ClearQuarantineRequest, quarantined=True, reason="a test"
    ),
    "ReleaseService/DeployRelease": partial(_into_environment, release_pb2.DeployReleaseRequest),
    "ReleaseService/PromoteRelease": _promote,
    "DeploymentService/CreateDeployment": partial(_into_environment, deployment_pb2.CreateDeploymentRequest),
    "DeploymentService/UpdateDeployment": partial(
        _of_deployment, deployment_pb2.UpdateDeploymentRequest, labels={"build": "42"}
    ),
    "DeploymentService/DeleteDeployment": partial(_of_deployment, deployment_pb2.DeleteDeploymentRequest, ended=True),
    "DeploymentService/StartDeployment": partial(_of_deployment, deployment_pb2.StartDeploymentRequest),
    "DeploymentService/HeartbeatDeployment": _heartbeat,
    "DeploymentService/CompleteDeployment": partial(
        _of_deployment, deployment_pb2.CompleteDeploymentRequest, started=True, outcome=SUCCEEDED
    ),
    "DeploymentService/CancelDeployment": partial(
        _of_deployment, deployment_pb2.CancelDeploymentRequest, reason="a test"
    ),
    "DeploymentService/RetryDeployment": partial(_of_deployment, deployment_pb2.RetryDeploymentRequest, failed=True),
    "DeploymentService/ApproveDeployment": partial(_to_approve, deployment_pb2.ApproveDeploymentRequest),
    "DeploymentService/RejectDeployment": partial(_to_approve, deployment_pb2.RejectDeploymentRequest, notes="no"),
    "ApprovalService/CreateApproval": partial(_to_approve, approval_pb2.CreateApprovalRequest),
    "ApprovalService/UpdateApproval": partial(
        _to_approve, approval_pb2.UpdateApprovalRequest, by_id=True, decision=approval_pb2.DECISION_APPROVE
    ),
    "ApprovalService/DeleteApproval": partial(_to_approve, approval_pb2.DeleteApprovalRequest, asked=True),
    "DeploymentService/RollbackDeployment": partial(_roll_back, deployment_pb2.RollbackDeploymentRequest),
    "RollbackService/CreateRollback": partial(_roll_back, rollback_pb2.CreateRollbackRequest),
    "RollbackService/CancelRollback": _cancel_rollback,
    "StageService/CreateStage": partial(_of_deployment, stage_pb2.CreateStageRequest, name="lint"),
    "StageService/UpdateStage": partial(_of_stage, stage_pb2.UpdateStageRequest, timeout_seconds=60),
    "StageService/StartStage": partial(_of_stage, stage_pb2.StartStageRequest),
    "StageService/ReportStageProgress": partial(
        _of_stage, stage_pb2.ReportStageProgressRequest, running=True, progress_percent=50
    ),
    "StageService/CompleteStage": partial(_of_stage, stage_pb2.CompleteStageRequest, running=True, outcome=SUCCEEDED),
    "StageService/SkipStage": partial(_of_stage, stage_pb2.SkipStageRequest, reason="a test"),
    "StageService/RetryStage": partial(_of_stage, stage_pb2.RetryStageRequest, failed=True),
    "DeploymentLogService/AppendLogs": _append_logs,
    "RunbookService/CreateRunbook": _create_runbook,
    "RunbookService/UpdateRunbook": partial(_of_runbook, runbook_pb2.UpdateRunbookRequest, title="new"),
    "RunbookService/DeleteRunbook": partial(_of_runbook, runbook_pb2.DeleteRunbookRequest),
    "AuditLogService/VerifyAuditLogs": _verify,
    "IncidentService/CreateIncident": partial(_of_deployment, incident_pb2.CreateIncidentRequest, title="Slow"),
    "IncidentService/UpdateIncident": partial(_of_incident, incident_pb2.UpdateIncidentRequest, title="Slower"),
    "IncidentService/ResolveIncident": partial(_of_incident, incident_pb2.ResolveIncidentRequest),
    "AnalyticsService/RecordDeploymentMetrics": partial(
        _of_deployment,
        analytics_pb2.RecordDeploymentMetricsRequest,
        metrics=[analytics_pb2.DeploymentMetricValue(metric_name="tests", metric_value=7)],
    ),
}
