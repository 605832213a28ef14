"""Time: always UTC, always aware, and injected, so that a test can move it."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the server gets the time of day from."""

    def now(self) -> datetime:
        """Return the time, in UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time, in UTC, to the microsecond."""
        return datetime.now(UTC)
