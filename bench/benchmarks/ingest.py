"""Log ingestion with durable acknowledgements: 8 writers, 100 lines an append.

Each writer is a pipeline that writes to a deployment of its own. WriteLogs has at most 16 appends under way that are
not acknowledged; AppendLogs and the peer's POST wait for each answer. The ceiling takes the same messages of WriteLogs
and acknowledges each, without looking into it or keeping it. In the end every line is acknowledged and
counted: a stream is finished with its last sequence, which relman refuses when it has another, and the peer's rows are
counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.kit import Kit, prefixed
from bench.load.calls import Answered, GrpcCalls, HttpCalls
from bench.load.crew import LoadError
from bench.load.http1 import request
from bench.load.lines import grpc_lines, json_lines
from bench.load.writers import Writers, Written
from bench.rounds import Contender, Figures, percentile
from bench.servers import Peer, Relman, Server
from bench.tables import Measure, Table
from relman_client.v1.log_pb2 import GetLogStreamRequest

WRITERS = 8
LINES = 100
PROCESSES = 2
MEASURES = (
    Measure("pg lines", "WriteLogs, PostgreSQL", "lines/s", budget=">= 200,000; >= 20x the peer"),
    Measure("pg cpu", "WriteLogs, PostgreSQL", "us CPU a line", less=True),
    Measure("pg p99", "WriteLogs, PostgreSQL: acknowledged, p99", "ms", less=True),
    Measure("sqlite lines", "WriteLogs, SQLite", "lines/s"),
    Measure("sqlite cpu", "WriteLogs, SQLite", "us CPU a line", less=True),
    Measure("sqlite p99", "WriteLogs, SQLite: acknowledged, p99", "ms", less=True),
    Measure("unary pg lines", "AppendLogs, PostgreSQL", "lines/s"),
    Measure("unary pg cpu", "AppendLogs, PostgreSQL", "us CPU a line", less=True),
    Measure("unary sqlite lines", "AppendLogs, SQLite", "lines/s"),
    Measure("unary sqlite cpu", "AppendLogs, SQLite", "us CPU a line", less=True),
)
NOTE = "The peer has one way to write, POST over PostgreSQL: its figures stand beside both of relman's over PostgreSQL."


@dataclass(frozen=True)
class _Appends:
    """Requests of AppendLogs, a deployment a connection."""

    deployments: list[str]

    def __call__(self, connection: int, number: int) -> bytes:
        return grpc_lines(LINES).append(self.deployments[connection], "main", number)


@dataclass(frozen=True)
class _Posts:
    """Requests to the peer, a deployment a connection."""

    deployments: list[str]
    token: str

    def __call__(self, connection: int, number: int) -> bytes:
        path = f"/api/deployments/{self.deployments[connection]}/logs"
        return request("POST", path, self.token, json_lines(LINES).append("main", number))


def run(kit: Kit) -> Table:
    """Measure."""
    over_postgres, over_sqlite, peer, ceiling = kit.relman(kit.database()), kit.relman(), kit.peer(), kit.ceiling()
    contenders = {
        "peer": _peer(kit, peer) if peer else None,
        "relman": lambda: {**_relman(kit, over_postgres, "pg"), **_relman(kit, over_sqlite, "sqlite")},
        "ceiling": lambda: _ceiling(kit, ceiling),
    }
    return Table(MEASURES, kit.rounds(contenders), [NOTE])


def _relman(kit: Kit, server: Relman, engine: str) -> Figures:
    return {
        **prefixed(engine, _write(kit, server, server.deployments(WRITERS))),
        **prefixed(f"unary {engine}", _append(kit, server)),
    }


def _ceiling(kit: Kit, server: Server) -> Figures:
    figures = _write(kit, server, [str(number) for number in range(WRITERS)])
    return {**prefixed("pg", figures), **prefixed("sqlite", figures)}


def _write(kit: Kit, server: Server, deployments: list[str]) -> Figures:
    jobs = [Writers(server.address, server.token, part, kit.seconds, LINES) for part in _parts(deployments)]
    results: Sequence[Written]
    results, cpu = kit.load(server, jobs)
    took = [each for result in results for each in result.latencies]
    return {
        "lines": sum(result.lines for result in results) / kit.seconds,
        "cpu": cpu * 1e6 / max(sum(result.all_lines for result in results), 1),
        "p99": percentile(took, 99) * 1e3,
    }


def _append(kit: Kit, server: Relman) -> Figures:
    deployments = server.deployments(WRITERS)
    path = "/relman.v1.DeploymentLogService/AppendLogs"
    jobs = [
        GrpcCalls(server.address, _Appends(part), len(part), kit.seconds, path=path, token=server.token)
        for part in _parts(deployments)
    ]
    results, cpu = kit.load(server, jobs)
    stored = sum(
        server.client.logs.GetLogStream(GetLogStreamRequest(deployment=each, stream_name="main")).committed_sequence
        for each in deployments
    )
    return _appended(results, cpu, kit.seconds, stored)


def _peer(kit: Kit, server: Peer) -> Contender:
    def post() -> Figures:
        deployments = server.deployments(WRITERS)
        jobs = [
            HttpCalls(server.address, _Posts(part, server.token), len(part), kit.seconds)
            for part in _parts(deployments)
        ]
        results, cpu = kit.load(server, jobs)
        stored = sum(server.ask("GET", f"/api/deployments/{each}/logs/count") for each in deployments)
        figures = _appended(results, cpu, kit.seconds, stored)
        return {**prefixed("pg", figures), **prefixed("unary pg", figures)}

    return post


def _appended(results: Sequence[Answered], cpu: float, seconds: float, stored: int) -> dict[str, float]:
    # Every connection made one append before the time began.
    appended = (sum(result.all_calls for result in results) + WRITERS) * LINES
    if stored != appended:
        raise LoadError(f"{appended:,} lines were acknowledged, and {stored:,} are stored")
    took = [each for result in results for each in result.latencies]
    return {
        "lines": sum(result.calls for result in results) * LINES / seconds,
        "cpu": cpu * 1e6 / max(appended - WRITERS * LINES, 1),
        "p99": percentile(took, 99) * 1e3,
    }


def _parts(deployments: list[str]) -> list[list[str]]:
    return [deployments[part::PROCESSES] for part in range(PROCESSES)]
