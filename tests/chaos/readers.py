"""Who follows logs and watches deployments, by both kinds of clients; some leave and come back by their cursors."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import relman_client
from relman_client import RelmanError, aio
from relman_client.credentials import Credentials
from relman_client.v1.deployment_pb2 import DeploymentEvent, DeploymentEventType, WatchDeploymentsRequest
from relman_client.v1.log_pb2 import LogEntries, TailLogsRequest, TailLogsResponse
from tests.chaos.history import Line, read_line

STAY = 1.0
"""Seconds after which one who hops leaves, with the next that comes, and comes back."""
_DONE = object()


class InThreads:
    """A follower of the synchronous client, iterated with asyncio."""

    def __init__(self, following: Any) -> None:  # Tail, Watch or Feed
        self._following = following

    def __getattr__(self, name: str) -> Any:
        return getattr(self._following, name)

    def __aiter__(self) -> "InThreads":
        return self

    async def __anext__(self) -> Any:
        item = await asyncio.to_thread(next, self._following, _DONE)
        if item is _DONE:
            raise StopAsyncIteration
        return item

    async def close(self) -> None:
        """End the call, and the wait of the thread."""
        self._following.close()


@asynccontextmanager
async def connected(kind: str, address: str, credentials: Credentials | None) -> AsyncIterator[Any]:
    """A client of a kind; yields what makes followers by their class and arguments."""
    if kind == "asyncio":
        async with aio.Client(address, credentials=credentials) as client:
            yield lambda name, *arguments, **more: getattr(aio, name)(client, *arguments, **more)
        return
    with relman_client.Client(address, credentials=credentials) as caller:
        yield lambda name, *arguments, **more: InThreads(getattr(relman_client, name)(caller, *arguments, **more))


class Reader(ABC):
    """Follows something until its end.

    Args:
        kind: "threads" or "asyncio".
        hops: Whether it leaves and comes back.
    """

    def __init__(self, kind: str, *, hops: bool) -> None:
        self.kind = kind
        self.name = f"{kind}, {'hopping' if hops else 'staying'}"
        self._hops = hops

    async def run(self, address: str, credentials: Credentials | None) -> None:
        """Read until the end, or until it is cancelled."""
        async with connected(self.kind, address, credentials) as follow:
            while not await self._stay(self.open(follow)):
                pass

    async def _stay(self, following: Any) -> bool:
        """Read for a while; return whether that was all."""
        leave_at = time.monotonic() + STAY
        try:
            async for event in following:
                self.take(event)
                if self._hops and time.monotonic() > leave_at:
                    return False
        except RelmanError as error:  # a follower whose first attempts fail gives up
            if not error.is_passing:
                raise
            return False
        else:
            return True
        finally:
            self.left(following)
            await following.close()

    @abstractmethod
    def open(self, follow: Any) -> Any:
        """Return a follower that goes on where this one is."""

    @abstractmethod
    def take(self, event: Any) -> None:
        """Take what came."""

    @abstractmethod
    def left(self, following: Any) -> None:
        """Remember where to go on."""


class Follower(Reader):
    """Follows a deployment's log.

    Attributes:
        deployment: Whose log.
        lines: What it saw.
        reached: The last line of each stream.
        gaps: How often it was told of lines that are gone.
        has_ended: Whether it was told that nothing more comes.
    """

    def __init__(self, kind: str, deployment: str, *, hops: bool) -> None:
        super().__init__(kind, hops=hops)
        self.deployment = deployment
        self.lines: list[Line] = []
        self.reached: dict[str, int] = {}
        self.gaps = 0
        self.has_ended = False
        self._cursor = ""

    def open(self, follow: Any) -> Any:
        """Tail from the cursor."""
        request = TailLogsRequest(deployment=self.deployment, follow=True)
        if self._cursor:
            request.cursor = self._cursor
        return follow("Tail", request)

    def take(self, event: Any) -> None:
        """Take lines, a gap or the end."""
        if isinstance(event, LogEntries):
            for entry in event.entries:
                line = read_line(entry.text, entry.sequence, event.stream_name)
                self.lines.append(line)
                self.reached[line.stream] = line.number
        self.gaps += isinstance(event, TailLogsResponse.Gap)
        self.has_ended |= isinstance(event, TailLogsResponse.End)

    def left(self, following: Any) -> None:
        """After the last event."""
        self._cursor = following.cursor


def _is_news(event: DeploymentEvent) -> bool:
    return event.type != DeploymentEventType.DEPLOYMENT_EVENT_TYPE_SNAPSHOT


class Watcher(Reader):
    """Watches one deployment from its beginning.

    Attributes:
        revisions: Of the events that it saw.
    """

    def __init__(self, kind: str, deployment: str, *, hops: bool) -> None:
        super().__init__(kind, hops=hops)
        self.deployment = deployment
        self.revisions: list[int] = []
        self._revision = 0

    def open(self, follow: Any) -> Any:
        """Watch after the last revision."""
        return follow("Watch", self.deployment, after_revision=self._revision)

    def take(self, event: Any) -> None:
        """Take an event; the state at the beginning is none."""
        if _is_news(event):
            self.revisions.append(event.revision)

    def left(self, following: Any) -> None:
        """After the last event."""
        self._revision = following.revision


class FeedReader(Reader):
    """Watches all deployments; it has no end.

    Attributes:
        revisions: Of the events that it saw, by deployment.
    """

    def __init__(self, kind: str, cursor: str, *, hops: bool) -> None:
        super().__init__(kind, hops=hops)
        self.revisions: dict[str, list[int]] = {}
        self._cursor = cursor

    def is_through(self, newest: Mapping[str, int]) -> bool:
        """Whether it saw the newest event of each of these deployments."""
        return all(self.revisions.get(key, [0])[-1] >= revision for key, revision in newest.items())

    def open(self, follow: Any) -> Any:
        """Watch after the cursor."""
        return follow("Feed", WatchDeploymentsRequest(cursor=self._cursor))

    def take(self, event: Any) -> None:
        """Take an event."""
        self.revisions.setdefault(event.deployment_id, []).append(event.revision)

    def left(self, following: Any) -> None:
        """After the last event."""
        self._cursor = following.cursor
