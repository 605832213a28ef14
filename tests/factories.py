"""Builders that all tests share: a test states only what matters to it."""

import itertools
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, cast
from uuid import UUID

import grpc
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from relman_client.v1 import (
    analytics_pb2_grpc,
    approval_pb2_grpc,
    audit_pb2_grpc,
    auth_pb2_grpc,
    catalog_pb2,
    catalog_pb2_grpc,
    deployment_pb2,
    deployment_pb2_grpc,
    environment_pb2,
    environment_pb2_grpc,
    incident_pb2_grpc,
    log_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    release_pb2,
    release_pb2_grpc,
    rollback_pb2_grpc,
    runbook_pb2,
    runbook_pb2_grpc,
    stage_pb2,
    stage_pb2_grpc,
    system_pb2_grpc,
    team_pb2,
    team_pb2_grpc,
    user_pb2_grpc,
)
from relman_server.app import App
from relman_server.auth.tokens import ACCESS_TTL
from relman_server.kernel.db.transaction import Transaction
from relman_server.kernel.identity import Identity
from relman_server.users.model import User

_numbers = itertools.count(1)
TIMEOUT = 20


def unique(prefix: str) -> str:
    """Return a name that no other resource of the run has."""
    return f"{prefix}-{next(_numbers)}"


class _Proxy:
    """A stub whose calls carry metadata and a timeout."""

    def __init__(self, make: Callable[[], object], metadata: tuple[tuple[str, str], ...]) -> None:
        self._make = make
        self._metadata = metadata

    @cached_property
    def _stub(self) -> object:
        """Made when it is first used: most callers call one or two services of all."""
        return self._make()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._stub, name)

        def call(*args: Any, metadata: tuple[tuple[str, str], ...] = (), timeout: float = TIMEOUT, **more: Any) -> Any:
            return method(*args, metadata=self._metadata + metadata, timeout=timeout, **more)

        return call


class Caller:
    """Someone who calls: every service's stub, with their token.

    Attributes:
        username: Who; empty for nobody.
        user_id: Their id; None for nobody.
    """

    def __init__(
        self, channel: grpc.aio.Channel, token: str = "", username: str = "", user_id: UUID | None = None
    ) -> None:
        self.username = username
        self.user_id = user_id
        self.token = token
        self.metadata: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {token}"),) if token else ()
        stub = partial(self._stub, channel)
        self.auth = cast("auth_pb2_grpc.AuthServiceAsyncStub", stub(auth_pb2_grpc.AuthServiceStub))
        self.users = cast("user_pb2_grpc.UserServiceAsyncStub", stub(user_pb2_grpc.UserServiceStub))
        self.teams = cast("team_pb2_grpc.TeamServiceAsyncStub", stub(team_pb2_grpc.TeamServiceStub))
        self.catalog = cast("catalog_pb2_grpc.CatalogServiceAsyncStub", stub(catalog_pb2_grpc.CatalogServiceStub))
        self.environments = cast(
            "environment_pb2_grpc.EnvironmentServiceAsyncStub", stub(environment_pb2_grpc.EnvironmentServiceStub)
        )
        self.releases = cast("release_pb2_grpc.ReleaseServiceAsyncStub", stub(release_pb2_grpc.ReleaseServiceStub))
        self.deployments = cast(
            "deployment_pb2_grpc.DeploymentServiceAsyncStub", stub(deployment_pb2_grpc.DeploymentServiceStub)
        )
        self.stages = cast("stage_pb2_grpc.StageServiceAsyncStub", stub(stage_pb2_grpc.StageServiceStub))
        self.logs = cast("log_pb2_grpc.DeploymentLogServiceAsyncStub", stub(log_pb2_grpc.DeploymentLogServiceStub))
        self.system = cast("system_pb2_grpc.SystemServiceAsyncStub", stub(system_pb2_grpc.SystemServiceStub))
        self.approvals = cast("approval_pb2_grpc.ApprovalServiceAsyncStub", stub(approval_pb2_grpc.ApprovalServiceStub))
        self.policies = cast(
            "policy_pb2_grpc.DeployPolicyServiceAsyncStub", stub(policy_pb2_grpc.DeployPolicyServiceStub)
        )
        self.rollbacks = cast("rollback_pb2_grpc.RollbackServiceAsyncStub", stub(rollback_pb2_grpc.RollbackServiceStub))
        self.runbooks = cast("runbook_pb2_grpc.RunbookServiceAsyncStub", stub(runbook_pb2_grpc.RunbookServiceStub))
        self.incidents = cast("incident_pb2_grpc.IncidentServiceAsyncStub", stub(incident_pb2_grpc.IncidentServiceStub))
        self.analytics = cast(
            "analytics_pb2_grpc.AnalyticsServiceAsyncStub", stub(analytics_pb2_grpc.AnalyticsServiceStub)
        )
        self.audit = cast("audit_pb2_grpc.AuditLogServiceAsyncStub", stub(audit_pb2_grpc.AuditLogServiceStub))

    def _stub(self, channel: grpc.aio.Channel, kind: Any) -> _Proxy:
        return _Proxy(lambda: kind(channel), self.metadata)


class RunningServer:
    """A server in this process, over a real socket, with ways to call it as anyone.

    Attributes:
        app: The server.
        address: host:port.
        nobody: Calls without a token.
        admin: Calls as an admin.
    """

    def __init__(self, app: App, address: str, channel: grpc.aio.Channel) -> None:
        self.app = app
        self.address = address
        self.channel = channel
        self.nobody = Caller(channel)

    async def prepare(self) -> None:
        """Make the admin."""
        self.admin = await self.user("root-admin", is_admin=True)

    async def user(self, username: str | None = None, *, is_admin: bool = False, is_auditor: bool = False) -> Caller:
        """Make a user without a password, and return them as a caller."""
        name = username or unique("user")
        user_id = await self.app.db.write(_add_user, name, is_admin, is_auditor)
        return self.caller(Identity(user_id, name, 1, self.app.clock.now() + ACCESS_TTL, is_admin, is_auditor))

    def caller(self, identity: Identity) -> Caller:
        """Return someone who calls with a token for this identity."""
        token = self.app.signer.issue(identity, self.app.clock.now())
        return Caller(self.channel, token.text, identity.username, identity.user_id)


def _add_user(tx: Transaction, name: str, is_admin: bool, is_auditor: bool) -> UUID:
    user = User(
        email=f"{name}@example.com",
        username=name,
        full_name="",
        password_hash=None,
        is_active=True,
        is_admin=is_admin,
        is_auditor=is_auditor,
        token_version=1,
    )
    tx.add(user)
    tx.audit("user.create", user)
    return user.id


async def make_team(caller: Caller, **fields: Any) -> team_pb2.Team:
    """Create a team."""
    fields.setdefault("name", unique("team"))
    return await caller.teams.CreateTeam(team_pb2.CreateTeamRequest(**fields))


async def make_service(caller: Caller, **fields: Any) -> catalog_pb2.Service:
    """Create a service."""
    fields.setdefault("name", unique("service"))
    return await caller.catalog.CreateService(catalog_pb2.CreateServiceRequest(**fields))


async def make_environment(caller: Caller, **fields: Any) -> environment_pb2.Environment:
    """Create an environment, for development unless said otherwise."""
    fields.setdefault("name", unique("environment"))
    fields.setdefault("environment_type", environment_pb2.ENVIRONMENT_TYPE_DEVELOPMENT)
    return await caller.environments.CreateEnvironment(environment_pb2.CreateEnvironmentRequest(**fields))


async def make_policy(caller: Caller, **fields: Any) -> policy_pb2.DeployPolicy:
    """Create a deploy policy, without windows unless said otherwise."""
    fields.setdefault("name", unique("policy"))
    return await caller.policies.CreateDeployPolicy(policy_pb2.CreateDeployPolicyRequest(**fields))


async def make_release(caller: Caller, *, publish: bool = True, **fields: Any) -> release_pb2.Release:
    """Create a release, published unless said otherwise, of a new service unless one is named."""
    if "service" not in fields:
        fields["service"] = (await make_service(caller)).name
    fields.setdefault("version", f"1.0.{next(_numbers)}")
    release = await caller.releases.CreateRelease(release_pb2.CreateReleaseRequest(**fields))
    if publish:
        release = await caller.releases.PublishRelease(release_pb2.PublishReleaseRequest(release=release.id))
    return release


async def make_deployment(caller: Caller, admin: Caller, **fields: Any) -> deployment_pb2.Deployment:
    """Create a deployment, of a new release into a new environment unless they are named; `stages` may be names."""
    if "release" not in fields:
        fields["release"] = (await make_release(caller)).id
    if "environment" not in fields:
        fields["environment"] = (await make_environment(admin)).name
    fields["stages"] = [
        stage_pb2.StageSpec(name=stage) if isinstance(stage, str) else stage for stage in fields.get("stages", [])
    ]
    return await caller.deployments.CreateDeployment(deployment_pb2.CreateDeploymentRequest(**fields))


async def make_runbook(caller: Caller, **fields: Any) -> runbook_pb2.Runbook:
    """Write a runbook, about all services unless one is named."""
    fields.setdefault("title", unique("runbook"))
    return await caller.runbooks.CreateRunbook(runbook_pb2.CreateRunbookRequest(**fields))


class Refusal:
    """What a failed call says."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        status = Status()
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status.ParseFromString(cast("bytes", value))
        self.info = details.ErrorInfo()
        self.violations: dict[str, str] = {}
        self.conditions: list[tuple[str, str, str]] = []
        self.resource = details.ResourceInfo()
        self.retry = details.RetryInfo()
        for detail in status.details:
            detail.Unpack(self.info)
            detail.Unpack(self.resource)
            detail.Unpack(self.retry)
            bad, failure = details.BadRequest(), details.PreconditionFailure()
            if detail.Unpack(bad):
                self.violations = {item.field: item.description for item in bad.field_violations}
            if detail.Unpack(failure):
                self.conditions = [(item.type, item.subject, item.description) for item in failure.violations]

    @property
    def reason(self) -> str:
        """The ErrorReason, without its prefix."""
        return self.info.reason


async def refused(call: Any) -> Refusal:
    """Await a call (or read a stream to its end) that must fail, and return what it says."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return Refusal(error)
    raise AssertionError("the call was not refused")
