"""The lines a log writer has not been told are on disk, in batches, numbered as the server numbers them."""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import grpc

from relman_client.errors import LinesLostError, SequenceConflictError
from relman_client.v1.log_pb2 import LogEntry, WriteLogsRequest

if TYPE_CHECKING:
    from relman_client.v1.common_pb2 import Severity
    from relman_client.v1.log_pb2 import LogSource

# What a line costs in memory besides its text, measured: its message, and its share of the batch that holds it.
_LINE_OVERHEAD = 96


@dataclass(frozen=True)
class WriterOptions:
    """How a log writer batches, how much it holds, and what it does when the server stays away."""

    max_delay: float = 0.05
    """Seconds a line may wait for others to be sent with it; at most 0.1 is sensible."""
    max_batch_bytes: int = 256 * 1024
    max_batch_entries: int = 2_000
    max_buffered_bytes: int = 8 * 1024 * 1024
    """What is held until the server has it on disk, at most one line more. When it is full, `when_full` says what
    happens."""
    when_full: Literal["block", "drop"] = "block"
    """`block`: `write` waits for room, as a pipe does, so nothing is ever lost. `drop`: `write` returns at once and the
    line is lost, which a line of source SYSTEM in its place says, with how many there were."""
    max_block: float | None = None
    """Seconds that `write` waits for room before it raises TimeoutError; unset: as long as it takes."""
    give_up_after: float | None = None
    """Seconds without a connection after which the writer fails with what is wrong; unset: never. Looked at whenever an
    attempt to connect fails."""
    close_timeout: float | None = None
    """Seconds that leaving a `with` block waits for the last lines to be on disk; unset: as long as it takes."""


class Line(NamedTuple):
    """What someone writes."""

    text: str
    nanoseconds: int
    """When, since 1970."""
    source: "LogSource.ValueType"
    severity: "Severity.ValueType"
    is_repaired: bool = False


@dataclass
class _Batch:
    """Lines that are sent together. They are numbered when they are first taken, and never changed after."""

    request: WriteLogsRequest
    since: float
    """When its first line was added, by the monotonic clock."""
    size: int = 0
    count: int = 0

    @property
    def first(self) -> int:
        """Sequence of its first line; 0 while it may still grow."""
        return self.request.append.first_sequence

    def add(self, line: Line, size: int) -> None:
        """Append a line."""
        entry = self.request.append.entries.add(
            text=line.text, source=line.source, severity=line.severity, text_repaired=line.is_repaired
        )
        entry.time.seconds, entry.time.nanos = divmod(line.nanoseconds, 10**9)
        self.size += size
        self.count += 1

    def after(self, sequence: int) -> "_Batch":
        """The lines after a sequence, as a batch of its own: this one may be on its way to be sent."""
        entries = self.request.append.entries[sequence + 1 - self.first :]
        rest = _Batch(WriteLogsRequest(), self.since, sum(map(_size_of, entries)), len(entries))
        rest.request.append.first_sequence = sequence + 1
        rest.request.append.entries.extend(entries)
        return rest


class LogBuffer:
    """First in, first acknowledged. Has no lock of its own: its writer holds one around every use."""

    def __init__(self, options: WriterOptions) -> None:
        self._options = options
        self._waiting: deque[_Batch] = deque()
        """To be sent over this connection, those that an earlier one was given first. The last may still grow."""
        self._sent: deque[_Batch] = deque()
        self._bytes = 0
        self._count = 0
        self.committed: int | None = None
        """Highest sequence the server has on disk; unknown before the first answer."""
        self._numbered = 0
        """Highest sequence given to a line."""

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be added before something is acknowledged."""
        return self._bytes >= self._options.max_buffered_bytes

    @property
    def last_sequence(self) -> int:
        """Sequence of the last line that was taken, ever; the committed one when none was."""
        return max(self._numbered, self.committed or 0)

    def add(self, line: Line, now: float) -> bool:
        """Append a line, to the last batch if it may grow; answers whether a batch is due at another time now."""
        size = _LINE_OVERHEAD + _length(line.text)
        batch = self._waiting[-1] if self._waiting else None
        begins = batch is None or bool(batch.first) or self._would_overflow(batch, size)
        if batch is None or begins:
            batch = _Batch(WriteLogsRequest(), now)
            self._waiting.append(batch)
        batch.add(line, size)
        self._bytes += size
        self._count += 1
        return begins or batch.count == self._options.max_batch_entries

    def _would_overflow(self, batch: _Batch, size: int) -> bool:
        options = self._options
        return batch.count >= options.max_batch_entries or batch.size + size > options.max_batch_bytes

    @property
    def has_full_batch(self) -> bool:
        """Whether waiting for more lines would gain nothing."""
        if not self._waiting:
            return False
        is_last = len(self._waiting) == 1 and not self._waiting[0].first
        return not is_last or self._would_overflow(self._waiting[0], 0)

    def due_in(self, now: float) -> float | None:
        """Seconds until a batch should be sent: 0 when it is full or has waited enough, None without lines."""
        if not self._waiting:
            return None
        if self.has_full_batch:
            return 0.0
        return max(self._waiting[0].since + self._options.max_delay - now, 0.0)

    def take(self) -> WriteLogsRequest:
        """The next batch, which is not to be changed; it stays here until it is acknowledged."""
        batch = self._waiting.popleft()
        if not batch.first:
            batch.request.append.first_sequence = self.last_sequence + 1
            self._numbered = self.last_sequence + batch.count
        self._sent.append(batch)
        return batch.request

    def resume(self, committed: int) -> None:
        """A new connection: forget what the server has, and send the rest again."""
        if self.committed is None:
            self.committed = committed
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        self.acknowledge(committed)

    def acknowledge(self, committed: int) -> None:
        """Forget what the server has on disk.

        That may be more than was sent over this connection: an earlier one may have delivered it only now.

        Raises:
            LinesLostError: It is less than it was.
            SequenceConflictError: It is more than was ever sent.
        """
        before = self.committed or 0
        if committed < before:
            raise _lost(before, committed)
        if committed > self.last_sequence:
            raise _foreign(committed, self.last_sequence)
        for batches in (self._sent, self._waiting):
            while batches and batches[0].first and batches[0].first <= committed:
                batch = batches.popleft()
                self._bytes -= batch.size
                self._count -= batch.count
                if committed < batch.first + batch.count - 1:
                    rest = batch.after(committed)
                    batches.appendleft(rest)
                    self._bytes += rest.size
                    self._count += rest.count
        self.committed = committed


def _size_of(entry: LogEntry) -> int:
    return _LINE_OVERHEAD + _length(entry.text)


def _length(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _lost(acknowledged: int, committed: int) -> LinesLostError:
    return LinesLostError(
        grpc.StatusCode.DATA_LOSS,
        f"the server has {committed} lines of the stream on disk, and had acknowledged {acknowledged}: it was restored"
        " from an older backup, and the lines between are lost",
        metadata={"acknowledged": str(acknowledged), "committed": str(committed)},
    )


def _foreign(committed: int, last: int) -> SequenceConflictError:
    return SequenceConflictError(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"the server has {committed} lines of the stream on disk, of which {committed - last} were not sent from here:"
        " someone else writes to it",
        reason="SEQUENCE_CONFLICT",
        metadata={"sequence": str(last + 1)},
    )
