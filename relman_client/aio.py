"""The asyncio client: the same as `relman_client.Client`, with `await`.

async with Client("127.0.0.1:50051", token=token) as client:
    release = await client.releases.GetRelease(release_pb2.GetReleaseRequest(release="checkout@1.4.2"))
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from relman_client import channel as channels
from relman_client.calls import Attempts, CallContext, Metadata, with_request_id, with_token
from relman_client.channel import ClientOptions
from relman_client.credentials import Credentials, Login, StaticToken, Tokens, TokenStore
from relman_client.errors import RelmanError, from_rpc_error
from relman_client.paging import aeach
from relman_client.resume import Breaks, Position, ResumeOptions, ended_early
from relman_client.services import Service
from relman_client.tail import TailEvent, TailPosition
from relman_client.v1 import auth_pb2
from relman_client.v1.deployment_pb2 import DeploymentEvent
from relman_client.v1.log_pb2 import TailLogsRequest
from relman_client.watch import WatchPosition

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

__all__ = ["Client", "aeach", "tail", "watch"]

Event = TypeVar("Event")


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


class UnaryCall:
    """Stands in for grpc's callable of a unary RPC."""

    def __init__(self, raw: Any, path: str, context: CallContext) -> None:  # Any: grpc's own class is abstract
        self._raw = raw
        self._path = path
        self._context = context

    async def __call__(
        self,
        request: Message,
        timeout: float | None = None,  # noqa: ASYNC109 - grpc's signature
        metadata: Metadata | None = None,
        **options: Any,
    ) -> Any:
        """Call and wait. Raises RelmanError."""
        request = with_request_id(self._path, request)
        attempts = Attempts(self._context, self._path, request, timeout)
        while True:
            token = self._context.token_for(self._path)
            sent = with_token(metadata, token)
            try:
                return await self._raw(request, timeout=attempts.remaining, metadata=sent, **options)
            except grpc.aio.AioRpcError as rpc_error:
                error = from_rpc_error(rpc_error, self._context.address)
                if attempts.may_refresh() and await asyncio.to_thread(self._context.refreshed, token, error):
                    continue
                delay = attempts.delay(error)
            await asyncio.sleep(delay)


class StreamCall:
    """Stands in for grpc's callable of an RPC that answers a stream."""

    def __init__(self, raw: Any, path: str, context: CallContext) -> None:  # Any: as above
        self._raw = raw
        self._path = path
        self._context = context

    async def __call__(
        self,
        request: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - grpc's signature
        metadata: Metadata | None = None,
    ) -> AsyncGenerator[Any, None]:
        """The answers; the request is a message, or an iterator of messages where the RPC takes a stream."""
        token = self._context.token_for(self._path)
        call = self._raw(request, timeout=timeout, metadata=with_token(metadata, token))
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as rpc_error:
            error = from_rpc_error(rpc_error, self._context.address)
            error.token_was_refreshed = await asyncio.to_thread(self._context.refreshed, token, error)
            raise error from rpc_error
        finally:
            call.cancel()


class WrappedChannel:
    """What the generated stubs are given: they ask it for one callable for each RPC."""

    def __init__(self, channel: grpc.aio.Channel, context: CallContext) -> None:
        self._channel = channel
        self._context = context

    def unary_unary(self, path: str, **how: Any) -> UnaryCall:
        """A callable for a unary RPC."""
        return UnaryCall(self._channel.unary_unary(path, **how), path, self._context)

    def unary_stream(self, path: str, **how: Any) -> StreamCall:
        """A callable for an RPC that answers a stream."""
        return StreamCall(self._channel.unary_stream(path, **how), path, self._context)

    def stream_stream(self, path: str, **how: Any) -> StreamCall:
        """A callable for an RPC that takes and answers streams."""
        return StreamCall(self._channel.stream_stream(path, **how), path, self._context)


async def tail(
    client: Client, request: TailLogsRequest, options: ResumeOptions | None = None
) -> AsyncGenerator[TailEvent, None]:
    """The lines of a log: entries, gaps and the end. It resumes after any break."""
    async for event in _follow(client.logs.TailLogs, TailPosition(request), client, options):
        yield event


async def watch(
    client: Client,
    deployment: str,
    *,
    after_revision: int | None = None,
    keep_open: bool = False,
    options: ResumeOptions | None = None,
) -> AsyncGenerator[DeploymentEvent, None]:
    """A deployment's state now, then every event after it. It resumes after any break."""
    position = WatchPosition(deployment, after_revision, keep_open=keep_open)
    async for event in _follow(client.deployments.WatchDeployment, position, client, options):
        yield event


async def _follow(
    call: Callable[[Any], Any], position: Position[Event], client: Client, options: ResumeOptions | None
) -> AsyncGenerator[Event, None]:
    """Events of a stream, each once, until it is complete."""
    breaks = Breaks(options or ResumeOptions(), client.options.retries)
    while True:
        try:
            async with aclosing(call(position.request())) as answers:
                async for answer in answers:
                    breaks.heard()
                    event = position.accept(answer)
                    if event is not None:
                        yield event
            if position.is_complete():
                return
            delay = breaks.delay(ended_early())
        except RelmanError as error:
            if position.is_over():
                return
            delay = breaks.delay(error)
        await asyncio.sleep(delay)


def _save(store: TokenStore, tokens: Tokens) -> None:
    with store.lock():
        store.save(tokens)
