"""Writing a log with asyncio."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from relman_client.errors import RelmanError
from relman_client.log_buffer import Line, WriterOptions
from relman_client.log_lines import lines_of
from relman_client.log_state import HasState, Link, WriterState
from relman_client.resume import ended_early
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.log_pb2 import LogSource, WriteLogsRequest

if TYPE_CHECKING:
    from relman_client.aio.client import Client


class LogWriter(HasState):
    """Writes the lines of one stream of a deployment's log: the same as `relman_client.LogWriter`, with `await`.

        async with LogWriter(client, WriteLogsRequest.Open(deployment=id, stage="build")) as log:
            await log.write("compiling")

    For one event loop: it sends while that is free.
    """

    def __init__(
        self,
        client: "Client",
        stream: WriteLogsRequest.Open,
        options: WriterOptions | None = None,
        *,
        on_break: Callable[[RelmanError], None] = lambda _error: None,
        on_resume: Callable[[], None] = lambda: None,
    ) -> None:
        """Start connecting; within the event loop to use. `on_break` and `on_resume` are called once each outage."""
        self._client = client
        self._on_break = on_break
        self._on_resume = on_resume
        self._state = WriterState(stream, options or WriterOptions(), client.options.retries, time.monotonic())
        self._changed = asyncio.Event()  # another one after each change
        self._task = asyncio.create_task(self._run(), name="relman-log-writer")

    async def write(
        self,
        text: str | bytes,
        *,
        source: "LogSource.ValueType" = LogSource.LOG_SOURCE_STDOUT,
        severity: "Severity.ValueType" = Severity.SEVERITY_UNSPECIFIED,
        nanoseconds: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as the synchronous writer has it
    ) -> None:
        """Add a line, or several; waits while the buffer is full. Arguments and errors as of the synchronous writer."""
        state = self._state
        timeout = state.options.max_block if timeout is None else timeout
        when = time.time_ns() if nanoseconds is None else nanoseconds
        lines, is_repaired = lines_of(text)
        for line in lines:
            if not state.has_room() and not await self._wait_until(state.has_room, timeout):
                raise TimeoutError(f"the buffer of the log was full for {timeout} s")
            if state.add(Line(line, when, source, severity, is_repaired), time.monotonic()):
                self._notify()
                await asyncio.sleep(0)  # who writes without ever waiting lets it send, too

    async def flush(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        """Wait until everything written so far is on disk. Errors as of the synchronous writer."""
        count = self._state.await_all(time.monotonic())
        self._notify()
        arrived = await self._wait_until(lambda: self._state.has_arrived(count) or self._state.failure, timeout)
        self._raise_failure()
        if not arrived:
            raise TimeoutError(f"{self.unacknowledged} lines were not acknowledged within {timeout} s")

    async def close(self, timeout: float | None = None, *, finish: bool = True) -> None:  # noqa: ASYNC109 - as above
        """Send what is left, wait until it is on disk, and end the stream. As the synchronous writer does."""
        state = self._state
        state.close(time.monotonic(), finish=finish)
        self._notify()
        try:
            await self._wait_until(lambda: state.is_over or state.failure, timeout)
        finally:
            arrived, state.is_over = state.is_over, True
            self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._raise_failure()
        if not arrived:
            raise TimeoutError(f"{self.unacknowledged} lines were not acknowledged within {timeout} s")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(self._state.options.close_timeout)

    def _notify(self) -> None:
        """Wake everyone who waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait_until(self, condition: Callable[[], object], seconds: float | None) -> bool:
        """Wait for a change after which the condition holds; answers whether it does."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._changed.wait()
        return bool(condition())

    async def _run(self) -> None:
        """The writer's task. Were it to die silently, those who write would wait for ever."""
        try:
            await self._keep_connected()
        except RelmanError as error:
            self._state.failure = error
        except Exception as error:  # noqa: BLE001 - also of on_break and on_resume
            self._state.failure = RelmanError(
                grpc.StatusCode.INTERNAL, f"the log writer failed: {error!r}", reason="INTERNAL"
            )
        finally:
            self._notify()

    async def _keep_connected(self) -> None:
        """Connect, and again after a break; raises the error that will not pass."""
        while True:
            error = await self._connect()
            if self._state.is_over:
                return
            delay = self._state.delay_after(error, time.monotonic())
            if self._state.breaks(error):
                self._on_break(error)
            if await self._wait_until(lambda: self._state.is_over, delay):
                return

    async def _connect(self) -> RelmanError:
        """One connection from beginning to end; answers why it ended."""
        link = Link(time.monotonic())
        call: Any = self._client.logs.WriteLogs  # ours, in the place of grpc's
        try:
            async with aclosing(call(self._requests(link))) as responses:
                async for response in responses:
                    resumed = self._state.heard(link, response, time.monotonic())
                    self._notify()
                    if resumed:
                        self._on_resume()
            return ended_early()
        except RelmanError as error:
            return error
        finally:
            link.is_broken = True

    async def _requests(self, link: Link) -> AsyncIterator[WriteLogsRequest]:
        """What is sent over one connection. Runs in a task of grpc's, which ends with the call."""
        yield self._state.opening()
        while (request := self._state.next_request(link, time.monotonic())) is not None:
            if isinstance(request, float):
                await self._wait_for_change(request)
            else:
                yield request

    async def _wait_for_change(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
