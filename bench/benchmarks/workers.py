"""Two worker processes instead of one: reading a release over PostgreSQL, 20 callers on 20 connections.

The load, the database and the workers share the machine's cores: with two of them two workers cannot be twice as fast,
and CPU a call says whether they get in each other's way.
"""

import subprocess
import sys

from bench.kit import Impossible, Kit, prefixed
from bench.load.calls import Fixed
from bench.rounds import Contender, Figures
from bench.servers import Relman
from bench.tables import Measure, Table
from relman_client.v1.release_pb2 import GetReleaseRequest

MEASURES = (
    Measure("one calls", "one worker", "calls/s"),
    Measure("one cpu", "one worker", "ms CPU a call", less=True),
    Measure("two calls", "two workers", "calls/s"),
    Measure("two cpu", "two workers", "ms CPU a call", less=True),
    Measure("gain", "two workers over one", "x", budget=">= 1.7"),
)


def run(kit: Kit) -> Table:
    """Measure; one and two take turns, as contenders do."""
    said = subprocess.run([sys.executable, "-m", "relman_server", "serve", "--help"], capture_output=True, check=True)
    if b"--workers" not in said.stdout:
        raise Impossible("this relman-server has no --workers")
    one, two = (_contender(kit, kit.relman(kit.database(), workers=number)) for number in ("1", "2"))

    def both() -> Figures:
        alone, together = one(), two()
        gain = together["calls"] / max(alone["calls"], 1e-9)
        return {**prefixed("one", alone), **prefixed("two", together), "gain": gain}

    return Table(MEASURES, kit.rounds({"relman": both}))


def _contender(kit: Kit, server: Relman) -> Contender:
    service = server.service()
    ids = [server.release(service, f"1.0.{number}") for number in range(kit.pick(100, 10))]
    get = Fixed([GetReleaseRequest(release=each).SerializeToString() for each in ids])
    return lambda: kit.grpc_calls(server, "/relman.v1.ReleaseService/GetRelease", get, answers=100, connections=10)
