"""Following streams with asyncio: `relman_client.resume`, `tail` and `watch` with `await`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Generic, Self, TypeVar

from relman_client.errors import RelmanError
from relman_client.resume import Breaks, HasCursor, Position, ResumeOptions, ended_early
from relman_client.retries import RetryOptions
from relman_client.tail import DownloadPosition, DownloadRequest, TailEvent, TailPosition
from relman_client.v1.deployment_pb2 import DeploymentEvent, WatchDeploymentsRequest
from relman_client.v1.log_pb2 import DownloadLogsRequest, TailLogsRequest
from relman_client.watch import FeedPosition, WatchPosition

if TYPE_CHECKING:
    from relman_client.aio.client import Client

Event = TypeVar("Event")


class Following(Generic[Event]):
    """Events of a stream, each once, until it is complete: iterate it. It resumes after any break.

    Break off with `close`, or by leaving an `async with` block, in the task that iterates; cancelling that task ends
    the call, too.
    """

    def __init__(
        self,
        call: Callable[[Any], Any],
        position: Position[Event],
        options: ResumeOptions | None,
        retries: RetryOptions,
    ) -> None:
        self._events = _follow(call, position, Breaks(options or ResumeOptions(), retries))

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def close(self) -> None:
        """End the call."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _follow(call: Callable[[Any], Any], position: Position[Event], breaks: Breaks) -> AsyncGenerator[Event, None]:
    while True:
        breaks.opened()
        try:
            async with aclosing(call(position.request())) as answers:
                async for answer in answers:
                    event = position.accept(answer)
                    breaks.heard(is_news=event is not None)
                    if event is not None:
                        yield event
            if position.is_complete():
                return
            delay = breaks.delay(ended_early())
        except RelmanError as error:
            if position.is_over():
                return
            delay = breaks.delay(error)
        await asyncio.sleep(delay)


class Tail(HasCursor, Following[TailEvent]):
    """The lines of a log: see `relman_client.Tail`."""

    def __init__(self, client: "Client", request: TailLogsRequest, options: ResumeOptions | None = None) -> None:
        self._position = TailPosition(request)
        super().__init__(client.logs.TailLogs, self._position, options, client.options.retries)


class Download(HasCursor, Following[bytes]):
    """A deployment's log, or the audit log, as a file: see `relman_client.Download`."""

    def __init__(self, client: "Client", request: DownloadRequest, options: ResumeOptions | None = None) -> None:
        self._position = DownloadPosition(request)
        is_log = isinstance(request, DownloadLogsRequest)
        call = client.logs.DownloadLogs if is_log else client.audit.ExportAuditLogs
        super().__init__(call, self._position, options, client.options.retries)

    async def save(self, file: IO[bytes]) -> int:
        """Write it to a binary file, in threads, so that a slow disk holds up nobody; answers how many bytes."""
        size = 0
        async for part in self:
            size += await asyncio.to_thread(file.write, part)
        return size


class Watch(Following[DeploymentEvent]):
    """What happens to a deployment: see `relman_client.Watch`."""

    def __init__(
        self,
        client: "Client",
        deployment: str,
        *,
        after_revision: int | None = None,
        keep_open: bool = False,
        options: ResumeOptions | None = None,
    ) -> None:
        """Prepare to watch, with the same arguments as the synchronous one."""
        self._position = WatchPosition(deployment, after_revision, keep_open=keep_open)
        super().__init__(client.deployments.WatchDeployment, self._position, options, client.options.retries)

    @property
    def revision(self) -> int | None:
        """Where to go on later."""
        return self._position.revision


class Feed(HasCursor, Following[DeploymentEvent]):
    """What happens to all deployments: see `relman_client.Feed`."""

    def __init__(
        self, client: "Client", request: WatchDeploymentsRequest | None = None, options: ResumeOptions | None = None
    ) -> None:
        """Prepare to watch all, or those that the request asks for."""
        self._position = FeedPosition(request or WatchDeploymentsRequest())
        super().__init__(client.deployments.WatchDeployments, self._position, options, client.options.retries)
