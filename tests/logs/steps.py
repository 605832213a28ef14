"""What tests of logs do again and again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from relman_client.v1 import deployment_pb2
from relman_client.v1 import log_pb2 as pb
from tests.factories import Caller, RunningServer, make_deployment


def holder(*entries: pb.LogEntry) -> pb.WriteLogsRequest.Append:
    """Entries in a message that brings them."""
    return pb.WriteLogsRequest.Append(entries=entries)


def lines(*texts: str, **fields: Any) -> list[pb.LogEntry]:
    """Return entries with these texts."""
    return [pb.LogEntry(text=text, **fields) for text in texts]


def texts_of(entries: Sequence[pb.LogEntry]) -> list[str]:
    """Return what lines say."""
    return [entry.text for entry in entries]


async def new_log(server: RunningServer, *stages: str) -> str:
    """Return the id of a new deployment with these stages."""
    return (await make_deployment(server.admin, server.admin, stages=stages)).id


async def append(caller: Caller, deployment: str, *texts: str, first: int = 1, **more: Any) -> pb.AppendLogsResponse:
    """Append lines with these texts."""
    more.setdefault("entries", lines(*texts))
    return await caller.logs.AppendLogs(pb.AppendLogsRequest(deployment=deployment, first_sequence=first, **more))


async def cancel(caller: Caller, deployment: str) -> None:
    """End a deployment."""
    await caller.deployments.CancelDeployment(deployment_pb2.CancelDeploymentRequest(deployment=deployment))


async def tail(caller: Caller, deployment: str, **fields: Any) -> list[pb.TailLogsResponse]:
    """Return every answer of a tail but progress, which must come to an end."""
    call = caller.logs.TailLogs(pb.TailLogsRequest(deployment=deployment, **fields))
    return [answer async for answer in call if answer.WhichOneof("event") != "progress"]


def said(answers: Sequence[pb.TailLogsResponse]) -> list[str]:
    """Return the lines in the answers of a tail."""
    return [entry.text for answer in answers for entry in answer.entries.entries]


class Follower:
    """Reads a tail in the background.

    Attributes:
        answers: What came.
        cursor: Of the last answer.
    """

    def __init__(self, caller: Caller, deployment: str, **fields: Any) -> None:
        self.answers: list[pb.TailLogsResponse] = []
        self.cursor = ""
        request = pb.TailLogsRequest(deployment=deployment, follow=True, **fields)
        self.call: Any = caller.logs.TailLogs(request, timeout=60)
        self._came = asyncio.Event()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for answer in self.call:
            self.answers.append(answer)
            self.cursor = answer.cursor
            self._came.set()

    @property
    def texts(self) -> list[str]:
        """The lines that came."""
        return said(self.answers)

    @property
    def events(self) -> list[str | None]:
        """What kind of answers came."""
        return [answer.WhichOneof("event") for answer in self.answers]

    async def has(self, count: int) -> list[str]:
        """Wait for so many lines and return them."""
        async with asyncio.timeout(20):
            while len(self.texts) < count:
                await self._next()
        return self.texts

    async def caught_up(self) -> None:
        """Wait until the follower has read everything there was."""
        async with asyncio.timeout(20):
            while "progress" not in self.events:
                await self._next()

    async def _next(self) -> None:
        self._came.clear()
        coming = asyncio.create_task(self._came.wait())
        await asyncio.wait({coming, self.task}, return_when=asyncio.FIRST_COMPLETED)
        coming.cancel()
        if self.task.done():
            await self.task

    async def to_the_end(self) -> None:
        """Wait until the tail ends."""
        async with asyncio.timeout(30):
            await self.task

    async def leave(self) -> None:
        """Cancel the call."""
        self.call.cancel()
        await asyncio.wait({self.task})


class Writer:
    """A call of WriteLogs: what is written, and what is answered, one by one."""

    def __init__(self, caller: Caller, **opening: Any) -> None:
        self._requests: asyncio.Queue[pb.WriteLogsRequest | None] = asyncio.Queue()
        if opening:
            self.send(open=pb.WriteLogsRequest.Open(**opening))
        self.call: Any = caller.logs.WriteLogs(self._pending(), timeout=60)

    async def _pending(self) -> AsyncIterator[pb.WriteLogsRequest]:
        while (request := await self._requests.get()) is not None:
            yield request

    def send(self, **action: Any) -> None:
        """Write a message: `open`, `append` or `finish`."""
        self._requests.put_nowait(pb.WriteLogsRequest(**action))

    def append(self, first: int, *texts: str) -> None:
        """Write lines."""
        self.send(append=pb.WriteLogsRequest.Append(first_sequence=first, entries=lines(*texts)))

    def finish(self, last: int) -> None:
        """Write the end."""
        self.send(finish=pb.WriteLogsRequest.Finish(last_sequence=last))

    def close(self) -> None:
        """Write nothing more."""
        self._requests.put_nowait(None)

    async def answer(self) -> tuple[int, bool]:
        """Return the next answer: what is committed, and whether it is finished."""
        response = await self.call.read()
        assert isinstance(response, pb.WriteLogsResponse), "the call ended"
        return response.committed_sequence, response.finished
