"""What an idle follower costs: memory, statements and CPU of a server whose followers have nothing to follow.

Memory is what the server holds more with the followers than before them, by follower, on 50 connections. Statements and
CPU are those of a while with followers less those of as long a while without. The ceiling is a stream of grpc.aio that
waits.
"""

import time
from dataclasses import replace

from bench import servers
from bench.follow import Log
from bench.kit import Kit
from bench.load.followers import Followers
from bench.rounds import Figures
from bench.servers import Peer, Relman, Server
from bench.tables import Measure, Table

MEASURES = (
    Measure("memory", "memory of an idle follower", "KiB", less=True, budget="<= 25 KiB"),
    Measure(
        "statements",
        "SQL because of all idle followers",
        "statements/s",
        less=True,
        budget="at most one a poll of the process",
    ),
    Measure("a follower", "SQL because of one idle follower", "statements/s", less=True, budget="0"),
    Measure("cpu", "CPU because of one idle follower", "us a second", less=True),
    Measure("sqlite cpu", "CPU because of one idle follower, SQLite", "us a second", less=True),
)
FEW = 10


def run(kit: Kit) -> Table:
    """Measure. Memory grows once, so each round has servers of its own."""
    followers, followers_of_peer = kit.pick(1_000, 50), kit.pick(100, 10)

    def relman() -> Figures:
        database = kit.database()
        with servers.relman(kit.folder, database) as server:
            figures = _measure(kit, server, database, _followers(kit, server, followers))
        with servers.relman(kit.folder) as server:
            over_sqlite = _measure(kit, server, "", _followers(kit, server, followers))
        return {**figures, "sqlite cpu": over_sqlite["cpu"]}

    def peer() -> Figures:
        database = kit.database()
        with servers.peer(kit.folder, database) as server:
            return _measure(kit, server, database, _followers(kit, server, followers_of_peer))

    def ceiling() -> Figures:
        with servers.ceiling(kit.folder) as server:
            jobs = [
                Followers(server.address, followers // 2, _seconds(kit), "/ceiling/Follow", request=b"", connections=25)
                for _ in range(2)
            ]
            return _measure(kit, server, "", jobs)

    note = f"relman and the ceiling had {followers:,} followers, the peer {followers_of_peer:,}."
    contenders = {"peer": peer if kit.with_peer else None, "relman": relman, "ceiling": ceiling}
    return Table(MEASURES, kit.rounds(contenders, warm_ups=0), [note])


def _seconds(kit: Kit) -> float:
    return kit.pick(3.0, 0.5)


def _followers(kit: Kit, server: Relman | Peer, count: int) -> list[Followers]:
    return Log(kit, server).followers(count, None, _seconds(kit), connections=25)


def _measure(kit: Kit, server: Server, database: str, jobs: list[Followers]) -> Figures:
    seconds = _seconds(kit)
    # The first followers bring what is needed once, however many there are.
    kit.load(server, [replace(job, count=FEW, seconds=0.2) for job in jobs])
    memory = server.memory
    statements, cpu = _watch(server, database, seconds)
    held: list[float] = []

    def watch() -> None:
        held.extend(_watch(server, database, seconds))
        held.append(server.memory)

    kit.load(server, [replace(job, seconds=seconds + 1) for job in jobs], watch)
    count = sum(job.count for job in jobs)
    more_sql, more_cpu = max(held[0] - statements, 0.0), max(held[1] - cpu, 0.0)
    sql = {"statements": more_sql, "a follower": more_sql / count} if database else {}
    return {"memory": (held[2] - memory) * 1024 / count, "cpu": more_cpu * 1e6 / count, **sql}


def _watch(server: Server, database: str, seconds: float) -> tuple[float, float]:
    """Return the statements and the seconds of CPU that a server takes each second for a while."""
    statements, cpu = servers.statements(database) if database else 0, server.cpu
    time.sleep(seconds)
    more_cpu = server.cpu - cpu
    more = servers.statements(database) - statements if database else 0
    return more / seconds, more_cpu / seconds
