"""A storm of reconnects: 2,000 followers come back at once, each on a connection of its own, with a cursor.

While they were away 100 lines were written. A follower is served when it has these 100, and not one more or less.
"""

from collections.abc import Sequence

from bench.follow import Log
from bench.kit import Kit
from bench.load.followers import Delivered
from bench.rounds import Figures, percentile
from bench.servers import Peer, Relman
from bench.tables import Measure, Table
from relman_client.v1.log_pb2 import AppendLogsRequest, LogEntry, TailLogsRequest

MEASURES = (
    Measure("all", "until all were served", "s", less=True, budget="<= 10 s"),
    Measure("p50", "until a follower was served, p50 of those that were", "s", less=True),
    Measure("served", "followers served", "%", budget="100 %", compared=False),
    Measure("cpu", "a follower", "ms CPU", less=True),
)
MISSED = 100
PATIENCE = 20.0
"""Seconds after which a round ends; who is not served by then never is."""


def run(kit: Kit) -> Table:
    """Measure."""
    followers = kit.pick(2_000, 50)
    relman, peer = kit.relman(), kit.peer()

    def storm(server: Relman | Peer) -> Figures:
        log = Log(kit, server)
        cursor = _read_before(server, log.deployment) if isinstance(server, Relman) else ""
        kit.load(server, [log.writer(1, lines=MISSED, stream="missed")])
        results: Sequence[Delivered]
        jobs = log.followers(followers, MISSED, PATIENCE, cursor=cursor, connections=followers, late=True)
        results, cpu = kit.load(server, jobs)
        after = [seconds for result in results for seconds in result.served_after]
        return {
            "all": max(after) if len(after) == followers else PATIENCE,
            "p50": percentile(after, 50),
            "served": 100 * len(after) / followers,
            "cpu": cpu * 1e3 / followers,
        }

    contenders = {"peer": (lambda: storm(peer)) if peer else None, "relman": lambda: storm(relman)}
    note = f"A round ends after {PATIENCE:.0f} s, which is what it counts as when not all were served."
    return Table(MEASURES, kit.rounds(contenders), [note])


def _read_before(server: Relman, deployment: str) -> str:
    """Write a line, read it, and return the cursor after it."""
    logs = server.client.logs
    logs.AppendLogs(AppendLogsRequest(deployment=deployment, first_sequence=1, entries=[LogEntry(text="before")]))
    return [answer.cursor for answer in logs.TailLogs(TailLogsRequest(deployment=deployment))][-1]
