"""Days, weeks and months of a time zone: where they begin in UTC, and which of them a range holds as a whole."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
_LOOK_EVERY = timedelta(hours=6)  # no zone changed its clocks twice within that


@dataclass(frozen=True)
class Range:
    """A half-open range of times, in a time zone.

    Attributes:
        start: The first moment.
        end: The first moment after it.
        zone: In which days, weeks and months begin.
    """

    start: datetime
    end: datetime
    zone: ZoneInfo

    @cached_property
    def first_day(self) -> date:
        """The day of the first moment."""
        return self.start.astimezone(self.zone).date()

    @cached_property
    def last_day(self) -> date:
        """The day of the last moment."""
        return max(self.first_day, (self.end - timedelta(microseconds=1)).astimezone(self.zone).date())

    @property
    def days(self) -> int:
        """How many days it touches."""
        return (self.last_day - self.first_day).days + 1

    @cached_property
    def offsets(self) -> Sequence[tuple[datetime, timedelta]]:
        """From when on local time is how far from UTC; the first is that of the start, whatever was before."""
        found = [(self.start, self._offset(self.start))]
        earlier = self.start
        while earlier < self.end:
            later = min(earlier + _LOOK_EVERY, self.end)
            if self._offset(later) != found[-1][1]:
                found.append((self._change(earlier, later), self._offset(later)))
            earlier = later
        return found

    def _offset(self, moment: datetime) -> timedelta:
        offset = moment.astimezone(self.zone).utcoffset()
        assert offset is not None
        return offset

    def _change(self, before: datetime, after: datetime) -> datetime:
        """Return the second between the two in which the clocks change."""
        start = before.replace(microsecond=0)
        seconds = range(int((after - start).total_seconds()) + 2)
        old = self._offset(before)
        return start + timedelta(
            seconds=bisect_right(seconds, 0, key=lambda second: self._offset(start + timedelta(seconds=second)) != old)
        )

    def beginnings(self) -> Iterator[tuple[datetime, int]]:
        """Yield, in order, from when on it is which day, by number from 0: at midnights and changes of the clocks."""
        untils = [*(change for change, _ in self.offsets[1:]), self.end]
        for (since, offset), until in zip(self.offsets, untils, strict=True):
            day = (since.astimezone(UTC) + offset).date()
            yield since, (day - self.first_day).days
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) + DAY - offset
            while midnight < until:
                yield midnight, ((midnight + offset).date() - self.first_day).days
                midnight += DAY

    def starts(self, day: date) -> datetime:
        """Return the first moment of a day: midnight, or when the clocks skip that, what comes in its place."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        moment = midnight.astimezone(UTC)
        while moment.astimezone(self.zone).date() < day:  # a gap: clocks went from before midnight to after
            moment += timedelta(minutes=15)
        return moment

    def since(self, first: datetime | None) -> "Whole":
        """Return the days that count for what began at `first`: with it where that is within, else all."""
        if first is not None and self.start < first < self.end:
            day = first.astimezone(self.zone).date()
            return Whole(self, day, day)
        return self._whole

    @cached_property
    def _whole(self) -> "Whole":
        starts_whole = self.starts(self.first_day) == self.start
        return Whole(self, self.first_day, self.first_day if starts_whole else self.first_day + DAY)


@dataclass(frozen=True)
class Whole:
    """The days of a range that count, and the weeks and months that are in it as a whole.

    Attributes:
        first: The first day that counts.
        first_whole: The first day of which nothing is missing.
    """

    range: Range
    first: date
    first_whole: date

    @property
    def days(self) -> int:
        """How many days count."""
        return (self.range.last_day - self.first).days + 1

    @property
    def end_whole(self) -> date:
        """The day after the last of which nothing is missing."""
        after = self.range.last_day + DAY
        return after if self.range.starts(after) <= self.range.end else self.range.last_day

    def weeks(self) -> Iterator[tuple[date, date]]:
        """Return the first day of every whole ISO week, and the day after its last."""
        day = self.first_whole + DAY * (-self.first_whole.weekday() % 7)
        while day + DAY * 7 <= self.end_whole:
            yield day, day + DAY * 7
            day += DAY * 7

    def months(self) -> Iterator[tuple[date, date]]:
        """Return the first day of every whole month, and the day after its last."""
        day = self.first_whole if self.first_whole.day == 1 else _next_month(self.first_whole)
        while (following := _next_month(day)) <= self.end_whole:
            yield day, following
            day = following

    @cached_property
    def numbered_weeks(self) -> Sequence[Sequence[int]]:
        """The numbers of the days of every whole week, counted from the range's first day."""
        return [self._numbers(*week) for week in self.weeks()]

    @cached_property
    def numbered_months(self) -> Sequence[Sequence[int]]:
        """As `numbered_weeks`, of every whole month."""
        return [self._numbers(*month) for month in self.months()]

    def _numbers(self, first: date, end: date) -> Sequence[int]:
        return range((first - self.range.first_day).days, (end - self.range.first_day).days)


def _next_month(day: date) -> date:
    return (day.replace(day=1) + DAY * 32).replace(day=1)
