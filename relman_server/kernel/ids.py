"""Ids: UUIDs that sort by the time they were made (RFC 9562, version 7), so that indexes grow at their end."""

import os
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0


def new_id() -> UUID:
    """Return a UUID of version 7, higher than every one this process made before."""
    global _last  # noqa: PLW0603 - one counter for the process is what makes ids rise across threads
    with _lock:
        # Milliseconds since 1970 in 48 bits, then 12 bits that count up within one millisecond.
        ticks = time.time_ns() * 4096 // 1_000_000
        _last = max(ticks, _last + 1)
        ticks = _last
    milliseconds, fraction = ticks >> 12, ticks & 0xFFF
    random = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random)


def parse_id(text: str) -> UUID | None:
    """Return the UUID that a text is in its canonical form (36 characters), else None."""
    if len(text) != 36:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
