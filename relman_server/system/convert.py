"""The server's state in the contract's terms."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from relman_client.v1 import common_pb2
from relman_client.v1 import system_pb2 as pb
from relman_server.kernel.rpc.writing import duration, timestamp


@dataclass(frozen=True)
class Component:
    """How one part of the server answered.

    Attributes:
        latency: How long it took; None when it was not asked.
        version: Its version; empty when not known.
        problem: What is wrong; empty when nothing is.
        configured: False for a part that this server does without.
    """

    latency: timedelta | None = None
    version: str = ""
    problem: str = ""
    configured: bool = True

    @property
    def status(self) -> common_pb2.HealthStatus.ValueType:
        """Where it stands."""
        if not self.configured:
            return common_pb2.HEALTH_STATUS_UNKNOWN
        return common_pb2.HEALTH_STATUS_FAILING if self.problem else common_pb2.HEALTH_STATUS_HEALTHY


def health(app: Component, database: Component, redis: Component, *, with_versions: bool) -> pb.ServerHealth:
    """Write the whole: failing as soon as one configured part is."""
    parts = (app, database, redis)
    failing = any(part.status == common_pb2.HEALTH_STATUS_FAILING for part in parts)
    return pb.ServerHealth(
        status=common_pb2.HEALTH_STATUS_FAILING if failing else common_pb2.HEALTH_STATUS_HEALTHY,
        app=_component(app, with_versions=with_versions),
        database=_component(database, with_versions=with_versions),
        redis=_component(redis, with_versions=with_versions),
    )


def _component(part: Component, *, with_versions: bool) -> pb.ComponentHealth:
    return pb.ComponentHealth(
        status=part.status,
        latency=None if part.latency is None else duration(part.latency),
        version=part.version if with_versions else "",
        message=part.problem,
    )


@dataclass(frozen=True)
class Server:
    """What a server is, as long as it runs."""

    version: str
    database_engine: str
    schema_revision: str
    started_at: datetime
    registration_open: bool
    max_message_bytes: int


def info(server: Server, now: datetime) -> pb.ServerInfo:
    """Write what the server is."""
    return pb.ServerInfo(
        version=server.version,
        database_engine=server.database_engine,
        schema_revision=server.schema_revision,
        started_at=timestamp(server.started_at),
        server_time=timestamp(now),
        registration_open=server.registration_open,
        max_message_bytes=server.max_message_bytes,
    )
