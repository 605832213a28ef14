from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from relman_server.policies import windows as module
from relman_server.policies.model import DayOfWeek
from relman_server.policies.windows import Freeze, Windows, next_change, open_until, stored_windows

MINUTE = timedelta(minutes=1)
EVERY_DAY = "mon,tue,wed,thu,fri,sat,sun"


def weekly(text: str) -> Windows:
    """Windows as a policy's row would have them, from `fri,sat 18:00-06:00 Europe/Berlin`; without a zone in UTC."""
    days, times, *zone = text.split()
    start, _, end = times.partition("-")
    names = {day.lower()[:3]: str(day) for day in DayOfWeek}
    stored = {"days": [names[day] for day in days.split(",")], "start": start, "end": end}
    return stored_windows([stored | {"time_zone": zone[0] if zone else "UTC"}], [])


def together(*several: Windows) -> Windows:
    return Windows(
        tuple(window for windows in several for window in windows.weekly),
        tuple(window for windows in several for window in windows.one_time),
    )


def once(start: str, end: str) -> Windows:
    return stored_windows([], [{"start": start, "end": end}])


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def assert_open(windows: Windows, start: str, end: str) -> None:
    """Open from the first minute to the last of a span in UTC, and not a minute longer."""
    begin, until = utc(start), utc(end)
    assert open_until(windows, begin - MINUTE) is None
    assert next_change(windows, begin - MINUTE) == begin
    for inside in (begin, begin + MINUTE, until - MINUTE, until - timedelta(microseconds=1)):
        assert open_until(windows, inside) == Freeze(until), inside
        assert next_change(windows, inside) == until
    assert open_until(windows, until) is None


def test_a_window_opens_and_closes_on_its_days_only() -> None:
    windows = weekly("mon,wed 09:00-17:30")
    assert_open(windows, "2026-06-01 09:00", "2026-06-01 17:30")
    assert_open(windows, "2026-06-03 09:00", "2026-06-03 17:30")
    assert open_until(windows, utc("2026-06-02 12:00")) is None
    assert next_change(windows, utc("2026-06-03 17:30")) == utc("2026-06-08 09:00")


def test_the_day_is_that_of_the_zone() -> None:
    assert_open(weekly("mon 00:30-02:00 Pacific/Kiritimati"), "2026-05-31 10:30", "2026-05-31 12:00")
    assert_open(weekly("mon 22:00-23:00 Pacific/Pago_Pago"), "2026-06-02 09:00", "2026-06-02 10:00")


@pytest.mark.parametrize(
    ("window", "opens", "closes"),
    [
        ("fri 18:00-06:00", "2026-06-05 18:00", "2026-06-06 06:00"),
        ("sun 22:00-02:00", "2026-06-07 22:00", "2026-06-08 02:00"),
        ("fri 18:00-24:00", "2026-06-05 18:00", "2026-06-06 00:00"),
        ("fri 18:00-00:00", "2026-06-05 18:00", "2026-06-06 00:00"),
        ("fri 00:00-24:00", "2026-06-05 00:00", "2026-06-06 00:00"),
        ("fri 12:00-12:00", "2026-06-05 12:00", "2026-06-06 12:00"),
    ],
    ids=["over midnight", "over the week's end", "to 24:00", "to 00:00", "the whole day", "from noon to noon"],
)
def test_an_end_at_or_before_the_start_is_on_the_day_after(window: str, opens: str, closes: str) -> None:
    assert_open(weekly(window), opens, closes)


# In each zone the night in which clocks go forward, and the one in which they go back. Spans are in UTC.
CLOCK_CHANGES = {
    "Berlin, start in the gap": ("sun 02:30-05:00 Europe/Berlin", "2026-03-29 01:00", "2026-03-29 03:00"),
    "Berlin, end in the gap": ("sun 01:00-02:30 Europe/Berlin", "2026-03-29 00:00", "2026-03-29 01:00"),
    "Berlin, over the gap": ("sun 01:30-03:30 Europe/Berlin", "2026-03-29 00:30", "2026-03-29 01:30"),
    "Berlin, start in the fold": ("sun 02:30-05:00 Europe/Berlin", "2026-10-25 00:30", "2026-10-25 04:00"),
    "Berlin, end in the fold": ("sun 01:00-02:30 Europe/Berlin", "2026-10-24 23:00", "2026-10-25 01:30"),
    "Berlin, within the fold": ("sun 02:15-02:45 Europe/Berlin", "2026-10-25 00:15", "2026-10-25 01:45"),
    "Berlin, over both nights": ("sat 22:00-06:00 Europe/Berlin", "2026-10-24 20:00", "2026-10-25 05:00"),
    "New York, start in the gap": ("sun 02:15-04:00 America/New_York", "2026-03-08 07:00", "2026-03-08 08:00"),
    "New York, end in the gap": ("sat 23:00-02:15 America/New_York", "2026-03-08 04:00", "2026-03-08 07:00"),
    "New York, start in the fold": ("sun 01:15-04:00 America/New_York", "2026-11-01 05:15", "2026-11-01 09:00"),
    "New York, end in the fold": ("sat 23:00-01:15 America/New_York", "2026-11-01 03:00", "2026-11-01 06:15"),
    "Lord Howe, half an hour forward": ("sun 02:15-03:00 Australia/Lord_Howe", "2026-10-03 15:30", "2026-10-03 16:00"),
    "Lord Howe, half an hour back": ("sun 01:00-01:45 Australia/Lord_Howe", "2026-04-04 14:00", "2026-04-04 15:15"),
    "São Paulo, day without midnight": ("sun 00:00-06:00 America/Sao_Paulo", "2018-11-04 03:00", "2018-11-04 08:00"),
    "São Paulo, day before that": ("sat 20:00-24:00 America/Sao_Paulo", "2018-11-03 23:00", "2018-11-04 03:00"),
    "São Paulo, hour to midnight twice": ("sat 20:00-24:00 America/Sao_Paulo", "2018-02-17 22:00", "2018-02-18 03:00"),
    "Apia, a day is left out": ("thu 20:00-06:00 Pacific/Apia", "2011-12-30 06:00", "2011-12-30 10:00"),
}


@pytest.mark.parametrize("case", CLOCK_CHANGES)
def test_a_window_keeps_to_the_clocks_of_its_zone(case: str) -> None:
    window, opens, closes = CLOCK_CHANGES[case]
    assert_open(weekly(window), opens, closes)


def test_a_window_that_clocks_jump_over_is_not_open_that_week() -> None:
    windows = weekly("sun 02:15-02:45 Europe/Berlin")
    jump = utc("2026-03-29 01:00")
    assert [open_until(windows, jump + number * MINUTE) for number in (-1, 0, 1)] == [None, None, None]
    assert next_change(windows, utc("2026-03-28 12:00")) == utc("2026-04-05 00:15")


def test_windows_that_overlap_or_touch_are_one_freeze() -> None:
    windows = together(
        weekly("fri 16:00-20:00"),
        weekly("fri 18:00-24:00"),
        weekly("sat,sun 00:00-24:00"),
        once("2026-06-08T00:00:00Z", "2026-06-10T07:00:00Z"),
    )
    assert_open(windows, "2026-06-05 16:00", "2026-06-10 07:00")


def test_windows_of_two_zones_that_overlap_are_one_freeze() -> None:
    windows = together(weekly("mon 09:00-17:00 Europe/Berlin"), weekly("mon 09:00-17:00 America/New_York"))
    assert_open(windows, "2026-06-01 07:00", "2026-06-01 21:00")


def test_a_minute_between_windows_is_no_freeze() -> None:
    windows = together(weekly("mon 09:00-12:00"), weekly("mon 12:01-13:00"))
    assert_open(windows, "2026-06-01 09:00", "2026-06-01 12:00")
    assert_open(windows, "2026-06-01 12:01", "2026-06-01 13:00")


def test_a_freeze_of_many_weeks_has_an_end() -> None:
    """In Berlin and New York clocks go back a week apart: only then there is an hour between the two windows."""
    windows = together(
        weekly(f"{EVERY_DAY} 00:00-16:00 Europe/Berlin"), weekly(f"{EVERY_DAY} 10:00-18:00 America/New_York")
    )
    assert open_until(windows, utc("2026-06-01 12:00")) == Freeze(utc("2026-10-25 22:00"))
    assert next_change(windows, utc("2026-10-25 22:00")) == utc("2026-10-25 23:00")


@pytest.mark.parametrize("time_zone", ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe"])
def test_windows_of_the_whole_week_do_not_end(time_zone: str) -> None:
    windows = weekly(f"{EVERY_DAY} 00:00-24:00 {time_zone}")
    assert open_until(windows, utc("2026-06-01 12:00")) == Freeze(None)
    assert next_change(windows, utc("2026-06-01 12:00")) is None


def test_a_window_that_comes_once_is_open_once() -> None:
    windows = once("2026-12-24T00:00:00Z", "2026-12-27T12:30:15Z")
    assert_open(windows, "2026-12-24 00:00", "2026-12-27 12:30:15")
    assert next_change(windows, utc("2024-01-01 00:00")) == utc("2026-12-24 00:00")
    assert next_change(windows, utc("2026-12-27 12:30:15")) is None


def test_a_window_of_years_ends_when_it_says() -> None:
    windows = together(once("2026-01-01T00:00:00Z", "2036-01-01T00:00:00Z"), weekly("tue 00:00-06:00"))
    assert open_until(windows, utc("2027-01-01 00:00")) == Freeze(utc("2036-01-01 06:00"))


def test_a_window_to_the_end_of_time_does_not_end() -> None:
    windows = once("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")
    assert open_until(windows, utc("2026-01-01 00:00")) == Freeze(None)


def test_without_windows_nothing_is_ever_frozen() -> None:
    assert open_until(Windows(), utc("2026-06-01 00:00")) is None
    assert next_change(Windows(), utc("2026-06-01 00:00")) is None


def test_the_time_may_be_of_any_zone() -> None:
    late = datetime(2026, 6, 1, 23, 30, tzinfo=ZoneInfo("America/New_York"))
    assert open_until(weekly("tue 03:00-04:00"), late) == Freeze(utc("2026-06-02 04:00"))


def test_what_is_remembered_is_bounded() -> None:
    for remembered in (module._freezes, module._opening_after):
        assert remembered.cache_info().maxsize == module.REMEMBERED
