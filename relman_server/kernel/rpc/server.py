"""The gRPC server: its options, its interceptors in order, its services, and how it stops."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from relman_server.kernel.errors import Unavailable
from relman_server.kernel.rpc import descriptors
from relman_server.kernel.rpc.chain import Chain, Interceptor
from relman_server.kernel.rpc.health import Health
from relman_server.kernel.streams.lifetime import Lifetimes

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024 * 1024
SHUTDOWN_GRACE = 8.0
LAST_CALLS = 60.0
"""Seconds for which a connection that has been closed for new calls still waits for those that run."""

OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A page of releases with long notes is larger than what is taken; clients set how much they take.
    ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
    # 2,000 streams opened at once lost 79 at the default of 1,000.
    ("grpc.server.max_pending_requests", 10_000),
    # A frozen follower is noticed by pings that it does not answer; without the ping timeout after a minute only.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients may ping as often as every 5 s, also between calls.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]


@dataclass(frozen=True)
class Tls:
    """Certificate chain and private key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Connections:
    """How connections are taken, and how long they last.

    Attributes:
        age: Seconds after which a client is asked to connect anew, a tenth more or less. No stream may last longer:
            those of the old connection have ended then, with their cursors, before it is closed.
        shared_port: Other processes serve on the same port.
    """

    age: float
    shared_port: bool = False

    def options(self) -> list[tuple[str, int]]:
        """Return the options of a gRPC server."""
        return [
            # Or a second server would share the port, and take half of the first one's calls, instead of being refused.
            ("grpc.so_reuseport", int(self.shared_port)),
            ("grpc.max_connection_age_ms", int(self.age * 1000)),
            ("grpc.max_connection_age_grace_ms", int((self.age + LAST_CALLS) * 1000)),
        ]


@dataclass(frozen=True)
class Registration:
    """A servicer and how it is added to a server."""

    add: Any  # the generated add_XServicer_to_server; one type each
    servicer: Any  # the XServicer of the same name
    descriptor: ServiceDescriptor


class RpcServer:
    """A grpc.aio server with every service behind the same chain.

    Args:
        registrations: The services of the contract. Refuses to be made when an RPC has no policy.
        interceptors: The chain, outermost first.
        health: Answers grpc.health.v1.
        lifetimes: The streams that are open.
        with_reflection: Serve reflection, for grpcurl and buf curl.
        with_channelz: Serve channelz, for debugging connections.
        connections: How they are taken, and how long they last.
    """

    def __init__(
        self,
        registrations: Sequence[Registration],
        interceptors: Sequence[Interceptor],
        health: Health,
        lifetimes: Lifetimes,
        *,
        with_reflection: bool,
        with_channelz: bool,
        connections: Connections,
    ) -> None:
        policies = descriptors.policies([registration.descriptor for registration in registrations])
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_departure)
        self._health = health
        self._connections = connections
        self._lifetimes = lifetimes
        self._server = grpc.aio.server(
            interceptors=[Chain(interceptors, policies)], options=[*OPTIONS, *connections.options()]
        )
        for registration in registrations:
            registration.add(registration.servicer, self._server)

        health_pb2_grpc.add_HealthServicer_to_server(health.servicer, self._server)
        if with_reflection:
            names = [registration.descriptor.full_name for registration in registrations]
            names += ["grpc.health.v1.Health", reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server)
        if with_channelz:
            channelz.add_channelz_servicer(self._server)

    def bind(self, address: str, tls: Tls | None) -> int:
        """Listen on `host:port` and return the port; raise OSError when that is not possible."""
        if not self._connections.shared_port:
            # Else whoever watches has tried; here it would take calls of the others, and drop them.
            _try(address)
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, _credentials(tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error

    async def start(self) -> None:
        """Take calls."""
        await self._server.start()

    async def stop(self) -> None:
        """Say NOT_SERVING, end streams with their cursors, let running calls finish, then stop."""
        await self._health.shut_down()
        self._lifetimes.end_all(
            Unavailable(
                "The server is shutting down; connect again and resume.",
                reason="SHUTTING_DOWN",
                retry_after=timedelta(seconds=1),
            )
        )
        await asyncio.sleep(0)
        await self._server.stop(SHUTDOWN_GRACE)


def _is_no_departure(record: logging.LogRecord) -> bool:
    """Keep from the log what gRPC calls an error, with a traceback: that a caller left while the answer went out."""
    return not str(record.msg).startswith("ExecuteBatchError raised in core")


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """Read the certificate and the key. gRPC says nothing of why it takes none, so Python's own TLS looks first."""
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tls.certificate, tls.key)
    except ssl.SSLError as error:
        raise OSError(f"{tls.certificate} and {tls.key} are not a certificate and its private key, in PEM") from error
    return grpc.ssl_server_credentials([pair])


def _try(address: str) -> None:
    """Listen for a moment, since gRPC does not say why it cannot, and writes lines of its own to standard error."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, _, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen()
    except OSError as error:
        raise OSError(f"cannot listen on {address}: {error.strerror}") from error
