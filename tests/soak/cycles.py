"""One stream, opened and left: every kind of stream, at every moment at which a caller can leave."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from relman_client.v1.deployment_pb2 import WatchDeploymentRequest, WatchDeploymentsRequest
from relman_client.v1.log_pb2 import LogEntry, TailLogsRequest, WriteLogsRequest
from tests.factories import Caller, Refusal

DEADLINE = 0.05
LINES = 20
LEFT = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL}
"""How a stream may end that is left; INTERNAL is what grpc.aio says when it ends while a message is being sent."""


class Cycles:
    """Opens and leaves streams, as one caller.

    Args:
        caller: Who calls.
        deployment: Whose log is followed and written, and what is watched.
        name: Of the stream that this one writes.
        seed: What chance comes from.
        only: What the descriptions of those that are opened have in them.
    """

    def __init__(self, caller: Caller, deployment: str, name: str, seed: int, only: str = "") -> None:
        self._caller = caller
        self._deployment = deployment
        self._name = name
        self._random = random.Random(seed)
        self._kinds: dict[str, Callable[[float | None], Any]] = {
            "tail": self._tail,
            "tail without following": self._read,
            "watch": self._watch,
            "feed": self._feed,
            "writer": self._write,
        }
        self._moments: dict[str, Callable[[Any], Awaitable[None]]] = {
            "before anything": self._at_once,
            "at some moment": self._soon,
            "after the first answer": self._after_one,
            "after the deadline": self._to_the_end,
        }
        every = itertools.product(self._kinds, self._moments)
        self._ways = [(kind, moment) for kind, moment in every if only in _described(kind, moment)]

    async def run(self) -> str:
        """Open a stream and leave it; return which, and when."""
        kind, moment = self._random.choice(self._ways)
        call = self._kinds[kind](DEADLINE if moment == "after the deadline" else None)
        try:
            await self._moments[moment](call)
        except grpc.aio.AioRpcError as error:
            if error.code() not in LEFT or Refusal(error).reason not in ("", "DEADLINE_EXCEEDED"):
                raise
        finally:
            call.cancel()
        return _described(kind, moment)

    # --- kinds

    def _tail(self, timeout: float | None) -> Any:
        request = TailLogsRequest(deployment=self._deployment, follow=True, tail_lines=LINES)
        return self._caller.logs.TailLogs(request, timeout=timeout)

    def _read(self, timeout: float | None) -> Any:
        request = TailLogsRequest(deployment=self._deployment, tail_lines=LINES)
        return self._caller.logs.TailLogs(request, timeout=timeout)

    def _watch(self, timeout: float | None) -> Any:
        request = WatchDeploymentRequest(deployment=self._deployment, after_revision=0, keep_open=True)
        return self._caller.deployments.WatchDeployment(request, timeout=timeout)

    def _feed(self, timeout: float | None) -> Any:
        return self._caller.deployments.WatchDeployments(WatchDeploymentsRequest(), timeout=timeout)

    def _write(self, timeout: float | None) -> Any:
        return _Writer(self._caller.logs.WriteLogs(timeout=timeout), self._deployment, self._name)

    # --- moments

    async def _at_once(self, call: Any) -> None:
        """The request may not even be on its way."""

    async def _soon(self, call: Any) -> None:
        reading = asyncio.ensure_future(self._to_the_end(call))
        await asyncio.wait([reading], timeout=self._random.uniform(0, 2 * DEADLINE))
        call.cancel()
        reading.cancel()  # grpc.aio lets who writes to a call that is cancelled wait for ever
        await asyncio.gather(reading, return_exceptions=True)

    async def _after_one(self, call: Any) -> None:
        await call.read()

    async def _to_the_end(self, call: Any) -> None:
        while await call.read() is not grpc.aio.EOF:
            pass


def _described(kind: str, moment: str) -> str:
    return f"{kind}, left {moment}"


class _Writer:
    """A writer's call: it opens its stream before its first answer, and sends a line after each."""

    def __init__(self, call: Any, deployment: str, stream: str) -> None:
        self._call = call
        self._next = WriteLogsRequest(open=WriteLogsRequest.Open(deployment=deployment, stream_name=stream))

    async def read(self) -> Any:
        """Send what is next, and return the answer to it."""
        await self._call.write(self._next)
        answer = await self._call.read()
        if answer is not grpc.aio.EOF:
            first = answer.committed_sequence + 1
            entries = [LogEntry(text=f"line {first}")]
            self._next = WriteLogsRequest(append=WriteLogsRequest.Append(first_sequence=first, entries=entries))
        return answer

    def cancel(self) -> None:
        """Leave."""
        self._call.cancel()
