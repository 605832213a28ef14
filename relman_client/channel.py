"""Where a server is, and how the connection to it behaves."""

import ipaddress
import json
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import grpc

from relman_client.retries import RetryOptions

DEFAULT_PORT = 50051


@dataclass(frozen=True)
class ClientOptions:
    """How a client connects and calls."""

    timeout: float = 30.0
    """Seconds a call may take when it names no timeout of its own, repetitions included. Streams have none."""
    retries: RetryOptions = field(default_factory=RetryOptions)
    plaintext: bool | None = None
    """Talk without TLS. Unset: only to this machine itself. True sends tokens readable to the network."""
    root_certificates: bytes | None = None
    """PEM of the authorities to trust instead of the system's. Given, TLS is used on this machine, too."""
    keepalive: float = 20.0
    """Seconds between pings on a connection with open calls; one that does not answer within 10 is given up."""
    user_agent: str = ""
    """Named to the server before the library's own; seen in lists of sessions and in the audit log."""


def target_of(address: str) -> str:
    """What grpc is given: the port is added when the address has none.

    Accepts `host`, `host:port`, `[ipv6]:port`, `unix:path` and grpc's own `scheme:///...`.
    """
    if "://" in address or address.startswith("unix:"):
        return address
    host, port = _split(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: str) -> bool:
    """Whether the address can only be this machine."""
    if address.startswith("unix:"):
        return True
    host, _ = _split(address.rpartition("/")[2])
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def uses_plaintext(address: str, options: ClientOptions) -> bool:
    """Whether to connect without TLS: on loopback, or when told so in so many words."""
    if options.plaintext is not None:
        return options.plaintext
    return options.root_certificates is None and is_loopback(address)


def tls_credentials(options: ClientOptions) -> grpc.ChannelCredentials:
    """TLS with the given roots, else the system's."""
    return grpc.ssl_channel_credentials(options.root_certificates)


def channel_arguments(options: ClientOptions) -> list[tuple[str, Any]]:
    """Arguments of the channel, the same for both kinds of clients."""
    version = metadata.version("relman-client")
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    return [
        ("grpc.primary_user_agent", f"{options.user_agent} relman-client/{version}".strip()),
        ("grpc.service_config", json.dumps(config)),
        ("grpc.keepalive_time_ms", int(options.keepalive * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.max_receive_message_length", 64 * 1024 * 1024),  # a page of releases with long notes
    ]


def _split(address: str) -> tuple[str, int]:
    """Host and port; an address that is neither is refused before anything is sent."""
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        port = rest.removeprefix(":") if bracket else "?"
    elif address.count(":") > 1:
        host, port = address, ""
    else:
        host, _, port = address.partition(":")
    if not host or not (port == "" or (port.isascii() and port.isdigit() and int(port) < 65536)):
        raise ValueError(f"not an address of a server: {address!r} (host:port is expected)")
    return host, int(port or DEFAULT_PORT)
