"""All of it: many who open and leave streams, until there were enough."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from relman_client.v1.deployment_pb2 import StartDeploymentRequest
from tests.factories import Caller, RunningServer, make_deployment
from tests.fuzz.target import Target
from tests.fuzz.verdict import complaints
from tests.soak.cycles import Cycles
from tests.soak.holdings import Holdings, read, when_quiet
from tests.soak.report import Report

ROUND = 1000
OWN_CHANNEL = ("grpc.use_local_subchannel_pool", 1)


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        cycles: How many streams, after those that warm the server up.
        seed: What chance comes from.
        at_once: How many are open at any time.
        seconds: After which no more are opened.
        only: What the descriptions of those that are opened have in them, as the report has them.
    """

    cycles: int = 20_000
    seed: int = 1
    at_once: int = 32
    seconds: float = 1200.0
    only: str = ""

    @property
    def warm_up(self) -> int:
        """After how many streams the server is warm: pools are full, statements compiled, pages cached.

        Of 60,000 on SQLite, the first 20,000 added 6 MiB to what the server held, all others 4.
        """
        return min(self.cycles, 20 * ROUND)

    def rounds(self) -> list[int]:
        """Return how many streams to open, time and again."""
        return [min(ROUND, self.cycles - done) for done in range(0, self.cycles, ROUND)]


async def soak(target: Target, metrics: str, options: Options, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Open and leave streams, and return what that came to.

    Args:
        target: The server.
        metrics: Where it serves its metrics.
        options: What to run.
        tell: Is told how far it is.
    """
    async with grpc.aio.insecure_channel(target.address, options=[OWN_CHANNEL]) as channel:
        server = RunningServer(target.app, target.address, channel)
        await server.prepare()
        deployment = (await make_deployment(server.admin, server.admin)).id
        await server.admin.deployments.StartDeployment(StartDeploymentRequest(deployment=deployment))
    return await _Run(target, metrics, options, server.admin.token, deployment).play(tell)


class _Run:
    def __init__(self, target: Target, metrics: str, options: Options, token: str, deployment: str) -> None:
        self._target = target
        self._metrics = metrics
        self._options = options
        self._token = token
        self._deployment = deployment
        self._cycles: Counter[str] = Counter()
        self._ends_at = time.monotonic() + options.seconds

    async def play(self, tell: Callable[[str], None]) -> Report:
        began, on_the_way = time.monotonic(), list[Holdings]()
        await self._round(self._options.warm_up)
        before, warm_up = await self._quiet(), self._cycles.total()
        for count in self._options.rounds():
            if time.monotonic() < self._ends_at:
                await self._round(count)
                on_the_way.append(await asyncio.to_thread(read, self._metrics, self._target.process))
                tell(f"{self._cycles.total():,} streams, {on_the_way[-1].memory / 1024:.1f} MiB")
        after = await self._quiet(before.tasks)
        return Report(
            f"--engine {self._target.engine} --cycles {self._options.cycles} --seed {self._options.seed}",
            before,
            warm_up,
            after,
            self._cycles,
            on_the_way,
            Counter(what for what, _ in complaints(self._target.log())),
            time.monotonic() - began,
        )

    async def _quiet(self, tasks: int | None = None) -> Holdings:
        return await when_quiet(self._metrics, self._target.process, tasks)

    async def _round(self, count: int) -> None:
        """Open so many streams, some at a time; each who opens them leaves with the whole connection at the end."""
        numbers = iter(range(count))

        async def work(number: int) -> None:
            seed = self._options.seed * ROUND + self._cycles.total() + number
            async with grpc.aio.insecure_channel(self._target.address, options=[OWN_CHANNEL]) as channel:
                caller, name = Caller(channel, self._token), f"stream-{number}"
                cycles = Cycles(caller, self._deployment, name, seed, self._options.only)
                for _ in numbers:  # one iterator for all: each takes what comes next
                    self._cycles[await cycles.run()] += 1

        await asyncio.gather(*(work(number) for number in range(self._options.at_once)))
