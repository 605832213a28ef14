"""The asyncio client itself."""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc.aio

from relman_client import channel as channels
from relman_client.aio.calls import WrappedChannel
from relman_client.calls import CallContext
from relman_client.channel import ClientOptions
from relman_client.credentials import Credentials, Login, StaticToken, Tokens, TokenStore
from relman_client.services import Service
from relman_client.v1 import auth_pb2

if TYPE_CHECKING:
    from relman_client.v1.analytics_pb2_grpc import AnalyticsServiceAsyncStub
    from relman_client.v1.approval_pb2_grpc import ApprovalServiceAsyncStub
    from relman_client.v1.audit_pb2_grpc import AuditLogServiceAsyncStub
    from relman_client.v1.auth_pb2_grpc import AuthServiceAsyncStub
    from relman_client.v1.catalog_pb2_grpc import CatalogServiceAsyncStub
    from relman_client.v1.deployment_pb2_grpc import DeploymentServiceAsyncStub
    from relman_client.v1.environment_pb2_grpc import EnvironmentServiceAsyncStub
    from relman_client.v1.incident_pb2_grpc import IncidentServiceAsyncStub
    from relman_client.v1.log_pb2_grpc import DeploymentLogServiceAsyncStub
    from relman_client.v1.policy_pb2_grpc import DeployPolicyServiceAsyncStub
    from relman_client.v1.release_pb2_grpc import ReleaseServiceAsyncStub
    from relman_client.v1.rollback_pb2_grpc import RollbackServiceAsyncStub
    from relman_client.v1.runbook_pb2_grpc import RunbookServiceAsyncStub
    from relman_client.v1.stage_pb2_grpc import StageServiceAsyncStub
    from relman_client.v1.system_pb2_grpc import SystemServiceAsyncStub
    from relman_client.v1.team_pb2_grpc import TeamServiceAsyncStub
    from relman_client.v1.user_pb2_grpc import UserServiceAsyncStub


class Client:
    """One connection to a server, for one event loop."""

    auth: "Service[AuthServiceAsyncStub]" = Service("auth", "AuthService")
    users: "Service[UserServiceAsyncStub]" = Service("user", "UserService")
    teams: "Service[TeamServiceAsyncStub]" = Service("team", "TeamService")
    catalog: "Service[CatalogServiceAsyncStub]" = Service("catalog", "CatalogService")
    environments: "Service[EnvironmentServiceAsyncStub]" = Service("environment", "EnvironmentService")
    releases: "Service[ReleaseServiceAsyncStub]" = Service("release", "ReleaseService")
    deployments: "Service[DeploymentServiceAsyncStub]" = Service("deployment", "DeploymentService")
    stages: "Service[StageServiceAsyncStub]" = Service("stage", "StageService")
    logs: "Service[DeploymentLogServiceAsyncStub]" = Service("log", "DeploymentLogService")
    approvals: "Service[ApprovalServiceAsyncStub]" = Service("approval", "ApprovalService")
    policies: "Service[DeployPolicyServiceAsyncStub]" = Service("policy", "DeployPolicyService")
    rollbacks: "Service[RollbackServiceAsyncStub]" = Service("rollback", "RollbackService")
    runbooks: "Service[RunbookServiceAsyncStub]" = Service("runbook", "RunbookService")
    incidents: "Service[IncidentServiceAsyncStub]" = Service("incident", "IncidentService")
    analytics: "Service[AnalyticsServiceAsyncStub]" = Service("analytics", "AnalyticsService")
    audit: "Service[AuditLogServiceAsyncStub]" = Service("audit", "AuditLogService")
    system: "Service[SystemServiceAsyncStub]" = Service("system", "SystemService")

    def __init__(
        self,
        address: str,
        *,
        token: str = "",
        credentials: Credentials | None = None,
        options: ClientOptions | None = None,
    ) -> None:
        """Prepare a connection, with the same arguments as the synchronous client; within the event loop to use."""
        self._loop = asyncio.get_running_loop()
        self.address = address
        self.options = options or ClientOptions()
        self.credentials = StaticToken(token) if token and credentials is None else credentials
        target, arguments = channels.target_of(address), channels.channel_arguments(self.options)
        if channels.uses_plaintext(address, self.options):
            self._channel = grpc.aio.insecure_channel(target, arguments)
        else:
            self._channel = grpc.aio.secure_channel(target, channels.tls_credentials(self.options), arguments)
        context = CallContext(address, lambda: self.credentials, self.options, self._exchange)
        self.channel = WrappedChannel(self._channel, context)

    async def login(self, login: str, password: str, *, store: TokenStore | None = None) -> Login:
        """Log in with an email or a username; later calls are made as that user."""
        answer = await self.auth.Login(auth_pb2.LoginRequest(login=login, password=password))
        tokens = Tokens(answer.access_token, answer.refresh_token)
        if store:
            await asyncio.to_thread(_save, store, tokens)
        self.credentials = Login(tokens, store)
        return self.credentials

    async def close(self) -> None:
        """Close the connection; open calls end."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _exchange(self, refresh_token: str) -> Tokens:
        """Exchange within the event loop; called by a thread that holds the credentials' locks."""
        return asyncio.run_coroutine_threadsafe(self._refresh(refresh_token), self._loop).result()

    async def _refresh(self, refresh_token: str) -> Tokens:
        answer = await self.auth.RefreshToken(auth_pb2.RefreshTokenRequest(refresh_token=refresh_token))
        return Tokens(answer.access_token, answer.refresh_token)


def _save(store: TokenStore, tokens: Tokens) -> None:
    with store.lock():
        store.save(tokens)
