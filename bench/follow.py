"""Followers of a log and its writer, of relman or of the peer: what several benchmarks have in common."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bench.kit import Kit
from bench.load.calls import HttpCalls
from bench.load.crew import Job
from bench.load.followers import Delivered, Followers, Frozen
from bench.load.http1 import request
from bench.load.lines import json_lines
from bench.load.writers import Writers
from bench.rounds import percentile
from bench.servers import Peer, Relman, Server
from relman_client.v1.log_pb2 import TailLogsRequest

TAIL = "/relman.v1.DeploymentLogService/TailLogs"
PROCESSES = 2


@dataclass(frozen=True)
class _Posts:
    """Requests of a writer to the peer; the first, before the time begins, has no lines."""

    deployment: str
    token: str
    lines: int

    def __call__(self, connection: int, number: int) -> bytes:  # noqa: ARG002 - there is one
        path = f"/api/deployments/{self.deployment}/logs"
        if not number:
            empty = json.dumps({"stream_name": "main", "first_sequence": 1, "entries": []})
            return request("POST", path, self.token, empty.encode())
        return request("POST", path, self.token, json_lines(self.lines).append("main", number - 1))


class Log:
    """A new, empty log to write to and to follow.

    Args:
        kit: Of the benchmark.
        server: Whose log.
    """

    def __init__(self, kit: Kit, server: Relman | Peer) -> None:
        self._server = server
        self._kit = kit
        self.deployment = server.deployments(1)[0]

    def followers(
        self,
        count: int,
        lines: int | None,
        seconds: float = 60.0,
        *,
        cursor: str = "",
        connections: int = 4,
        late: bool = False,
    ) -> list[Followers]:
        """Return followers, in two processes.

        Args:
            count: How many in all.
            lines: What each is to get; None to stay to the end.
            seconds: After which they leave.
            cursor: Where to begin; at the beginning without one.
            connections: That they share in each process; over HTTP each has its own.
            late: Connect at the start rather than before it.
        """
        server, shares = self._server, [count - count // PROCESSES, count // PROCESSES]
        if isinstance(server, Peer):
            path = f"/api/deployments/{self.deployment}/logs/tail?after={cursor or 0}"
            return [
                Followers(server.address, share, seconds, path, lines, server.token, late=late, checked=True)
                for share in shares
            ]
        return [
            Followers(
                server.address,
                share,
                seconds,
                TAIL,
                lines,
                server.token,
                request=self._tail(cursor),
                connections=min(connections, share),
                late=late,
                checked=True,
            )
            for share in shares
        ]

    def frozen(self, count: int, seconds: float) -> Frozen:
        """Return followers that read nothing after the first answer."""
        assert isinstance(self._server, Relman)
        return Frozen(self._server.address, count, seconds, TAIL, self._server.token, self._tail(""))

    def _tail(self, cursor: str) -> bytes:
        request = TailLogsRequest(deployment=self.deployment, follow=True)
        if cursor:
            request.cursor = cursor
        return request.SerializeToString()

    def writer(
        self, appends: int, *, lines: int = 100, rate: float | None = None, seconds: float = 60.0, stream: str = "main"
    ) -> Job:
        """Return a writer.

        Args:
            appends: How many it makes.
            lines: In each.
            rate: Appends a second; None for as many as are acknowledged.
            seconds: After which it stops, done or not.
            stream: Name of the stream of lines.
        """
        server = self._server
        if isinstance(server, Relman):
            return Writers(server.address, server.token, [self.deployment], seconds, lines, 16, appends, rate, stream)
        posts = _Posts(self.deployment, server.token, lines)
        return HttpCalls(server.address, posts, 1, seconds, rate=rate, at_most=appends + 1)


def delivered(
    kit: Kit,
    server: Server,
    followers: Sequence[Followers],
    writer: Job,
    lines: int,
    others: Sequence[Job] = (),
) -> dict[str, float]:
    """Write and follow at the same time; return what came of it.

    Args:
        kit: Of the benchmark.
        server: Whose log.
        followers: As `Log.followers` returns them.
        writer: As `Log.writer` returns it.
        lines: That are written.
        others: What else is going on.

    Returns:
        `lines` delivered a second until the last came, `cpu` microseconds of each, lines `per message`, `p50` and `p99`
        milliseconds from sending to receiving the oldest line of each message, `whole` followers that got all lines, in
        percent.
    """
    results, cpu = kit.load(server, [*followers, writer, *others])
    got: list[Delivered] = results[: len(followers)]
    total = sum(each.lines for each in got)
    wanted = sum(each.count for each in followers)
    took = [latency for each in got for latency in each.latencies]
    return {
        "lines": total / max(*(each.seconds for each in got), 1e-9),
        "cpu": cpu * 1e6 / max(total, 1),
        "per message": total / max(sum(each.messages for each in got), 1),
        "p50": percentile(took, 50) * 1e3,
        "p99": percentile(took, 99) * 1e3,
        "whole": 100 * sum(each.served for each in got) / wanted if lines else 0.0,
    }
