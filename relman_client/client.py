"""The synchronous client.

    with Client("127.0.0.1:50051", token=token) as client:
        release = client.releases.GetRelease(release_pb2.GetReleaseRequest(release="checkout@1.4.2"))

Calls carry the token, a deadline and a request_id, are repeated where that is safe, refresh an expired login, and
raise RelmanError.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from relman_client import channel as channels
from relman_client.calls import CallContext, WrappedChannel
from relman_client.channel import ClientOptions
from relman_client.credentials import Credentials, Login, StaticToken, Tokens, TokenStore
from relman_client.services import Service
from relman_client.v1 import auth_pb2

if TYPE_CHECKING:
    from relman_client.v1.analytics_pb2_grpc import AnalyticsServiceStub
    from relman_client.v1.approval_pb2_grpc import ApprovalServiceStub
    from relman_client.v1.audit_pb2_grpc import AuditLogServiceStub
    from relman_client.v1.auth_pb2_grpc import AuthServiceStub
    from relman_client.v1.catalog_pb2_grpc import CatalogServiceStub
    from relman_client.v1.deployment_pb2_grpc import DeploymentServiceStub
    from relman_client.v1.environment_pb2_grpc import EnvironmentServiceStub
    from relman_client.v1.incident_pb2_grpc import IncidentServiceStub
    from relman_client.v1.log_pb2_grpc import DeploymentLogServiceStub
    from relman_client.v1.policy_pb2_grpc import DeployPolicyServiceStub
    from relman_client.v1.release_pb2_grpc import ReleaseServiceStub
    from relman_client.v1.rollback_pb2_grpc import RollbackServiceStub
    from relman_client.v1.runbook_pb2_grpc import RunbookServiceStub
    from relman_client.v1.stage_pb2_grpc import StageServiceStub
    from relman_client.v1.system_pb2_grpc import SystemServiceStub
    from relman_client.v1.team_pb2_grpc import TeamServiceStub
    from relman_client.v1.user_pb2_grpc import UserServiceStub


class Client:
    """One connection to a server, usable from many threads."""

    auth: "Service[AuthServiceStub]" = Service("auth", "AuthService")
    users: "Service[UserServiceStub]" = Service("user", "UserService")
    teams: "Service[TeamServiceStub]" = Service("team", "TeamService")
    catalog: "Service[CatalogServiceStub]" = Service("catalog", "CatalogService")
    environments: "Service[EnvironmentServiceStub]" = Service("environment", "EnvironmentService")
    releases: "Service[ReleaseServiceStub]" = Service("release", "ReleaseService")
    deployments: "Service[DeploymentServiceStub]" = Service("deployment", "DeploymentService")
    stages: "Service[StageServiceStub]" = Service("stage", "StageService")
    logs: "Service[DeploymentLogServiceStub]" = Service("log", "DeploymentLogService")
    approvals: "Service[ApprovalServiceStub]" = Service("approval", "ApprovalService")
    policies: "Service[DeployPolicyServiceStub]" = Service("policy", "DeployPolicyService")
    rollbacks: "Service[RollbackServiceStub]" = Service("rollback", "RollbackService")
    runbooks: "Service[RunbookServiceStub]" = Service("runbook", "RunbookService")
    incidents: "Service[IncidentServiceStub]" = Service("incident", "IncidentService")
    analytics: "Service[AnalyticsServiceStub]" = Service("analytics", "AnalyticsService")
    audit: "Service[AuditLogServiceStub]" = Service("audit", "AuditLogService")
    system: "Service[SystemServiceStub]" = Service("system", "SystemService")

    def __init__(
        self,
        address: str,
        *,
        token: str = "",
        credentials: Credentials | None = None,
        options: ClientOptions | None = None,
    ) -> None:
        """Prepare a connection; it is made with the first call.

        Args:
            address: `host:port`, `[ipv6]:port` or `unix:path`; the port defaults to 50051.
            token: An access token or API token, when there is no more to it.
            credentials: What else gives tokens: see `Login`.
            options: How to connect and call.

        Raises:
            ValueError: The address is none.
        """
        self.address = address
        self.options = options or ClientOptions()
        self.credentials = StaticToken(token) if token and credentials is None else credentials
        target, arguments = channels.target_of(address), channels.channel_arguments(self.options)
        if channels.uses_plaintext(address, self.options):
            self._channel = grpc.insecure_channel(target, arguments)
        else:
            self._channel = grpc.secure_channel(target, channels.tls_credentials(self.options), arguments)
        context = CallContext(address, lambda: self.credentials, self.options, self._exchange)
        self.channel = WrappedChannel(self._channel, context)

    def login(self, login: str, password: str, *, store: TokenStore | None = None) -> Login:
        """Log in with an email or a username; later calls are made as that user.

        Args:
            login: Email or username.
            password: The password.
            store: Kept up to date with the newest tokens.
        """
        answer = self.auth.Login(auth_pb2.LoginRequest(login=login, password=password))
        tokens = Tokens(answer.access_token, answer.refresh_token)
        if store:
            with store.lock():
                store.save(tokens)
        self.credentials = Login(tokens, store)
        return self.credentials

    def close(self) -> None:
        """Close the connection; open calls end."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, refresh_token: str) -> Tokens:
        answer = self.auth.RefreshToken(auth_pb2.RefreshTokenRequest(refresh_token=refresh_token))
        return Tokens(answer.access_token, answer.refresh_token)
