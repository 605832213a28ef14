"""What a log writer knows and does next, without a lock, a thread or a connection: both kinds of writers share it.

A writer adds lines, and asks for what to send; tells what the server answered, and how a connection ended; and learns
how long to wait before the next one, or that there is none.
"""

from dataclasses import dataclass
from time import time_ns

import grpc

from relman_client.errors import LogFinishedError, RelmanError, SequenceGapError
from relman_client.log_buffer import Line, LogBuffer, WriterOptions
from relman_client.retries import Backoff, RetryOptions
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.log_pb2 import LogSource, WriteLogsRequest, WriteLogsResponse

UNTIL_CHANGED = 3600.0  # seconds


@dataclass
class Link:
    """One connection of a writer."""

    began: float
    is_open: bool = False
    """The server said where to resume."""
    is_broken: bool = False
    finish_sent: bool = False


class WriterState:
    """A log writer. Times are seconds of the monotonic clock.

    Attributes:
        options: How to batch and when to stop.
        buffer: What is not acknowledged.
        failure: What ended it; None while it works or tries to.
        is_closing: No more lines are taken.
        is_over: Nothing is left to do, or nobody waits for it any more.
        is_broken: There is an outage, and whoever asked for it was told.
    """

    def __init__(
        self, stream: WriteLogsRequest.Open, options: WriterOptions, retries: RetryOptions, now: float
    ) -> None:
        self.options = options
        self.buffer = LogBuffer(options)
        self.failure: RelmanError | None = None
        self.is_closing = False
        self.is_over = False
        self.is_broken = False
        self._stream = stream
        self._retries = retries
        self._backoff = Backoff(retries)
        self._finish = False
        self._added = 0  # lines, ever
        self._awaited = 0  # someone waits for as many of them to be on disk
        self._dropped = 0
        self._gaps = 0
        self._away_since: float | None = now

    def has_room(self) -> bool:
        """Whether a line may be added, or need not be waited for."""
        return not self.buffer.is_full or self.options.when_full == "drop" or self.is_closing or bool(self.failure)

    def add(self, line: Line, now: float) -> bool:
        """Add a line, or drop it; answers whether something is to be sent at another time now.

        Raises ValueError when the writer is closed, and what ended it.
        """
        if self.failure:
            raise self.failure
        if self.is_closing:
            raise ValueError("the log writer is closed")
        if self.buffer.is_full and self.options.when_full == "drop":
            self._dropped += 1
            return False
        self._own_up(now)
        return self._put(line, now)

    def await_all(self, now: float) -> int:
        """Someone waits for all that was added: hurry. Answers what to ask `has_arrived` for."""
        self._own_up(now)
        self._awaited = self._added
        return self._added

    def has_arrived(self, count: int) -> bool:
        """Whether that many of the lines that were ever added are on disk."""
        return self._added - len(self.buffer) >= count

    def close(self, now: float, *, finish: bool) -> None:
        """Take no more lines; `finish` ends the stream after the last one."""
        self._own_up(now)
        self.is_closing, self._finish = True, finish
        self.is_over = self.is_over or self._is_settled(finished=False)

    def opening(self) -> WriteLogsRequest:
        """The first message of a connection."""
        return WriteLogsRequest(open=self._stream)

    def next_request(self, link: Link, now: float) -> WriteLogsRequest | float | None:
        """The next message for a connection; None when there is no more for it.

        Or the seconds after which to ask again, at the latest: sooner when something changes.
        """
        if link.is_broken or link.finish_sent or self.is_over:
            return None
        if not link.is_open:
            return UNTIL_CHANGED
        due_in = self.buffer.due_in(now)
        if due_in is None:
            return self._last_request(link)
        if due_in == 0 or self.is_closing or not self.has_arrived(self._awaited):
            return self.buffer.take()
        return due_in

    def _last_request(self, link: Link) -> WriteLogsRequest | float | None:
        if not self.is_closing:
            return UNTIL_CHANGED
        if not self._finish:
            return None
        link.finish_sent = True
        return WriteLogsRequest(finish=WriteLogsRequest.Finish(last_sequence=self.buffer.last_sequence))

    def heard(self, link: Link, answer: WriteLogsResponse, now: float) -> bool:
        """The server said how far it is; answers whether that ends an outage. Raises what cannot be got over."""
        committed = self.buffer.committed
        if link.is_open:
            self.buffer.acknowledge(answer.committed_sequence)
        else:
            self.buffer.resume(answer.committed_sequence)
            link.is_open = True
        # A server that opens the stream and then always fails is not there yet.
        if self.buffer.committed != committed or now - link.began > self._retries.max_delay:
            self._backoff.reset()
            self._gaps = 0
        self._away_since = None
        self.is_over = self.is_over or self._is_settled(finished=answer.finished)
        if answer.finished and not self.is_over:
            raise LogFinishedError(
                grpc.StatusCode.FAILED_PRECONDITION, "the log stream is finished", reason="LOG_FINISHED"
            )
        resumed, self.is_broken = self.is_broken, False
        return resumed

    def delay_after(self, error: RelmanError, now: float) -> float:
        """A connection ended; answers how many seconds to wait before the next one, or raises what ends the writer."""
        self._gaps += isinstance(error, SequenceGapError)
        passes = error.is_passing or (isinstance(error, SequenceGapError) and self._gaps < self._retries.attempts)
        limit = self.options.give_up_after
        answered = self._away_since is None
        if self._away_since is None:
            self._away_since = now
        if not passes or (limit is not None and now - self._away_since >= limit):
            raise error
        return self._backoff.next(error, is_absent=error.is_unreachable and not answered)

    def breaks(self, error: RelmanError) -> bool:
        """Whether an outage begins with this end of a connection. None does when only the token was old."""
        began = not self.is_broken and not error.token_was_refreshed
        self.is_broken = self.is_broken or began
        return began

    def _put(self, line: Line, now: float) -> bool:
        self._added += 1
        return self.buffer.add(line, now)

    def _own_up(self, now: float) -> None:
        """Say in the log, where they would be, that lines were dropped."""
        if self._dropped:
            text = f"{self._dropped} lines are missing here: relman was away, and no more could wait for it"
            self._dropped = 0
            self._put(Line(text, time_ns(), LogSource.LOG_SOURCE_SYSTEM, Severity.SEVERITY_WARNING), now)

    def _is_settled(self, *, finished: bool) -> bool:
        """Whether nothing is left to do; told by what the server said last of the stream."""
        return self.is_closing and not len(self.buffer) and (finished or not self._finish)


class HasState:
    """A log writer of either kind, as far as it can be asked without waiting."""

    _state: WriterState

    @property
    def committed_sequence(self) -> int | None:
        """Number of the last line that is on disk; None before the server was reached."""
        return self._state.buffer.committed

    @property
    def unacknowledged(self) -> int:
        """Lines that are not known to be on disk."""
        return len(self._state.buffer)

    @property
    def is_full(self) -> bool:
        """Whether as much waits for the server as may: `write` waits or drops now."""
        return self._state.buffer.is_full

    @property
    def failure(self) -> RelmanError | None:
        """What ended the writer; None while it works or tries to."""
        return self._state.failure

    def _raise_failure(self) -> None:
        if self._state.failure:
            raise self._state.failure
