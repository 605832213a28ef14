"""Writing a log so that every line arrives once, in order, whatever happens to the connection or the server."""

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from relman_client.errors import RelmanError
from relman_client.log_buffer import Line, WriterOptions
from relman_client.log_lines import lines_of
from relman_client.log_state import HasState, Link, WriterState
from relman_client.resume import ended_early
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.log_pb2 import LogSource, WriteLogsRequest

if TYPE_CHECKING:
    from relman_client.client import Client

__all__ = ["LogWriter", "WriterOptions"]

_LONGEST_WAIT = 0.5


class LogWriter(HasState):
    """Writes the lines of one stream of a deployment's log.

        with LogWriter(client, WriteLogsRequest.Open(deployment=id, stage="build")) as log:
            log.write("compiling")

    `write` returns at once; a thread sends what was written, in batches, without waiting for one before it sends the
    next, keeps it until the server has it on disk, and after a break connects again and goes on where the server is. A
    stream that exists already is continued.

    Memory is bounded. When the server stays away until 8 MiB are waiting, `write` blocks as it would on a full pipe,
    for as long as it takes: nothing is lost unless asked for. `WriterOptions` bounds that time, or lets lines be
    dropped (which the log then says), or gives up after a time. What is waiting is in memory only, so a process that
    ends without `close` loses it.

    What cannot pass by itself ends the writer, and `write`, `flush` and `close` raise it: SequenceConflictError,
    LinesLostError, LogFinishedError, LogQuotaError, WriterFencedError, or another RelmanError, for missing rights or a
    login that has ended. Leaving the `with` block closes the stream, also after an exception. All methods may be called
    from any thread.
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
        """Start connecting. `on_break` and `on_resume` are called in the writer's thread, once each outage."""
        self._client = client
        self._on_break = on_break
        self._on_resume = on_resume
        self._state = WriterState(stream, options or WriterOptions(), client.options.retries, time.monotonic())
        self._changed = threading.Condition()
        self._link = Link(time.monotonic())
        self._cancel: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="relman-log-writer", daemon=True)
        self._thread.start()

    def write(
        self,
        text: str | bytes,
        *,
        source: "LogSource.ValueType" = LogSource.LOG_SOURCE_STDOUT,
        severity: "Severity.ValueType" = Severity.SEVERITY_UNSPECIFIED,
        nanoseconds: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Add a line, or several separated by line ends; blocks while the buffer is full.

        Args:
            text: Bytes that are not UTF-8 are replaced and flagged; a line of more than 64 KiB becomes several.
            source: Where it came from.
            severity: How serious it is; unset is stored as INFO.
            nanoseconds: When it was printed, since 1970; unset means now.
            timeout: Seconds to wait while the buffer is full; unset: `max_block` of the options.

        Raises:
            TimeoutError: The buffer was full for so long; the line, or the rest of several, is not added.
            RelmanError: The writer had to give up.
            ValueError: It was closed.
        """
        state = self._state
        timeout = state.options.max_block if timeout is None else timeout
        when = time.time_ns() if nanoseconds is None else nanoseconds
        lines, is_repaired = lines_of(text)
        for line in lines:
            with self._changed:
                if not (state.has_room() or self._wait_until(state.has_room, timeout)):
                    raise TimeoutError(f"the buffer of the log was full for {timeout} s")
                if state.add(Line(line, when, source, severity, is_repaired), time.monotonic()):
                    self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything written so far is on disk.

        Raises:
            TimeoutError: It was not within that many seconds; the writer goes on trying.
            RelmanError: The writer had to give up.
        """
        with self._changed:
            count = self._state.await_all(time.monotonic())
            self._changed.notify_all()
            arrived = self._wait_until(lambda: self._state.has_arrived(count) or self._state.failure, timeout)
            self._raise_failure()
            if not arrived:
                raise TimeoutError(f"{self.unacknowledged} lines were not acknowledged within {timeout} s")

    def close(self, timeout: float | None = None, *, finish: bool = True) -> None:
        """Send what is left, wait until it is on disk, and end the stream.

        Args:
            timeout: Seconds after which to give up; what was not acknowledged then may be lost.
            finish: Say that no more lines will come at all; without it the stream can be continued later.

        Raises:
            TimeoutError: Not everything was acknowledged in time.
            RelmanError: The writer had to give up.
        """
        state = self._state
        with self._changed:
            state.close(time.monotonic(), finish=finish)
            self._changed.notify_all()
            try:
                self._wait_until(lambda: state.is_over or state.failure, timeout)
            finally:
                arrived, state.is_over = state.is_over, True
                self._link.is_broken = True
                self._changed.notify_all()
        self._cancel()
        self._raise_failure()
        if not arrived:
            raise TimeoutError(f"{self.unacknowledged} lines were not acknowledged within {timeout} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(self._state.options.close_timeout)

    def _wait_until(self, condition: Callable[[], object], timeout: float | None) -> bool:
        """Wait for a change after which the condition holds; answers whether it does.

        In short waits: Python heeds signals only between them, when another thread (gRPC has some) received them.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not condition():
            left = _LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            self._changed.wait(min(left, _LONGEST_WAIT))
        return True

    def _run(self) -> None:
        """The writer's thread. Were it to die silently, those who write would block for ever."""
        try:
            self._keep_connected()
        except RelmanError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001 - also of on_break and on_resume, and of a client that was closed
            self._give_up(RelmanError(grpc.StatusCode.INTERNAL, f"the log writer failed: {error!r}", reason="INTERNAL"))

    def _keep_connected(self) -> None:
        """Connect, and again after a break; raises the error that will not pass."""
        while True:
            error = self._connect()
            with self._changed:
                if self._state.is_over:
                    return
                delay = self._state.delay_after(error, time.monotonic())
                breaks = self._state.breaks(error)
            if breaks:
                self._on_break(error)
            with self._changed:
                if self._changed.wait_for(lambda: self._state.is_over, delay):
                    return

    def _connect(self) -> RelmanError:
        """One connection from beginning to end; answers why it ended."""
        link = self._link = Link(time.monotonic())
        responses = self._client.logs.WriteLogs(self._requests(link))
        self._cancel = responses.cancel
        try:
            for response in responses:
                with self._changed:
                    resumed = self._state.heard(link, response, time.monotonic())
                    self._changed.notify_all()
                if resumed:
                    self._on_resume()
            return ended_early()
        except RelmanError as error:
            return error
        finally:
            with self._changed:
                link.is_broken = True  # lets the thread that sends end
                self._changed.notify_all()
            responses.cancel()

    def _give_up(self, error: RelmanError) -> None:
        with self._changed:
            self._state.failure = error
            self._changed.notify_all()

    def _requests(self, link: Link) -> Iterator[WriteLogsRequest]:
        """What is sent over one connection. Runs in a thread of grpc's."""
        yield self._state.opening()
        while (request := self._next_request(link)) is not None:
            yield request

    def _next_request(self, link: Link) -> WriteLogsRequest | None:
        """Wait for the next message to send; None when there is no more for this connection."""
        with self._changed:
            while isinstance(request := self._state.next_request(link, time.monotonic()), float):
                self._changed.wait(request)
        return request
