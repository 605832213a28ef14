"""Reading over PostgreSQL: one release, and a list of 50, authenticated, 20 callers.

The same 200 releases in both; the list is the first page of a service's releases with their total. The ceiling is an
echo of the request without authentication and without a database.
"""

import json

from bench.kit import Kit, prefixed
from bench.load.calls import Fixed
from bench.load.http1 import request
from bench.rounds import Contender
from bench.servers import Peer, Relman, Server
from bench.tables import Measure, Table
from relman_client.v1.release_pb2 import GetReleaseRequest, ListReleasesRequest

MEASURES = (
    Measure("get calls", "read one release", "calls/s", budget=">= 3x the peer, >= 50 % of the ceiling"),
    Measure("get cpu", "read one release", "ms CPU a call", less=True),
    Measure("get p99", "read one release, p99", "ms", less=True),
    Measure("list calls", "list 50 releases", "calls/s", budget=">= 3x the peer"),
    Measure("list cpu", "list 50 releases", "ms CPU a call", less=True),
    Measure("list p99", "list 50 releases, p99", "ms", less=True),
)
SERVICE = "/relman.v1.ReleaseService/"


def run(kit: Kit) -> Table:
    """Measure."""
    count = kit.pick(200, 60)
    relman, peer, ceiling = kit.relman(kit.database()), kit.peer(), kit.ceiling()
    contenders = {
        "peer": _peer(kit, peer, count) if peer else None,
        "relman": _relman(kit, relman, count),
        "ceiling": _ceiling(kit, ceiling),
    }
    return Table(MEASURES, kit.rounds(contenders))


def _relman(kit: Kit, server: Relman, count: int) -> Contender:
    service = server.service()
    ids = [server.release(service, f"1.0.{number}") for number in range(count)]
    one = GetReleaseRequest(release=ids[0])
    page = ListReleasesRequest(service=service)
    smallest = len(server.client.releases.GetRelease(one).SerializeToString()) - 8
    listed = server.client.releases.ListReleases(page)
    assert len(listed.releases) == 50
    get = Fixed([GetReleaseRequest(release=each).SerializeToString() for each in ids])
    list_ = Fixed([page.SerializeToString()])
    fifty = len(listed.SerializeToString()) - 500
    return lambda: {
        **prefixed("get", kit.grpc_calls(server, f"{SERVICE}GetRelease", get, answers=smallest)),
        **prefixed("list", kit.grpc_calls(server, f"{SERVICE}ListReleases", list_, answers=fifty)),
    }


def _peer(kit: Kit, server: Peer, count: int) -> Contender:
    service = server.service()
    ids = [server.release(service, f"1.0.{number}") for number in range(count)]
    path = f"/api/releases?service={service}&page_size=50"
    smallest = len(json.dumps(server.ask("GET", f"/api/releases/{ids[0]}"))) - 100
    assert len(server.ask("GET", path)["items"]) == 50
    get = Fixed([request("GET", f"/api/releases/{each}", server.token) for each in ids])
    list_ = Fixed([request("GET", path, server.token)])
    return lambda: {
        **prefixed("get", kit.http_calls(server, get, answers=smallest)),
        **prefixed("list", kit.http_calls(server, list_, answers=50 * smallest)),
    }


def _ceiling(kit: Kit, server: Server) -> Contender:
    echo = Fixed([GetReleaseRequest(release="0" * 36).SerializeToString()])
    return lambda: prefixed("get", kit.grpc_calls(server, "/ceiling/Echo", echo))
