"""The newest chunks of a log in memory, for those who follow it at its head."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

RECENT_BYTES = 2 * 1024 * 1024
"""Of one log. What is older is read from the database."""
ANSWER_BYTES = 256 * 1024
"""Chunks that wait are sent together up to this size; a larger chunk goes alone."""


class Recent:
    """Chunks without a gap between them.

    Attributes:
        last: Position of the newest; 0 while there is none.
        size: Bytes of all.
    """

    def __init__(self) -> None:
        self._payloads: deque[bytes] = deque()
        self.last = 0
        self.size = 0

    @property
    def first(self) -> int:
        """Position of the oldest; one more than `last` while there is none."""
        return self.last - len(self._payloads) + 1

    def add(self, position: int, payloads: Sequence[bytes]) -> None:
        """Take chunks, the first of which has this position, in whatever order they are handed over.

        Those that are known are passed over. Those after a gap take the place of all others; who misses what the gap
        holds finds it in the database.
        """
        end = position + len(payloads) - 1
        if not self._payloads or position > self.last + 1:
            self.clear()
            self._append(payloads)
            self.last = end
        elif end > self.last:
            self._append(payloads[self.last + 1 - position :])
            self.last = end
        elif position < self.first <= end + 1:
            missing = payloads[: self.first - position]
            self._payloads.extendleft(reversed(missing))
            self.size += sum(map(len, missing))
        while self.size > RECENT_BYTES:
            self.size -= len(self._payloads.popleft())

    def _append(self, payloads: Sequence[bytes]) -> None:
        self._payloads.extend(payloads)
        self.size += sum(map(len, payloads))

    def holds(self, position: int) -> bool:
        """Whether the chunk at a position is here."""
        return self.first <= position <= self.last

    def after(self, position: int) -> list[bytes] | None:
        """Return chunks after a position, up to ANSWER_BYTES and at least one; None unless the next one is here."""
        if not self.holds(position + 1):
            return None
        found: list[bytes] = []
        size = 0
        for payload in islice(self._payloads, position + 1 - self.first, None):
            size += len(payload)
            if found and size > ANSWER_BYTES:
                break
            found.append(payload)
        return found

    def clear(self) -> None:
        """Forget all."""
        self._payloads.clear()
        self.last = self.size = 0
