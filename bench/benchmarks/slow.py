"""A slow follower does not slow the others: 50 followers, with and without 10 that read nothing any more.

A writer sends 1,000 lines a second, 100 an append. The frozen followers take 64 KiB each, as HTTP/2 lets the server
send, and then nothing. Memory is that of the server after the round.
"""

from bench.follow import Log, delivered
from bench.kit import Kit, prefixed
from bench.rounds import Figures
from bench.tables import Measure, Table

RATE = 10.0
FROZEN = 10
MEASURES = (
    Measure("without p50", "append to delivery, p50, nobody frozen", "ms", less=True),
    Measure("with p50", "append to delivery, p50, 10 frozen", "ms", less=True),
    Measure("without p99", "append to delivery, p99, nobody frozen", "ms", less=True),
    Measure("with p99", "append to delivery, p99, 10 frozen", "ms", less=True, budget="as without"),
    Measure("without memory", "memory of the server, nobody frozen", "MiB", less=True),
    Measure("with memory", "memory of the server, 10 frozen", "MiB", less=True, budget="as without"),
    Measure("with whole", "the others got every line, 10 frozen", "%", budget="100 %", compared=False),
)


def run(kit: Kit) -> Table:
    """Measure; with and without take turns, as contenders do."""
    relman = kit.relman()
    followers, seconds = kit.pick(50, 10), kit.pick(4.0, 0.5)
    appends = int(RATE * seconds)

    def follow(name: str, frozen: int) -> Figures:
        log = Log(kit, relman)
        jobs = log.followers(followers, appends * 100, seconds + 10)
        writer = log.writer(appends, rate=RATE, seconds=seconds + 5)
        stuck = [log.frozen(frozen, seconds)] if frozen else []
        figures = delivered(kit, relman, jobs, writer, appends * 100, others=stuck)
        return prefixed(name, {**figures, "memory": relman.memory})

    def both() -> Figures:
        return {**follow("without", 0), **follow("with", FROZEN)}

    return Table(MEASURES, kit.rounds({"relman": both}))
