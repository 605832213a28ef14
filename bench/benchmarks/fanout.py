"""Fan-out: one writer, 500 followers of its log in one process, lines delivered a second.

A writer sends its lines as fast as they are acknowledged, 100 an append; a round ends when every follower has every
line, or after 10 s. The ceiling passes the same bytes through to as many followers, in messages as large as
relman's were on average in the round before; the peer gets fewer lines, since it delivers few.
"""

from bench.follow import Log, delivered
from bench.kit import Kit
from bench.load import lines as log_lines
from bench.load.calls import GrpcOnce
from bench.load.followers import Followers
from bench.rounds import Contender, Figures
from bench.servers import Server
from bench.tables import Measure, Table

APPEND = 100
MEASURES = (
    Measure("lines", "500 followers", "lines/s", budget=">= 1,000,000; >= 50 % of the ceiling"),
    Measure("cpu", "500 followers", "us CPU a line", less=True),
    Measure("whole", "followers that got every line within 10 s", "%", compared=False),
    Measure("per message", "lines in a message", "lines", compared=False),
)
SECONDS = 10.0
"""After which a round ends, with what was delivered by then."""


def run(kit: Kit) -> Table:
    """Measure."""
    followers, lines = kit.pick(500, 20), kit.pick(10_000, 500)
    lines_of_peer = kit.pick(1_000, 100)
    relman, peer, ceiling = kit.relman(), kit.peer(), kit.ceiling()
    sizes = [APPEND]

    def burst() -> Figures:
        log = Log(kit, relman)
        figures = delivered(kit, relman, log.followers(followers, lines, SECONDS), log.writer(lines // APPEND), lines)
        sizes[:] = [max(round(figures["per message"]), 1)]
        return figures

    def peer_burst() -> Figures:
        assert peer is not None
        log = Log(kit, peer)
        jobs = log.followers(followers, lines_of_peer, SECONDS)
        return delivered(kit, peer, jobs, log.writer(lines_of_peer // APPEND), lines_of_peer)

    contenders = {
        "relman": burst,
        "ceiling": _ceiling(kit, ceiling, followers, lines, sizes),
        "peer": peer_burst if peer else None,
    }
    note = f"relman and the ceiling delivered {lines:,} lines to each follower, the peer {lines_of_peer:,}."
    return Table(MEASURES, kit.rounds(contenders), [note])


def _ceiling(kit: Kit, server: Server, followers: int, lines: int, sizes: list[int]) -> Contender:
    def burst() -> Figures:
        size = sizes[0]
        times = max(lines // size, 1)
        jobs = [
            Followers(server.address, followers // 2, SECONDS, "/ceiling/Follow", size * times, request=b"")
            for _ in range(2)
        ]
        send = GrpcOnce(server.address, "/ceiling/Send", times.to_bytes(4) + log_lines.stamped(log_lines.answer(size)))
        return delivered(kit, server, jobs, send, size * times)

    return burst
