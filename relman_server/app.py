"""The composition root: engine, bus, interceptors, services. Nothing else wires anything to anything."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import ModuleType

import structlog
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from relman_client.v1 import (
    analytics_pb2,
    analytics_pb2_grpc,
    approval_pb2,
    approval_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    catalog_pb2,
    catalog_pb2_grpc,
    deployment_pb2,
    deployment_pb2_grpc,
    environment_pb2,
    environment_pb2_grpc,
    incident_pb2,
    incident_pb2_grpc,
    log_pb2,
    log_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    release_pb2,
    release_pb2_grpc,
    rollback_pb2,
    rollback_pb2_grpc,
    runbook_pb2,
    runbook_pb2_grpc,
    stage_pb2,
    stage_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
    team_pb2,
    team_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from relman_server import __version__, duties
from relman_server.analytics import deliveries
from relman_server.analytics.service import AnalyticsService
from relman_server.approvals.service import ApprovalService
from relman_server.audit import sealing
from relman_server.audit.service import AuditLogService
from relman_server.audit.signing import load_signer
from relman_server.auth import store as auth_store
from relman_server.auth.keys import signing_key
from relman_server.auth.logic import Authentication
from relman_server.auth.service import AuthService
from relman_server.auth.tokens import Signer
from relman_server.auth.verifier import TokenVerifier
from relman_server.catalog import logic as catalog
from relman_server.catalog.service import CatalogService
from relman_server.deployments import approving, history, queue, running
from relman_server.deployments import store as deployment_store
from relman_server.deployments.feed import TOPIC, FeedHub
from relman_server.deployments.service import DeploymentService, StageService
from relman_server.deployments.watch import WatchHub
from relman_server.environments import logic as environments
from relman_server.environments.service import EnvironmentService
from relman_server.incidents import blame
from relman_server.incidents import store as incident_store
from relman_server.incidents.service import IncidentService
from relman_server.kernel import holdings
from relman_server.kernel.clock import Clock, SystemClock
from relman_server.kernel.db import Database, Transaction, idempotency, schema
from relman_server.kernel.db.denials import Denials
from relman_server.kernel.errors import RelmanError
from relman_server.kernel.events import Events
from relman_server.kernel.reconciler import Reconciler
from relman_server.kernel.rpc.access_log import AccessLog
from relman_server.kernel.rpc.authenticate import Authenticate, Verifier
from relman_server.kernel.rpc.authorize import Authorize
from relman_server.kernel.rpc.chain import Interceptor
from relman_server.kernel.rpc.deadline import Deadline
from relman_server.kernel.rpc.errors import Errors
from relman_server.kernel.rpc.health import Health
from relman_server.kernel.rpc.metrics import Metrics
from relman_server.kernel.rpc.refusals import Refusals
from relman_server.kernel.rpc.request_id import RequestId
from relman_server.kernel.rpc.server import MAX_MESSAGE_BYTES, Connections, Registration, RpcServer, Tls
from relman_server.kernel.rpc.validate import Validate
from relman_server.kernel.streams.bus import LocalBus
from relman_server.kernel.streams.lifetime import Lifetimes, Limits
from relman_server.kernel.streams.postgres import PostgresTransport
from relman_server.kernel.streams.redis import Redis, RedisTransport
from relman_server.kernel.streams.remote import RemoteBus
from relman_server.kernel.workers import Workers
from relman_server.logs import feed as log_feed
from relman_server.logs import logic as logs
from relman_server.logs import retention
from relman_server.logs.group import GroupCommit
from relman_server.logs.service import LogService
from relman_server.policies import logic as policies
from relman_server.policies.service import DeployPolicyService
from relman_server.releases import logic as releases
from relman_server.releases.service import ReleaseService
from relman_server.rollbacks import logic as rollbacks
from relman_server.rollbacks.service import RollbackService
from relman_server.runbooks.service import RunbookService
from relman_server.settings import Settings
from relman_server.system.convert import Server
from relman_server.system.service import SystemService
from relman_server.teams import logic as teams
from relman_server.teams.service import TeamService
from relman_server.users import logic as users
from relman_server.users import store as user_store
from relman_server.users.service import UserService

log = structlog.get_logger(__name__)

REVOCATIONS_EVERY = 2.0
HOUSEKEEPING_EVERY = 3600.0
# Passwords are hashed two at a time (64 MiB each); who comes after so many others is told to come again.
HASHERS = 2
MAX_HASHES_WAITING = 200


class App:
    """A server that is ready to be started: `async with App(settings).serving() as address`."""

    def __init__(self, settings: Settings, clock: Clock | None = None, *, shares_port: bool = False) -> None:
        self.settings = settings
        self._shares_port = shares_port
        self.clock = clock or SystemClock()
        self.registry = CollectorRegistry()
        self.lifetimes = Lifetimes(
            Limits(settings.max_streams, settings.max_streams_per_user, settings.connection_age.total_seconds())
        )
        self.events = Events()
        self.db = Database(
            settings.url, clock=self.clock, events=self.events, connections=settings.database_connections
        )
        self.hashers = Workers("hash", HASHERS, waiting=MAX_HASHES_WAITING)
        self._key = signing_key(settings.data_dir)
        self.signer = Signer(self._key)
        self.verifier = TokenVerifier(self.signer, self.clock)
        self.bus = self._bus()
        self.feed_hub = FeedHub(self.db, self.bus)
        self.watch_hub = WatchHub(self.db, self.bus)
        self.log_hub = log_feed.LogHub(self.db, self.bus)
        self.group_commit = GroupCommit(self.db, settings.log_quota_bytes)
        self.redis = Redis(settings.redis_url.get_secret_value()) if settings.redis_url else None
        self._subscribe()
        self.block_signer = load_signer(settings.audit_key) if settings.audit_key else None
        self.reconciler = Reconciler(self.db, self.clock, duties.of(self.block_signer, settings.log_retention))

    @asynccontextmanager
    async def serving(self, prepare: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[str]:
        """Serve while the block runs; yields the address.

        Args:
            prepare: What to do before the first call, when nothing else can keep the server from starting.

        Raises SchemaMismatch, OSError when the address is taken, and Unavailable without a database.
        """
        schema.require_newest(self.db.writes)
        await self.verifier.load(self.db)
        services = self._services()
        denials = Denials(self.clock)
        health = Health(
            [service.descriptor.full_name for service in services],
            {"database": self.db.ping},
            {"redis": self.redis.ping} if self.redis else {},
        )
        rpc = RpcServer(
            services,
            interceptors(self.registry, denials, self.verifier, self.lifetimes, self.clock, self._key),
            health,
            self.lifetimes,
            with_reflection=self.settings.reflection_on,
            with_channelz=self.settings.on_loopback,
            connections=Connections(self.settings.connection_age.total_seconds(), self._shares_port),
        )
        address = self._bind(rpc)
        await health.look()
        holdings.observe(self.registry, self.lifetimes, self.db)
        metrics = self._serve_metrics()
        if prepare is not None:
            await prepare()
        await rpc.start()
        tasks = [
            asyncio.create_task(work)
            for work in (
                health.keep_looking(),
                self.lifetimes.sweep(),
                denials.keep_writing(self.db),
                self.feed_hub.keep_looking(),
                self.watch_hub.keep_looking(),
                self.log_hub.keep_looking(),
                self.group_commit.keep_committing(),
                self.reconciler.keep_ticking(),
                *([self.bus.keep_connected()] if isinstance(self.bus, RemoteBus) else []),
                self._reload(),
                self._keep_house(),
            )
        ]
        try:
            yield address
        finally:
            await rpc.stop()
            metrics()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await denials.write(self.db, ending=True)
            if self.redis:
                await self.redis.close()

    def _bus(self) -> LocalBus:
        """Return what wakes followers: between processes by Redis where there is one, else by PostgreSQL."""
        settings = self.settings
        connected = Gauge("relman_bus_connected", "Whether wake-ups go to other processes.", registry=self.registry)
        if settings.redis_url:
            return RemoteBus(RedisTransport(settings.redis_url.get_secret_value()), connected.set)
        if settings.is_embedded:
            return LocalBus()
        direct = settings.listen_database_url
        url = direct.get_secret_value() if direct else settings.url
        return RemoteBus(PostgresTransport(url), connected.set)

    def close(self) -> None:
        """Close the database; afterwards the app is of no use."""
        self.hashers.close()
        self.db.close()

    def _bind(self, rpc: RpcServer) -> str:
        settings = self.settings
        tls = Tls(settings.tls_certificate, settings.tls_key) if settings.tls_certificate and settings.tls_key else None
        port = rpc.bind(settings.listen, tls)
        return f"{settings.listen.rpartition(':')[0]}:{port}"

    def _serve_metrics(self) -> Callable[[], None]:
        """Serve Prometheus, where that is wanted; return what ends it."""
        if self.settings.metrics_listen is None:
            return lambda: None
        host, _, port = self.settings.metrics_listen.rpartition(":")
        server, _ = start_http_server(int(port), host.strip("[]"), self.registry)
        return server.shutdown

    def _services(self) -> list[Registration]:
        server = Server(
            version=__version__,
            database_engine=self.db.engine,
            schema_revision=schema.newest(),
            started_at=self.clock.now(),
            registration_open=self.settings.registration_open,
            max_message_bytes=MAX_MESSAGE_BYTES,
        )
        authentication = Authentication(self.signer, self.settings.registration_open)
        # The RPCs that are missing are of the generated base: they answer UNIMPLEMENTED.
        auth = AuthService(self.db, authentication, self.hashers)  # type: ignore[abstract]
        undoer = RollbackService(self.db)
        deployments = DeploymentService(self.db, self.watch_hub, self.feed_hub, undoer)
        log_service = LogService(self.db, self.log_hub, self.clock, self.group_commit, self.settings.log_quota_bytes)
        return [
            _registration(auth_pb2, auth_pb2_grpc, "AuthService", auth),
            _registration(user_pb2, user_pb2_grpc, "UserService", UserService(self.db, self.hashers)),
            _registration(team_pb2, team_pb2_grpc, "TeamService", TeamService(self.db)),
            _registration(catalog_pb2, catalog_pb2_grpc, "CatalogService", CatalogService(self.db, SERVICE_HEALTH)),
            _registration(
                environment_pb2,
                environment_pb2_grpc,
                "EnvironmentService",
                EnvironmentService(self.db, running.environment_status),
            ),
            _registration(policy_pb2, policy_pb2_grpc, "DeployPolicyService", DeployPolicyService(self.db)),
            _registration(
                release_pb2,
                release_pb2_grpc,
                "ReleaseService",
                ReleaseService(self.db, deployments, deployment_store.deployments_of),
            ),
            _registration(deployment_pb2, deployment_pb2_grpc, "DeploymentService", deployments),
            _registration(stage_pb2, stage_pb2_grpc, "StageService", StageService(self.db)),
            _registration(approval_pb2, approval_pb2_grpc, "ApprovalService", ApprovalService(self.db, approving)),
            _registration(rollback_pb2, rollback_pb2_grpc, "RollbackService", undoer),
            _registration(log_pb2, log_pb2_grpc, "DeploymentLogService", log_service),
            _registration(runbook_pb2, runbook_pb2_grpc, "RunbookService", RunbookService(self.db)),
            _registration(incident_pb2, incident_pb2_grpc, "IncidentService", IncidentService(self.db)),
            _registration(analytics_pb2, analytics_pb2_grpc, "AnalyticsService", AnalyticsService(self.db)),
            _registration(
                system_pb2, system_pb2_grpc, "SystemService", SystemService(server, self.db, self.clock, self.redis)
            ),
            _registration(
                audit_pb2,
                audit_pb2_grpc,
                "AuditLogService",
                AuditLogService(self.db, user_store.get_user, self.block_signer),
            ),
        ]

    def _subscribe(self) -> None:
        """Wire what a change below means for the resources above it."""
        self.events.subscribe(users.CredentialsChanged, self._credentials_changed)
        self.events.subscribe(teams.TeamDeleted, environments.keep_approvers)
        self.events.subscribe(teams.TeamChanged, approving.people_changed)
        self.events.subscribe(users.RightsChanged, approving.people_changed)
        self.events.subscribe(releases.ReleaseChanged, queue.release_changed)
        self.events.subscribe(catalog.ServiceChanged, queue.service_changed)
        self.events.subscribe(environments.EnvironmentChanged, approving.environment_changed)
        self.events.subscribe(environments.EnvironmentChanged, queue.environment_changed)
        self.events.subscribe(policies.PoliciesChanged, queue.policies_changed)
        self.events.subscribe(history.DeploymentChanged, self._deployment_changed)
        self.events.subscribe(history.DeploymentMoved, rollbacks.deployment_moved)
        self.events.subscribe(history.DeploymentMoved, retention.deployment_moved)
        self.events.subscribe(history.DeploymentMoved, blame.deployment_moved)
        self.events.subscribe(history.DeploymentMoved, deliveries.deployment_moved)
        self.events.subscribe(history.DeploymentDeleted, blame.deployment_deleted)
        self.events.subscribe(history.DeploymentDeleted, deliveries.deployment_deleted)
        self.events.subscribe(logs.LogGrew, self._log_grew)

    def _deployment_changed(self, tx: Transaction, changed: history.DeploymentChanged) -> None:
        def wake() -> None:
            self.bus.publish(history.topic(changed.deployment_id))
            self.bus.publish(TOPIC)

        tx.after_commit(wake)

    def _log_grew(self, tx: Transaction, grew: logs.LogGrew) -> None:
        def pass_on() -> None:
            self.log_hub.hand_over(grew.deployment_id, grew.position, grew.payloads)
            self.bus.publish(log_feed.topic(grew.deployment_id), here=False)

        tx.after_commit(pass_on)

    def _credentials_changed(self, tx: Transaction, changed: users.CredentialsChanged) -> None:
        tx.after_commit(lambda: self.verifier.ended(changed.user_id, changed.token_version))

    async def _reload(self) -> None:
        """Learn of credentials that other processes changed; an embedded database has no other process."""
        while self.db.engine != "sqlite":
            await asyncio.sleep(REVOCATIONS_EVERY)
            await _unfailing(self.verifier.load(self.db))

    async def _keep_house(self) -> None:
        """Remove what is kept for a limited time only; a new key signs the audit log as it is."""
        if self.block_signer is not None:
            await _unfailing(self.db.write(sealing.sign_newest, self.block_signer))
        while True:
            await _unfailing(self.db.write(idempotency.forget))
            await _unfailing(self.db.write(auth_store.forget_sessions))
            await asyncio.sleep(HOUSEKEEPING_EVERY)


SERVICE_HEALTH = partial(running.service_health, open_incidents=incident_store.open_by_environment)


async def _unfailing(work: Awaitable[None]) -> None:
    """Await work that is done again later: whatever is wrong this time must not be the end of it."""
    try:
        await work
    except RelmanError:
        return  # the log has it already
    except Exception:
        log.exception("background work failed")


def _registration(messages: ModuleType, stubs: ModuleType, name: str, servicer: object) -> Registration:
    """Return how a service of the contract is added to the server."""
    return Registration(
        getattr(stubs, f"add_{name}Servicer_to_server"),
        servicer,
        messages.DESCRIPTOR.services_by_name[name],
    )


def interceptors(
    registry: CollectorRegistry, denials: Denials, verifier: Verifier, lifetimes: Lifetimes, clock: Clock, key: bytes
) -> list[Interceptor]:
    """Return the way of a request, outermost first."""
    return [
        RequestId(),
        AccessLog(),
        Metrics(registry),
        Errors(),
        Refusals(denials),
        Deadline(),
        Authenticate(verifier, lifetimes, clock.now),
        Authorize(),
        Validate(key),
    ]
