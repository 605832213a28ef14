"""From appending a line to delivering it: 1,000 followers of one deployment, 1,000 lines a second.

A writer sends 50 lines every 50 ms, as relman's own log writer would. Counted is the oldest line of every message, from
the moment its append was sent, durable, over two sockets, to the moment a follower's process has read it. The peer is
asked for what it can do: 50 followers that poll every 500 ms.
"""

from bench.follow import Log, delivered
from bench.kit import Kit
from bench.rounds import Figures
from bench.servers import Peer, Relman
from bench.tables import Measure, Table

RATE = 20.0
LINES = 50
MEASURES = (
    Measure("p50", "append to delivery, p50", "ms", less=True, budget="<= 30 ms"),
    Measure("p99", "append to delivery, p99", "ms", less=True, budget="<= 150 ms"),
    Measure("cpu", "delivered", "us CPU a line", less=True),
    Measure("per message", "lines in a message", "lines", compared=False),
    Measure("whole", "followers that got every line in time", "%", compared=False),
)


def run(kit: Kit) -> Table:
    """Measure."""
    followers, followers_of_peer = kit.pick(1_000, 50), kit.pick(50, 5)
    seconds = kit.pick(5.0, 0.5)
    relman, peer = kit.relman(), kit.peer()

    def follow(server: Relman | Peer, count: int) -> Figures:
        log, appends = Log(kit, server), int(seconds * RATE)
        writer = log.writer(appends, lines=LINES, rate=RATE, seconds=seconds)
        return delivered(kit, server, log.followers(count, appends * LINES, seconds + 5), writer, appends * LINES)

    contenders = {
        "peer": (lambda: follow(peer, followers_of_peer)) if peer else None,
        "relman": lambda: follow(relman, followers),
    }
    note = f"relman had {followers:,} followers, the peer {followers_of_peer:,}."
    return Table(MEASURES, kit.rounds(contenders), [note])
