"""When windows are open: whether there is a freeze, when it ends, and when the next one begins.

A weekly window is in the wall time of its zone. It opens at the first instant at which clocks there show its start or
later, and closes after the last at which they show earlier than its end. So it opens at the jump when clocks jump over
its start, and where they go back a freeze is rather longer than shorter.

Windows that overlap or touch are one freeze: it ends when the last of them does.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from relman_server.policies.model import DayOfWeek

# A freeze that goes on for a year of weeks is said not to end by itself.
WEEKS = 53
# Days of policies that are remembered: some fifty policies' today, and room for changes.
REMEMBERED = 1024

_DAY = timedelta(days=1)
_WEEKDAY = {day: number for number, day in enumerate(DayOfWeek)}

Span = tuple[datetime, datetime]
"""From when to when, half open."""

_zone = lru_cache(maxsize=128)(ZoneInfo)


class Weekly(NamedTuple):
    """A window of every week.

    Attributes:
        weekdays: The days on which it opens; 0 is Monday.
        start: When it opens, in minutes of wall time after midnight.
        end: When it closes, in minutes after the same midnight: more than start, and more than 1,440 on the day after.
        time_zone: IANA name.
    """

    weekdays: tuple[int, ...]
    start: int
    end: int
    time_zone: str


class OneTime(NamedTuple):
    """A window that comes once."""

    start: datetime
    end: datetime


class Windows(NamedTuple):
    """The windows of a policy; tuples, since they are looked up by their value."""

    weekly: tuple[Weekly, ...] = ()
    one_time: tuple[OneTime, ...] = ()


@dataclass(frozen=True)
class ActivePolicy:
    """A policy that is in force."""

    id: UUID
    name: str
    windows: Windows


@dataclass(frozen=True)
class Freeze:
    """Windows are open.

    Attributes:
        until: When they close; None when they stay open for more than a year, so that it does not end by itself.
    """

    until: datetime | None


def stored_windows(weekly: Iterable[dict[str, Any]], one_time: Iterable[dict[str, Any]]) -> Windows:
    """Return windows from the JSON of a policy's row."""
    return Windows(
        tuple(_weekly(window) for window in weekly),
        tuple(
            OneTime(datetime.fromisoformat(window["start"]), datetime.fromisoformat(window["end"]))
            for window in one_time
        ),
    )


def _weekly(window: dict[str, Any]) -> Weekly:
    start, end = _minutes(window["start"]), _minutes(window["end"])
    return Weekly(
        tuple(_WEEKDAY[day] for day in window["days"]),
        start,
        end if end > start else end + 24 * 60,
        window["time_zone"],
    )


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def open_until(windows: Windows, now: datetime) -> Freeze | None:
    """Return the freeze that holds at a time, in which windows are merged; None when none is open."""
    for start, until in _freezes(windows, now.astimezone(UTC).date()):
        if start <= now and (until is None or now < until):
            return Freeze(until)
    return None


def next_change(windows: Windows, now: datetime) -> datetime | None:
    """Return when the answer of `open_until` next turns from open to closed or back; None when it never does."""
    today = now.astimezone(UTC).date()
    for start, until in _freezes(windows, today):
        if start > now:
            return start
        if until is None or now < until:
            return until
    return _opening_after(windows, today)


@lru_cache(maxsize=REMEMBERED)
def _freezes(windows: Windows, day: date) -> tuple[tuple[datetime, datetime | None], ...]:
    """Return the freezes that touch a day of UTC, in their order; one that began days ago may seem to begin later."""
    merged = _merge(_spans(windows, day - 3 * _DAY, day + _DAY))
    return tuple(
        (start, _end(windows, end)) for start, end in merged if start < _midnight(day + _DAY) and end > _midnight(day)
    )


def _end(windows: Windows, end: datetime) -> datetime | None:
    """Return when a freeze ends that lasts until `end` at least, looking on week by week."""
    for _ in range(WEEKS):
        if end.year == MAXYEAR:
            return None
        today, next_week = end.date(), end.date() + 7 * _DAY
        for start, later in _merge(_spans(windows, today - 3 * _DAY, next_week)):
            if start <= end:
                end = max(end, later)
        if end < _midnight(next_week):
            return end
    return None


@lru_cache(maxsize=REMEMBERED)
def _opening_after(windows: Windows, day: date) -> datetime | None:
    """Return when a window first opens after a day of UTC. One week's may fall into a gap: the next week's does not."""
    starts = (start for start, _ in _spans(windows, day - _DAY, day + 16 * _DAY))
    return min((start for start in starts if start >= _midnight(day + _DAY)), default=None)


def _merge(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _spans(windows: Windows, first: date, last: date) -> Iterator[Span]:
    """Yield when windows are open: the one-time ones, and the weekly ones that begin on these days of their zones.

    A window of `d` in its zone is open no earlier than `d - 1` and no later than `d + 3` in UTC.
    """
    yield from windows.one_time
    days = [first + number * _DAY for number in range((last - first).days + 1)]
    for window in windows.weekly:
        zone = _zone(window.time_zone)
        for day in days:
            if day.weekday() in window.weekdays:
                start, _ = _instants(day, window.start, zone)
                _, end = _instants(day, window.end, zone)
                if start < end:  # else clocks jumped over all of it
                    yield start, end


def _instants(day: date, minutes: int, zone: ZoneInfo) -> Span:
    """Return the first and the last instant at which clocks come to a time of day, most often the same.

    Two where they go back over it. Where they jump over it, the instant of the jump is both.
    """
    # Python adds within a zone as clocks show it, whatever they do in between.
    wall = datetime.combine(day, time(), zone) + timedelta(minutes=minutes)
    first, last = wall.astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
    if first > last:  # in a gap, where the offset of fold 0 is the one before it (PEP 495)
        first = last = _jump(last, first, zone)
    return first, last


def _jump(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant between two at which a zone's offset changes, by halving; zones do so on whole seconds."""
    offset = before.astimezone(zone).utcoffset()
    while (seconds := int((after - before).total_seconds())) > 1:
        middle = before + timedelta(seconds=seconds // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
