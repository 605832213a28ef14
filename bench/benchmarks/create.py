"""Creating a release with its audit row over PostgreSQL, durable: 20 callers.

Each call is a transaction that PostgreSQL has on disk (fsync on) before it is answered.
"""

import json
import secrets
from dataclasses import dataclass

from bench.kit import Kit
from bench.load.http1 import request
from bench.rounds import Contender
from bench.servers import NOTES, Peer, Relman
from bench.tables import Measure, Table
from relman_client.v1.release_pb2 import CreateReleaseRequest

MEASURES = (
    Measure("calls", "create a release", "calls/s", budget=">= 2x the peer"),
    Measure("cpu", "create a release", "ms CPU a call", less=True),
    Measure("p99", "create a release, p99", "ms", less=True),
)
COMMIT = "1f" * 20


@dataclass(frozen=True)
class _GrpcReleases:
    """A version that nobody else asks for, with every request."""

    service: str

    def __call__(self, connection: int, number: int) -> bytes:  # noqa: ARG002 - versions are random
        return CreateReleaseRequest(
            service=self.service, version=_version(), git_commit=COMMIT, release_notes=NOTES
        ).SerializeToString()


@dataclass(frozen=True)
class _HttpReleases:
    """As above, for the peer."""

    service: str
    token: str

    def __call__(self, connection: int, number: int) -> bytes:  # noqa: ARG002 - versions are random
        said = {"service": self.service, "version": _version(), "git_commit": COMMIT, "release_notes": NOTES}
        return request("POST", "/api/releases", self.token, json.dumps(said).encode())


def _version() -> str:
    return f"1.{secrets.randbelow(10**9)}.{secrets.randbelow(10**9)}"


def run(kit: Kit) -> Table:
    """Measure."""
    relman, peer = kit.relman(kit.database()), kit.peer()
    contenders = {"peer": _peer(kit, peer) if peer else None, "relman": _relman(kit, relman)}
    return Table(MEASURES, kit.rounds(contenders))


def _relman(kit: Kit, server: Relman) -> Contender:
    releases = _GrpcReleases(server.service())
    return lambda: kit.grpc_calls(server, "/relman.v1.ReleaseService/CreateRelease", releases, answers=200)


def _peer(kit: Kit, server: Peer) -> Contender:
    releases = _HttpReleases(server.service(), server.token)
    return lambda: kit.http_calls(server, releases, answers=200)
