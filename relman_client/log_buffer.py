"""The lines a log writer has not been told are on disk, numbered as the server numbers them."""

from collections import deque
from dataclasses import dataclass

import grpc

from relman_client.errors import RelmanError
from relman_client.v1.log_pb2 import LogEntry, WriteLogsRequest

# What an entry costs in memory besides its text, roughly.
_ENTRY_OVERHEAD = 200


@dataclass(frozen=True)
class WriterOptions:
    """How a log writer batches and how much it holds."""

    max_delay: float = 0.05
    """Seconds a line may wait for others to be sent with it; at most 0.1 is sensible."""
    max_batch_bytes: int = 256 * 1024
    max_batch_entries: int = 2_000
    max_buffered_bytes: int = 8 * 1024 * 1024
    """What is held until the server has it on disk. When it is full, `write` blocks."""


@dataclass(frozen=True)
class _Held:
    entry: LogEntry
    size: int
    at: float
    """When it was added, by the monotonic clock."""


class LogBuffer:
    """First in, first acknowledged. Has no lock of its own: its writer holds one around every use."""

    def __init__(self, options: WriterOptions) -> None:
        self._options = options
        self._unsent: deque[_Held] = deque()
        self._unacknowledged: deque[_Held] = deque()
        self._unsent_bytes = 0
        self._bytes = 0
        self.committed: int | None = None
        """Highest sequence the server has on disk; unknown before the first answer."""

    def __len__(self) -> int:
        return len(self._unsent) + len(self._unacknowledged)

    @property
    def has_unsent(self) -> bool:
        """Whether a batch can be taken."""
        return bool(self._unsent)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be added before something is acknowledged."""
        return self._bytes >= self._options.max_buffered_bytes

    @property
    def last_sequence(self) -> int:
        """Sequence of the last line that was taken; the committed one when none was."""
        return (self.committed or 0) + len(self._unacknowledged)

    def add(self, entry: LogEntry, now: float) -> None:
        """Append a line."""
        held = _Held(entry, len(entry.text) + _ENTRY_OVERHEAD, now)
        self._unsent.append(held)
        self._unsent_bytes += held.size
        self._bytes += held.size

    @property
    def has_full_batch(self) -> bool:
        """Whether waiting for more lines would gain nothing."""
        options = self._options
        return self._unsent_bytes >= options.max_batch_bytes or len(self._unsent) >= options.max_batch_entries

    def due_in(self, now: float) -> float | None:
        """Seconds until a batch should be sent: 0 when it is full or has waited enough, None without lines."""
        if not self._unsent:
            return None
        if self.has_full_batch:
            return 0.0
        return max(self._unsent[0].at + self._options.max_delay - now, 0.0)

    def take(self) -> WriteLogsRequest.Append:
        """The next batch; its lines stay here until they are acknowledged."""
        batch = WriteLogsRequest.Append(first_sequence=self.last_sequence + 1)
        size = 0
        while self._unsent and len(batch.entries) < self._options.max_batch_entries:
            held = self._unsent[0]
            if size and size + held.size > self._options.max_batch_bytes:
                break
            self._unsent.popleft()
            self._unacknowledged.append(held)
            batch.entries.append(held.entry)
            size += held.size
        self._unsent_bytes -= size
        return batch

    def resume(self, committed: int) -> None:
        """A new connection: forget what the server has, and send the rest again."""
        if self.committed is None:
            self.committed = committed
        self.acknowledge(committed)
        self._unsent.extendleft(reversed(self._unacknowledged))
        self._unsent_bytes += sum(held.size for held in self._unacknowledged)
        self._unacknowledged.clear()

    def acknowledge(self, committed: int) -> None:
        """Forget what the server has on disk."""
        done = committed - (self.committed or 0)
        if not 0 <= done <= len(self._unacknowledged):
            raise RelmanError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"the server has {committed} lines of the stream on disk, not {self.committed} to {self.last_sequence}:"
                " someone else writes to it, or the server lost what it had acknowledged",
                reason="SEQUENCE_CONFLICT",
            )
        for _ in range(done):
            self._bytes -= self._unacknowledged.popleft().size
        self.committed = committed
