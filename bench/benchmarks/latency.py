"""From appending a line to delivering it: 1,000 followers of one deployment, 1,000 lines a second.

A writer sends 50 lines every 50 ms, as relman's own log writer would. Counted is the oldest line of every message, from
the moment its append was sent, durable, over two sockets, to the moment a follower's process has read it. The peer is
asked for what it can do: 10 followers that poll every 500 ms. The ceiling passes 100 lines every 100 ms through
to 1,000 followers, without keeping them: with twice as many messages it does not keep up.
"""

from dataclasses import dataclass

from bench.follow import PROCESSES, Log, delivered
from bench.kit import Kit
from bench.load import lines as log_lines
from bench.load.calls import GrpcCalls
from bench.load.followers import Followers
from bench.rounds import Figures
from bench.servers import Peer, Relman
from bench.tables import Measure, Table

RATE = 20.0
LINES = 50
LARGER = 2
"""How many times more lines the ceiling has in a message, and fewer messages."""
MEASURES = (
    Measure("p50", "append to delivery, p50", "ms", less=True, budget="<= 30 ms"),
    Measure("p99", "append to delivery, p99", "ms", less=True, budget="<= 150 ms"),
    Measure("cpu", "delivered", "us CPU a line", less=True),
    Measure("per message", "lines in a message", "lines", compared=False),
    Measure("whole", "followers that got every line in time", "%", compared=False),
)


@dataclass(frozen=True)
class _Sends:
    """Requests to the ceiling; the first, before the time begins, is sent to nobody."""

    def __call__(self, connection: int, number: int) -> bytes:  # noqa: ARG002 - there is one
        return min(number, 1).to_bytes(4) + log_lines.stamped(log_lines.answer(LINES * LARGER))


def run(kit: Kit) -> Table:
    """Measure."""
    followers, followers_of_peer = kit.pick(1_000, 50), kit.pick(10, 5)
    seconds = kit.pick(5.0, 0.5)
    relman, peer, ceiling = kit.relman(), kit.peer(), kit.ceiling()

    def pass_through() -> Figures:
        appends = int(seconds * RATE) // LARGER
        path, share = "/ceiling/Follow", followers // PROCESSES
        jobs = [
            Followers(ceiling.address, share, seconds + 5, path, appends * LINES * LARGER, request=b"")
            for _ in range(PROCESSES)
        ]
        sends = GrpcCalls(
            ceiling.address, _Sends(), 1, seconds + 5, rate=RATE / LARGER, at_most=appends + 1, path="/ceiling/Send"
        )
        return delivered(kit, ceiling, jobs, sends, appends * LINES * LARGER)

    def follow(server: Relman | Peer, count: int) -> Figures:
        log, appends = Log(kit, server), int(seconds * RATE)
        writer = log.writer(appends, lines=LINES, rate=RATE, seconds=seconds + 5)
        return delivered(kit, server, log.followers(count, appends * LINES, seconds + 5), writer, appends * LINES)

    contenders = {
        "peer": (lambda: follow(peer, followers_of_peer)) if peer else None,
        "relman": lambda: follow(relman, followers),
        "ceiling": pass_through,
    }
    note = f"relman and the ceiling had {followers:,} followers, the peer {followers_of_peer:,}."
    return Table(MEASURES, kit.rounds(contenders), [note])
