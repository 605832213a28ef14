"""What fails, and how long it takes until everyone is served again.

Each fault is followed by the next one only when every writer had a line acknowledged, and every follower was sent one
of each stream, that was written after it. So the times are those of who waited longest.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from tests.chaos import frozen
from tests.chaos.actors import Author
from tests.chaos.cluster import Cluster, start_again
from tests.chaos.notes import Notes
from tests.chaos.readers import Follower
from tests.chaos.report import Recovery
from tests.client.proxy import Proxy
from tests.services.process import ServerProcess as Service
from tests.services.relman import ServerProcess

HOPELESS = 60.0
"""Seconds after which one who is not served again never will be."""
LOOK_EVERY = 0.01
KILL = "kill -9 of a server"
SAME = 0.2
"""How often the same server is killed again."""
OTHERS_EVERY = 10
"""Of the other faults there is one of each kind for so many kills, and one at least."""
Fault = Callable[[str], Coroutine[Any, Any, None]]
"""Lets something fail, and waits until everyone is served again; is given its own name."""


@dataclass
class Crowd:
    """Those who are to be served."""

    authors: Sequence[Author]
    followers: Sequence[Follower]

    def written(self) -> dict[str, int]:
        """Return how far each author is."""
        return {author.stream: author.written for author in self.authors}

    def unacknowledged(self, marks: dict[str, int]) -> list[str]:
        """Return the authors who had nothing acknowledged of what they wrote after the marks."""
        return [author.stream for author in self.authors if author.acknowledged <= marks[author.stream]]

    def undelivered(self, marks: dict[str, int]) -> list[str]:
        """Return the followers who saw nothing of what was written after the marks, of some stream."""
        return [
            f"{follower.name} of {author.stream}"
            for follower in self.followers
            for author in self.authors
            if author.deployment == follower.deployment
            and follower.reached.get(author.stream, 0) <= marks[author.stream]
        ]


class Faults:
    """Lets things fail.

    Args:
        cluster: What fails.
        crowd: Who must be served again.
        seed: What chance comes from.
        notes: Where to note who was not.
    """

    def __init__(self, cluster: Cluster, crowd: Crowd, seed: int, notes: Notes) -> None:
        self.recoveries: list[Recovery] = []
        self.starts: list[float] = []
        self.given_up: float | None = None
        self.kills = 0
        self._cluster = cluster
        self._crowd = crowd
        self._random = random.Random(seed)
        self._notes = notes

    async def run(self, kills: int, seconds: float, tell: Callable[[str], None], *, with_others: bool = True) -> None:
        """Let one after the other happen; begin none any more when the seconds are over, or one was not got over."""
        ends_at = time.monotonic() + seconds
        for name, fault in self._deck(kills, with_others=with_others):
            if time.monotonic() > ends_at:
                self._notes.faults.append(f"stopped after {self.kills} kills: {seconds:.0f} s are over")
                return
            await asyncio.sleep(self._random.uniform(0.1, 0.6))
            await fault(name)
            last = self.recoveries[-1]
            tell(f"{name}: acknowledged again after {last.acknowledged:.2f} s, delivered {last.delivered:.2f} s")
            if self._notes.faults:
                return

    def _deck(self, kills: int, *, with_others: bool) -> list[tuple[str, Fault]]:
        others = list(self._kinds().items()) * (with_others and max(kills // OTHERS_EVERY, 1))
        deck: list[tuple[str, Fault]] = [*[(KILL, self._kill)] * kills, *others]
        self._random.shuffle(deck)
        return deck

    def _kinds(self) -> dict[str, Fault]:
        kinds: dict[str, Fault] = {
            "SIGTERM of a server": self._terminate,
            "connections cut": self._cut,
            "connections slow, since that ended": self._delay,
            "connections frozen, since they thawed": self._freeze,
        }
        if self._cluster.postgres is not None:
            kinds |= {
                "kill -9 of all servers": self._kill_all,
                "PostgreSQL stopped, since its return": self._stop_postgres,
                "kill -9 of PostgreSQL, since its return": self._kill_postgres,
                "connections to PostgreSQL cut": self._cut_database,
                "connections to PostgreSQL frozen, since they thawed": self._freeze_database,
            }
        if self._cluster.valkey is not None:
            kinds |= {
                "Valkey away": self._stop_valkey,
                "Valkey back": self._stop_valkey_for_a_moment,
                "Valkey frozen": self._freeze_valkey,
            }
        return kinds

    async def _recover(self, name: str) -> None:
        """Wait until everyone is served again, as from now."""
        began, marks = time.monotonic(), self._crowd.written()
        acknowledged = await self._until(began, lambda: self._crowd.unacknowledged(marks))
        delivered = await self._until(began, lambda: self._crowd.undelivered(marks))
        self.recoveries.append(Recovery(name, acknowledged, delivered))

    async def _until(self, began: float, missing: Callable[[], list[str]]) -> float:
        while who := missing():
            if time.monotonic() - began > HOPELESS:
                self._notes.faults.append(f"not served again within {HOPELESS:.0f} s: {', '.join(who)}")
                break
            await asyncio.sleep(LOOK_EVERY)
        return time.monotonic() - began

    def _while(self, least: float, most: float) -> Awaitable[None]:
        return asyncio.sleep(self._random.uniform(least, most))

    # --- one who follows

    async def freeze_follower(self, token: str) -> None:
        """Freeze one who follows, as with SIGSTOP. The others do not notice, and the server gives that one up."""
        server = self._cluster.servers[0]
        assert server.process is not None
        deployment = self._crowd.followers[0].deployment
        process = psutil.Process(server.process.pid)
        with frozen.following(server.address, token, deployment) as follower:
            recovering = asyncio.create_task(self._recover("a follower frozen by SIGSTOP"))
            self.given_up = await frozen.freeze(follower, process)
            await recovering
        if self.given_up > frozen.GONE:
            self._notes.faults.append(f"a frozen follower was not given up within {frozen.GONE:.0f} s")

    # --- servers

    async def _kill(self, name: str) -> None:
        """Mostly the one that was not the last: that is where everyone went."""
        if self._random.random() < SAME:
            self._cluster.servers.reverse()
        victim = self._cluster.servers.pop(0)
        self._cluster.servers.append(victim)
        await self._kill_some(name, [victim])

    async def _kill_all(self, name: str) -> None:
        await self._kill_some(name, self._cluster.servers)

    async def _kill_some(self, name: str, servers: Sequence[ServerProcess]) -> None:
        for server in servers:
            await asyncio.to_thread(server.kill)
        self.kills += len(servers)
        recovering = asyncio.create_task(self._recover(name))
        await self._while(0, 1)
        await self._start(servers)
        await recovering

    async def _start(self, servers: Sequence[ServerProcess]) -> None:
        began = time.monotonic()
        await asyncio.gather(*(asyncio.to_thread(start_again, server) for server in servers))
        self.starts.append(time.monotonic() - began)

    async def _terminate(self, name: str) -> None:
        server = self._random.choice(self._cluster.servers)
        recovering = asyncio.create_task(self._recover(name))
        status = await asyncio.to_thread(server.stop)
        if status:
            self._notes.faults.append(f"SIGTERM ended a server with status {status}")
        await self._start([server])
        await recovering

    # --- connections

    async def _cut(self, name: str) -> None:
        """All at once, or one after the other."""
        pause = self._random.choice([0.0, 0.03])
        for way in self._shuffled(self._cluster.ways):
            way.cut()
            await asyncio.sleep(pause)
        await self._recover(name)

    async def _delay(self, name: str) -> None:
        for way in self._cluster.ways:
            way.delay(self._random.uniform(0.05, 0.3))
        await self._while(1, 3)
        for way in self._cluster.ways:
            way.delay(0)
        await self._recover(name)

    async def _freeze(self, name: str) -> None:
        """Some of them; what was on its way arrives late, and those who were cut have another connection by then."""
        some = self._shuffled(self._cluster.ways)[: self._random.randint(1, len(self._cluster.ways))]
        await self._frozen(name, some, cut=self._random.random() < 0.5)

    async def _frozen(self, name: str, ways: Sequence[Proxy], *, cut: bool) -> None:
        for way in ways:
            way.freeze()
        await self._while(0.5, 3)
        for way in ways:
            if cut:
                way.cut()
            way.thaw()
        await self._recover(name)

    def _shuffled(self, ways: Sequence[Proxy]) -> list[Proxy]:
        return self._random.sample(ways, len(ways))

    # --- PostgreSQL

    async def _stop_postgres(self, name: str) -> None:
        assert self._cluster.postgres is not None
        await self._away(name, self._cluster.postgres, self._cluster.postgres.stop)

    async def _kill_postgres(self, name: str) -> None:
        assert self._cluster.postgres is not None
        await self._away(name, self._cluster.postgres, self._cluster.postgres.kill)

    async def _away(self, name: str, service: Service, end: Callable[[], None]) -> None:
        await asyncio.to_thread(end)
        await self._while(0.5, 3)
        await asyncio.to_thread(service.start)
        await self._recover(name)

    async def _cut_database(self, name: str) -> None:
        """In the middle of whatever is committed: whether it was, nobody knows."""
        for way in self._shuffled(self._cluster.to_database)[: self._random.randint(1, 2)]:
            way.cut()
        await self._recover(name)

    async def _freeze_database(self, name: str) -> None:
        await self._frozen(name, self._cluster.to_database, cut=self._random.random() < 0.5)

    # --- Valkey

    async def _stop_valkey(self, name: str) -> None:
        """Everyone is served while it is away, by looking from time to time."""
        assert self._cluster.valkey is not None
        await asyncio.to_thread(self._cluster.valkey.stop)
        await self._recover(name)
        await asyncio.to_thread(self._cluster.valkey.start)

    async def _stop_valkey_for_a_moment(self, name: str) -> None:
        assert self._cluster.valkey is not None
        await self._away(name, self._cluster.valkey, self._cluster.valkey.kill)

    async def _freeze_valkey(self, name: str) -> None:
        """As above, but nobody is told that it is away."""
        assert self._cluster.valkey is not None
        self._cluster.valkey.freeze()
        await self._recover(name)
        self._cluster.valkey.thaw()
