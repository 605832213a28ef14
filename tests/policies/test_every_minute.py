"""Any windows at all, around the days when clocks change."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from relman_server.policies.windows import Freeze, OneTime, Weekly, Windows, next_change, open_until
from tests.policies.minutes import Minutes

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)

CHANGES = {
    "Europe/Berlin": ["2026-03-29", "2026-10-25"],
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],
    "Africa/Cairo": ["2026-04-24", "2026-10-29"],
    "America/Sao_Paulo": ["2018-02-18", "2018-11-04"],
    "Antarctica/Troll": ["2026-03-29", "2026-10-25"],
    "Pacific/Apia": ["2011-12-30"],
    "Asia/Kathmandu": ["2026-01-01"],
}
ZONES = st.sampled_from([*CHANGES, "UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
DATES = st.sampled_from([day for days in CHANGES.values() for day in days])
# Often where clocks change: in the small hours, and around midnight.
TIMES = st.one_of(st.integers(0, 4 * 60), st.integers(22 * 60, 24 * 60 - 1), st.integers(0, 24 * 60 - 1))


@st.composite
def weeklies(draw: st.DrawFn, zone: str) -> Weekly:
    days = draw(st.lists(st.integers(0, 6), min_size=1, max_size=7, unique=True))
    start, end = draw(TIMES), draw(TIMES | st.just(24 * 60))
    return Weekly(tuple(days), start, end if end > start else end + 24 * 60, draw(st.just(zone) | ZONES))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Windows, datetime]:
    zone = draw(st.sampled_from([*CHANGES]))
    change = datetime.fromisoformat(draw(st.sampled_from(CHANGES[zone]))).replace(tzinfo=UTC)
    minutes = st.integers(-5 * 24 * 60, 5 * 24 * 60)
    spans = draw(st.lists(st.tuples(minutes, minutes).filter(lambda span: span[0] < span[1]), max_size=2))
    return (
        Windows(
            tuple(draw(st.lists(weeklies(zone), max_size=3))),
            tuple(OneTime(change + first * MINUTE, change + last * MINUTE) for first, last in spans),
        ),
        change,
    )


@given(cases())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_it_is_frozen_in_exactly_the_minutes_of_the_windows(case: tuple[Windows, datetime]) -> None:
    windows, change = case
    minutes = Minutes(windows, change.date() - 6 * DAY, days=16)
    asked = range(4 * 24 * 60, 8 * 24 * 60)  # from two days before the change to two after
    seen = 13 * 24 * 60  # up to here nothing that lies beyond these days matters
    for number in asked:
        assert (open_until(windows, minutes.times[number]) is not None) == minutes.frozen[number], minutes.times[number]
    for number in asked[::97]:
        found, expected = next_change(windows, minutes.times[number]), minutes.change_after(number)
        if expected is not None and expected < seen:
            assert found == minutes.times[expected]
        else:
            assert found is None or found >= minutes.times[seen]
        if minutes.frozen[number]:
            assert open_until(windows, minutes.times[number]) == Freeze(found)
