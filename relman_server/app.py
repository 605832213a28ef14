"""The composition root: engine, bus, interceptors, services. Nothing else wires anything to anything."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from relman_client.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from relman_server import __version__
from relman_server.auth import store as auth_store
from relman_server.auth.logic import Authentication
from relman_server.auth.service import AuthService
from relman_server.auth.tokens import Signer
from relman_server.auth.verifier import TokenVerifier
from relman_server.kernel.clock import Clock, SystemClock
from relman_server.kernel.db import Database, Transaction, idempotency, schema
from relman_server.kernel.errors import RelmanError
from relman_server.kernel.events import Events
from relman_server.kernel.rpc.access_log import AccessLog
from relman_server.kernel.rpc.authenticate import Authenticate, Verifier
from relman_server.kernel.rpc.authorize import Authorize
from relman_server.kernel.rpc.chain import Interceptor
from relman_server.kernel.rpc.deadline import Deadline
from relman_server.kernel.rpc.errors import Errors
from relman_server.kernel.rpc.health import Health
from relman_server.kernel.rpc.metrics import Metrics
from relman_server.kernel.rpc.request_id import RequestId
from relman_server.kernel.rpc.server import MAX_MESSAGE_BYTES, Registration, RpcServer, Tls
from relman_server.kernel.rpc.validate import Validate
from relman_server.kernel.streams.lifetime import Lifetimes
from relman_server.settings import Settings
from relman_server.system.convert import Server
from relman_server.system.service import SystemService
from relman_server.users import logic as users
from relman_server.users.service import UserService

log = structlog.get_logger(__name__)

REVOCATIONS_EVERY = 2.0
HOUSEKEEPING_EVERY = 3600.0


class App:
    """A server that is ready to be started: `async with App(settings).serving() as address`."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.registry = CollectorRegistry()
        self.lifetimes = Lifetimes()
        self.events = Events()
        self.db = Database(
            settings.url, clock=self.clock, events=self.events, connections=settings.database_connections
        )
        self._key = signing_key(settings.data_dir)
        self.signer = Signer(self._key)
        self.verifier = TokenVerifier(self.signer, self.clock)
        self.events.subscribe(users.CredentialsChanged, self._credentials_changed)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve while the block runs; yields the address.

        Raises SchemaMismatch, OSError when the address is taken, and Unavailable without a database.
        """
        schema.require_newest(self.db.writes)
        await self.verifier.load(self.db)
        services = self._services()
        health = Health(
            [service.descriptor.full_name for service in services],
            {"database": self.db.ping},
        )
        rpc = RpcServer(
            services,
            interceptors(self.registry, self.verifier, self.lifetimes, self.clock, self._key),
            health,
            self.lifetimes,
            with_reflection=self.settings.reflection_on,
            with_channelz=self.settings.on_loopback,
        )
        address = self._bind(rpc)
        await health.look()
        await rpc.start()
        tasks = [
            asyncio.create_task(work)
            for work in (health.keep_looking(), self.lifetimes.sweep(), self._reload(), self._keep_house())
        ]
        try:
            yield address
        finally:
            await rpc.stop()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def close(self) -> None:
        """Close the database; afterwards the app is of no use."""
        self.db.close()

    def _bind(self, rpc: RpcServer) -> str:
        settings = self.settings
        tls = Tls(settings.tls_certificate, settings.tls_key) if settings.tls_certificate and settings.tls_key else None
        port = rpc.bind(settings.listen, tls)
        return f"{settings.listen.rpartition(':')[0]}:{port}"

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
        return [
            Registration(
                auth_pb2_grpc.add_AuthServiceServicer_to_server,
                AuthService(self.db, authentication),
                auth_pb2.DESCRIPTOR.services_by_name["AuthService"],
            ),
            Registration(
                user_pb2_grpc.add_UserServiceServicer_to_server,
                UserService(self.db),
                user_pb2.DESCRIPTOR.services_by_name["UserService"],
            ),
            Registration(
                system_pb2_grpc.add_SystemServiceServicer_to_server,
                SystemService(server, self.db, self.clock),
                system_pb2.DESCRIPTOR.services_by_name["SystemService"],
            ),
        ]

    def _credentials_changed(self, tx: Transaction, changed: users.CredentialsChanged) -> None:
        tx.after_commit(lambda: self.verifier.ended(changed.user_id, changed.token_version))

    async def _reload(self) -> None:
        """Learn of credentials that other processes changed; an embedded database has no other process."""
        while self.db.engine != "sqlite":
            await asyncio.sleep(REVOCATIONS_EVERY)
            with suppress(RelmanError):
                await self.verifier.load(self.db)

    async def _keep_house(self) -> None:
        """Remove what is kept for a limited time only."""
        while True:
            with suppress(RelmanError):
                await self.db.write(idempotency.forget)
                await self.db.write(auth_store.forget_sessions)
            await asyncio.sleep(HOUSEKEEPING_EVERY)


def interceptors(
    registry: CollectorRegistry, verifier: Verifier, lifetimes: Lifetimes, clock: Clock, key: bytes
) -> list[Interceptor]:
    """Return the way of a request, outermost first."""
    return [
        RequestId(),
        AccessLog(),
        Metrics(registry),
        Errors(),
        Deadline(),
        Authenticate(verifier, lifetimes, clock.now),
        Authorize(),
        Validate(key),
    ]


def signing_key(data_dir: Path) -> bytes:
    """Return the server's secret key, made at the first start; readable by its owner only."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = data_dir / "signing.key"
    with suppress(FileExistsError):
        # Written whole before it has its name: a server that starts at the same time never reads half a key.
        fresh = data_dir / f".signing.key.{secrets.token_hex(8)}"
        if not file.exists():
            fresh.touch(mode=0o600)
            fresh.write_bytes(secrets.token_bytes(32))
            try:
                file.hardlink_to(fresh)
            finally:
                fresh.unlink()
    key = file.read_bytes()
    if len(key) < 32:
        raise OSError(f"{file} is damaged: it must hold at least 32 bytes")
    return key
