"""Who writes logs: both kinds of writers of the client library, and one who appends by hand."""

import asyncio
from typing import Any, Protocol

from relman_client import ClientOptions, RetryOptions, aio
from relman_client.credentials import Credentials
from relman_client.v1.log_pb2 import AppendLogsRequest, LogEntry
from tests.chaos.history import text_of
from tests.chaos.notes import Notes
from tests.client.writers import opening

PACE = 0.01
BATCH = 7
PATIENCE = 90.0
BY_HAND = ClientOptions(timeout=3, retries=RetryOptions(attempts=1))
"""Every answer comes to who asked: what the library would repeat silently is counted."""


class Author(Protocol):
    """Who writes one stream.

    Attributes:
        deployment: Whose log it is of.
        stream: Its name.
    """

    deployment: str
    stream: str

    @property
    def written(self) -> int:
        """How many lines there are that may be sent by now."""

    @property
    def acknowledged(self) -> int:
        """How many of them are on disk, as the server said."""

    async def run(self, stop: asyncio.Event) -> None:
        """Write until told to stop, and wait until all of it is on disk."""


class Writer:
    """Writes by the library's writer, of the kind "threads" or "asyncio"."""

    def __init__(self, kind: str, address: str, credentials: Credentials | None, deployment: str, stream: str) -> None:
        self.deployment = deployment
        self.stream = stream
        self.written = 0
        self._opening = opening(kind, address, credentials)
        self._writer: Any = None  # of either kind

    @property
    def acknowledged(self) -> int:
        """As the server said last."""
        return (self._writer.committed_sequence or 0) if self._writer else 0

    async def run(self, stop: asyncio.Event) -> None:
        """Write line after line."""
        async with self._opening as open_writer:
            self._writer = open_writer(self.deployment, {"stream_name": self.stream})
            while not stop.is_set():
                self.written += 1
                await self._writer.write(text_of(self.stream, self.written))
                await asyncio.sleep(PACE)
            await self._writer.close(PATIENCE)


class Appender:
    """Appends some lines at a time, and the same ones again for as long as it is not told that they are on disk."""

    def __init__(
        self, address: str, credentials: Credentials | None, deployment: str, stream: str, notes: Notes
    ) -> None:
        self.deployment = deployment
        self.stream = stream
        self.written = 0
        self.acknowledged = 0
        self._address = address
        self._credentials = credentials
        self._notes = notes

    async def run(self, stop: asyncio.Event) -> None:
        """Append batch after batch."""
        async with aio.Client(self._address, credentials=self._credentials, options=BY_HAND) as client:
            while not stop.is_set():
                await self._append(client, BATCH)
                await asyncio.sleep(PACE * BATCH)
            await self._append(client, 0, finish=True)

    async def _append(self, client: aio.Client, count: int, *, finish: bool = False) -> None:
        first, self.written = self.written + 1, self.written + count
        request = AppendLogsRequest(
            deployment=self.deployment,
            stream_name=self.stream,
            first_sequence=first,
            entries=[LogEntry(text=text_of(self.stream, number)) for number in range(first, self.written + 1)],
            finish=finish,
        )
        answer = await self._notes.persist(lambda: client.logs.AppendLogs(request))
        self.acknowledged = answer.committed_sequence
        if answer.committed_sequence != self.written:
            self._notes.faults.append(f"{self.stream}: {self.written} lines sent, {answer} answered")
