"""Writing a log so that every line arrives once, in order, whatever happens to the connection or the server."""

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from relman_client.errors import RelmanError
from relman_client.log_buffer import LogBuffer, WriterOptions
from relman_client.log_lines import entries_of
from relman_client.resume import ended_early
from relman_client.retries import Backoff
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.log_pb2 import LogSource, WriteLogsRequest, WriteLogsResponse

if TYPE_CHECKING:
    from relman_client.client import Client

__all__ = ["LogWriter", "WriterOptions"]

_LONGEST_WAIT = 0.5


class _Link:
    """One connection of a writer."""

    def __init__(self) -> None:
        self.is_open = False
        """The server said where to resume."""
        self.is_broken = False
        self.finish_sent = False


class LogWriter:
    """Writes the lines of one stream of a deployment's log.

        with LogWriter(client, WriteLogsRequest.Open(deployment=id, stage="build")) as log:
            log.write("compiling")

    `write` returns at once; a thread sends what was written, in batches, keeps it until the server has it on disk,
    and after a break connects again and goes on where the server is. A stream that exists already is continued.
    Memory is bounded: with 8 MiB waiting, `write` blocks until some of it is acknowledged.

    What cannot pass by itself (a stream that is finished, a quota, missing rights) ends the writer: `write`, `flush`
    and `close` then raise it. Leaving the `with` block closes the stream, also after an exception.
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
        self._stream = stream
        self._on_break = on_break
        self._on_resume = on_resume
        self._buffer = LogBuffer(options or WriterOptions())
        self._changed = threading.Condition()
        self._hurry = False  # someone waits: send at once
        self._closing = False
        self._finish = False
        self._done = False
        self._failure: RelmanError | None = None
        self._link = _Link()
        self._is_broken = False  # and whoever asked for it was told
        self._cancel: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="relman-log-writer", daemon=True)
        self._thread.start()

    @property
    def committed_sequence(self) -> int | None:
        """Number of the last line that is on disk; None before the server was reached."""
        return self._buffer.committed

    @property
    def unacknowledged(self) -> int:
        """Lines that are not known to be on disk."""
        with self._changed:
            return len(self._buffer)

    @property
    def failure(self) -> RelmanError | None:
        """What ended the writer; None while it works or tries to."""
        return self._failure

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
            timeout: Seconds to wait while the buffer is full; unset: as long as it takes.

        Raises:
            TimeoutError: The buffer was full for so long; the line is not added.
            RelmanError: The writer had to give up.
            ValueError: It was closed.
        """
        for entry in entries_of(text, source, severity, nanoseconds):
            with self._changed:
                has_room = self._wait_until(lambda: not self._buffer.is_full or self._failure or self._closing, timeout)
                self._raise_failure()
                if not has_room:
                    raise TimeoutError(f"the buffer of the log was full for {timeout} s")
                if self._closing:
                    raise ValueError("the log writer is closed")
                was_idle = not self._buffer.has_unsent
                self._buffer.add(entry, time.monotonic())
                if was_idle or self._buffer.has_full_batch:
                    self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything written so far is on disk.

        Raises:
            TimeoutError: It was not within that many seconds; the writer goes on trying.
            RelmanError: The writer had to give up.
        """
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            arrived = self._wait_until(lambda: not len(self._buffer) or self._failure, timeout)
            self._hurry = False
            self._raise_failure()
            if not arrived:
                raise TimeoutError(f"{len(self._buffer)} lines were not acknowledged within {timeout} s")

    def close(self, timeout: float | None = None, *, finish: bool = True) -> None:
        """Send what is left, wait until it is on disk, and end the stream.

        Args:
            timeout: Seconds after which to give up; what was not acknowledged then may be lost.
            finish: Say that no more lines will come at all; without it the stream can be continued later.

        Raises:
            TimeoutError: Not everything was acknowledged in time.
            RelmanError: The writer had to give up.
        """
        with self._changed:
            self._closing, self._finish = True, finish
            self._done = self._done or self._is_settled(finished=False)
            self._changed.notify_all()
            self._wait_until(lambda: self._done or self._failure, timeout)
            finished, self._done = self._done, True
            self._link.is_broken = True
            self._changed.notify_all()
            self._raise_failure()
        self._cancel()
        if not finished:
            raise TimeoutError(f"{len(self._buffer)} lines were not acknowledged within {timeout} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        """The writer's thread. Were it to die silently, those who write would block for ever."""
        try:
            self._give_up(self._keep_connected())
        except Exception as error:  # noqa: BLE001 - also of on_break and on_resume
            self._give_up(RelmanError(grpc.StatusCode.INTERNAL, f"the log writer failed: {error!r}", reason="INTERNAL"))

    def _keep_connected(self) -> RelmanError | None:
        """Connect, and again after a break; answers the error that will not pass."""
        backoff = Backoff(self._client.options.retries)
        while True:
            error = self._connect(backoff)
            if self._done:
                return None
            if not (error.is_passing or error.reason == "SEQUENCE_GAP"):
                return error
            if not self._is_broken and not error.token_was_refreshed:  # nothing broke when only the token was old
                self._is_broken = True
                self._on_break(error)
            with self._changed:
                if self._changed.wait_for(lambda: self._done, backoff.next(error)):
                    return None

    def _connect(self, backoff: Backoff) -> RelmanError:
        """One connection from beginning to end; answers why it ended."""
        link = self._link = _Link()
        responses = self._client.logs.WriteLogs(self._requests(link))
        self._cancel = responses.cancel
        try:
            for response in responses:
                if self._is_broken:
                    self._is_broken = False
                    self._on_resume()
                backoff.reset()
                self._acknowledge(link, response)
            return ended_early()
        except RelmanError as error:
            return error
        finally:
            with self._changed:
                link.is_broken = True  # lets the thread that sends end
                self._changed.notify_all()
            responses.cancel()

    def _acknowledge(self, link: _Link, response: WriteLogsResponse) -> None:
        with self._changed:
            if link.is_open:
                self._buffer.acknowledge(response.committed_sequence)
            else:
                self._buffer.resume(response.committed_sequence)
                link.is_open = True
            self._done = self._done or self._is_settled(finished=response.finished)
            if response.finished and not self._done:
                raise RelmanError(
                    grpc.StatusCode.FAILED_PRECONDITION, "the log stream is finished", reason="LOG_FINISHED"
                )
            self._changed.notify_all()

    def _is_settled(self, *, finished: bool) -> bool:
        """Whether nothing is left to do; told by what the server said last of the stream."""
        return self._closing and not len(self._buffer) and (finished or not self._finish)

    def _give_up(self, error: RelmanError | None) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def _requests(self, link: _Link) -> Iterator[WriteLogsRequest]:
        """What is sent over one connection. Runs in a thread of grpc's."""
        yield WriteLogsRequest(open=self._stream)
        while (request := self._next_request(link)) is not None:
            yield request

    def _next_request(self, link: _Link) -> WriteLogsRequest | None:
        """Wait for the next message to send; None when there is no more for this connection."""
        with self._changed:
            self._changed.wait_for(lambda: link.is_open or link.is_broken)
            while not (link.is_broken or link.finish_sent):
                due_in = self._buffer.due_in(time.monotonic())
                if due_in is not None and (due_in == 0 or self._hurry or self._closing):
                    return WriteLogsRequest(append=self._buffer.take())
                if due_in is None and self._closing:
                    if not self._finish:
                        return None
                    link.finish_sent = True
                    return WriteLogsRequest(finish=WriteLogsRequest.Finish(last_sequence=self._buffer.last_sequence))
                self._changed.wait(due_in)
        return None
