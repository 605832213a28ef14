"""What windows mean, minute by minute: slow, and too simple to be wrong."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from relman_server.policies.windows import Weekly, Windows

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


class Minutes:
    """The minutes of some days of UTC, and in which of them a freeze is on."""

    def __init__(self, windows: Windows, first: date, days: int) -> None:
        self.first = datetime.combine(first, time(), UTC)
        self.times = [self.first + number * _MINUTE for number in range(days * 24 * 60)]
        self.frozen = [False] * len(self.times)
        for window in windows.weekly:
            for begin, end in self._weekly(window):
                self._freeze(begin, end)
        for once in windows.one_time:
            self._freeze(self._number(once.start), self._number(once.end))

    def _number(self, moment: datetime) -> int:
        return int((moment - self.first).total_seconds() // 60)

    def _freeze(self, begin: int, end: int) -> None:
        for number in range(max(begin, 0), min(end, len(self.frozen))):
            self.frozen[number] = True

    def _weekly(self, window: Weekly) -> Iterator[tuple[int, int]]:
        """A window is open from the first minute that clocks show its start or later to the last before its end."""
        zone = ZoneInfo(window.time_zone)
        wall = [moment.astimezone(zone).replace(tzinfo=None) for moment in self.times]
        days = (self.first.date() + number * _DAY for number in range(len(wall) // (24 * 60)))
        for day in days:
            if day.weekday() not in window.weekdays:
                continue
            midnight = datetime.combine(day, time())
            start, end = midnight + window.start * _MINUTE, midnight + window.end * _MINUTE
            near = self._near(wall, start)
            yield (
                next((number for number in near if wall[number] >= start), len(wall)),
                next((number + 1 for number in reversed(near) if wall[number] < end), 0),
            )

    def _near(self, wall: Sequence[datetime], moment: datetime) -> range:
        """The minutes of four days around a wall time, which zones are less than a day away from."""
        middle = self._number(moment.replace(tzinfo=UTC))
        return range(max(middle - 2 * 24 * 60, 0), min(middle + 4 * 24 * 60, len(wall)))

    def change_after(self, number: int) -> int | None:
        """The next minute in which a freeze begins or ends; None when that is beyond these days."""
        return next((n for n in range(number, len(self.frozen)) if self.frozen[n] != self.frozen[number]), None)
