"""Windows of freezes as people write them, and as they are shown: the same words.

`fri-sun 18:00-06:00 Europe/Berlin` opens on each of these days at 18:00; `2026-12-24T00:00Z/2026-12-27T00:00Z` once.
"""

import re
from collections.abc import Container
from datetime import datetime

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.cli.output import to_datetime
from relman_client.v1.policy_pb2 import DayOfWeek, OneTimeWindow, WeeklyWindow

_NUMBERS = {name.removeprefix("DAY_OF_WEEK_")[:3].lower(): number for name, number in DayOfWeek.items()[1:]}
_DAYS = list(_NUMBERS)
_WEEKLY = re.compile(r"(?P<days>\S+)\s+(?P<start>[\d:]+)-(?P<end>[\d:]+)(?:\s+(?P<zone>\S+))?", re.ASCII)


def weekly_of(text: str) -> WeeklyWindow:
    """A window of every week; the server says what is wrong with its times and its zone."""
    parts = _WEEKLY.fullmatch(text.strip())
    if parts is None:
        raise _wrong(text, "DAYS HH:MM-HH:MM [ZONE], such as fri-sun 18:00-06:00 Europe/Berlin", "--weekly")
    return WeeklyWindow(
        days=[_NUMBERS[day] for part in parts["days"].split(",") for day in _range(part)],
        start=parts["start"],
        end=parts["end"],
        time_zone=parts["zone"] or "",
    )


def _range(text: str) -> list[str]:
    """The days of `fri`, or of `fri-mon`, which goes over the week's end."""
    first, dash, last = text.lower().partition("-")
    last = last if dash else first
    if first not in _DAYS or last not in _DAYS:
        raise _wrong(text, f"a day or a range of days: {', '.join(_DAYS)}", "--weekly")
    begin, end = _DAYS.index(first), _DAYS.index(last)
    return [_DAYS[number % 7] for number in range(begin, end + (8 if end < begin else 1))]


def once_of(text: str) -> OneTimeWindow:
    """A window that comes once; times without a zone are of this machine's."""
    start, _, end = text.strip().partition("/")
    try:
        return OneTimeWindow(start=_time(start), end=_time(end))
    except (ValueError, OverflowError):
        raise _wrong(text, "FROM/TO, such as 2026-12-24T00:00Z/2026-12-27T00:00Z", "--once") from None


def _time(text: str) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(datetime.fromisoformat(text).astimezone())
    return timestamp


def _wrong(text: str, expected: str, option: str) -> typer.BadParameter:
    return typer.BadParameter(f"{text!r} is not {expected}", param_hint=option)


def weekly_text(window: WeeklyWindow) -> str:
    """A window of every week in one line."""
    return f"{days_text(window.days)} {window.start}-{window.end} {window.time_zone}"


def end_text(window: WeeklyWindow) -> str:
    """When a window of every week ends, in words."""
    return window.end if window.end > window.start else f"{window.end} the day after"


def days_text(days: Container[int]) -> str:
    """Days in their order, neighbours as a range: `mon,fri-sun`."""
    runs: list[list[str]] = [[]]
    for name, number in _NUMBERS.items():
        if number in days:
            runs[-1].append(name)
        else:
            runs.append([])
    return ",".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs if run)


def once_text(window: OneTimeWindow) -> str:
    """A window that comes once in one line."""
    return f"{time_text(window.start)}/{time_text(window.end)}"


def time_text(timestamp: Timestamp) -> str:
    """A time in UTC, without seconds when there are none."""
    moment = to_datetime(timestamp)
    text = moment.isoformat(timespec="auto" if moment.second or moment.microsecond else "minutes")
    return text.replace("+00:00", "Z")
