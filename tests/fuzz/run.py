"""Operations, many at a time, until there are enough of them; then whether the server is well."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from relman_server.kernel.errors import RelmanError
from tests.contract import RPCS, Rpc
from tests.fuzz.calls import send
from tests.fuzz.operations import DEADLINE, Operation, compose, correlation_id
from tests.fuzz.report import Fault, Report, described
from tests.fuzz.target import Target
from tests.fuzz.verdict import complaints, faults, warnings
from tests.fuzz.world import World, make_world

ROUND = 1000
"""Operations for which one world has to do."""
ENOUGH = 50
"""Faults after which more of them say nothing new."""


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        seed: What all chance comes from.
        operations: How many.
        only: Number of the only operation to run; None for all.
        in_flight: How many are under way at any time.
        seconds: After which no more are begun.
        rpc: What the names of those that are called have in them.
    """

    seed: int = 1
    operations: int = ROUND
    only: int | None = None
    in_flight: int = 16
    seconds: float = 1200.0
    rpc: str = ""

    @property
    def rpcs(self) -> tuple[Rpc, ...]:
        """What is called."""
        return tuple(rpc for rpc in RPCS if self.rpc in rpc.name)

    def command(self, engine: str) -> str:
        """Return the flags that send the same requests."""
        return f"--engine {engine} --seed {self.seed}" + (f" --rpc {self.rpc}" if self.rpc else "")


async def fuzz(target: Target, options: Options, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Run the operations and return what came of them.

    Args:
        target: The server.
        options: What to run.
        tell: Is told how far it is.
    """
    run = _Run(target, options)
    async with grpc.aio.insecure_channel(target.address) as channel:
        await run.rounds(channel, tell)
        await run.look_after(channel)
    return run.report


class _Run:
    def __init__(self, target: Target, options: Options) -> None:
        self.report = Report(options.command(target.engine))
        self._target = target
        self._options = options
        self._rpcs = options.rpcs
        self._ends_at = time.monotonic() + options.seconds
        self._log_read = len(target.log())

    async def rounds(self, channel: grpc.aio.Channel, tell: Callable[[str], None]) -> None:
        """Run round after round, each in a new world."""
        started, rounds = time.monotonic(), self._rounds()
        for numbers in rounds:
            try:
                world = await make_world(self._target.app, self._target.address, self._rpcs)
            except (grpc.aio.AioRpcError, RelmanError) as error:
                self._fault(f"the server cannot be used any more: {error}")
                break
            self.report.missing.update(world.missing)
            if not self.report.memory:
                self.report.memory.append(self._target.memory)
            await self._round(channel, world, numbers)
            self.report.memory.append(self._target.memory)
            self.report.seconds = time.monotonic() - started
            tell(self.report.progress(sum(map(len, rounds))))
            if why := self._over():
                self.report.notes.append(f"stopped early: {why}")
                break

    def _rounds(self) -> list[range]:
        only, operations = self._options.only, self._options.operations
        if only is not None:
            return [range(only, only + 1)]
        return [range(first, min(first + ROUND, operations)) for first in range(0, operations, ROUND)]

    def _over(self) -> str:
        """Return why to begin no more operations; empty when there is no reason."""
        if time.monotonic() > self._ends_at:
            return f"{self._options.seconds:.0f} s are over"
        if len(self.report.faults) >= ENOUGH:
            return "more faults would say nothing new"
        return "" if self._target.ended() is None else "the server is gone"

    async def _round(self, channel: grpc.aio.Channel, world: World, numbers: Iterable[int]) -> None:
        begun: dict[str, Operation] = {}
        waiting = iter(numbers)

        async def work() -> None:
            for number in waiting:  # one iterator for all: each takes what comes next
                if self._over():
                    return
                operation = begun[correlation_id(number)] = compose(self._options.seed, number, self._rpcs, world)
                answer = await send(channel, operation)
                begun[answer.correlation_id] = operation
                self.report.count(operation, answer)
                if self._options.only is not None:
                    said = answer.refusal.message if answer.refusal else ""
                    self.report.notes.append(f"{described(operation, 100_000)}: {answer.status} {said}")
                for what in faults(operation, answer):
                    self._fault(what, operation)

        await asyncio.gather(*(work() for _ in range(self._options.in_flight)))
        self._read_log(begun)

    def _read_log(self, begun: dict[str, Operation]) -> None:
        lines = self._target.log()[self._log_read :]
        self._log_read += len(lines)
        for what, about in complaints(lines):
            self._fault(what, begun.get(about) if about else None)
        self.report.warnings.update(warnings(lines))

    def _fault(self, what: str, operation: Operation | None = None) -> None:
        self.report.faults.append(Fault(what, operation))

    async def look_after(self, channel: grpc.aio.Channel) -> None:
        """Note it as a fault when the server died, is not well, or grows."""
        health = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            await asyncio.sleep(1)  # who does not listen any more may still be about to end
            self._fault(f"the server does not say how it is: {error.code().name}; {self._last_words()}")
        else:
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                self._fault(f"the server is not SERVING; {self._last_words()}")
        if self.report.grows:
            self._fault(f"the server grew to {self.report.memory[-1]:.0f} MiB, and goes on growing")
        self._read_log({})

    def _last_words(self) -> str:
        status = self._target.ended()
        said = "".join(f"\n    {line}" for line in self._target.log()[-10:])
        return f"it {'runs' if status is None else f'ended with status {status}'}, and logged at last:{said}"
