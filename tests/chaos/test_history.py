"""The checker of histories reports what it is there for: each of these was planted."""

import pytest

from tests.chaos.history import (
    ChangeHistory,
    EventHistory,
    Findings,
    Line,
    LogHistory,
    compare,
    read_line,
    text_of,
)

WHOLE = [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (WHOLE, Findings()),
        ([1, 2, 3, 4], Findings(lost=1)),
        ([1, 2, 4, 5], Findings(lost=1, gaps=1)),
        ([2, 3, 4, 5], Findings(lost=1, gaps=1)),
        ([1, 2, 2, 3, 4, 5], Findings(repeated=1)),
        ([1, 2, 3, 4, 5, 3, 4, 5], Findings(repeated=3)),
        ([1, 3, 2, 4, 5], Findings(out_of_order=1, gaps=1)),
        ([1, 2, 3, 4, 5, 6], Findings(invented=1)),
        ([1, 2, 0, 3, 4, 5], Findings(invented=1)),
        ([], Findings(lost=5)),
    ],
    ids=["nothing", "the last", "one", "the first", "twice", "again", "swapped", "more", "foreign", "all"],
)
def test_what_comes_is_compared_with_what_was_promised(seen: list[int], found: Findings) -> None:
    assert compare(seen, 5) == found


def test_what_was_written_may_be_there_although_nobody_was_told() -> None:
    assert compare([1, 2, 3], promised=2, written=4) == Findings()


def lines(*numbers: int, stream: str = "build") -> list[Line]:
    return [Line(stream, number) for number in numbers]


def history(stored: list[Line], seen: list[Line]) -> LogHistory:
    counts = {"build": 3, "test": 2}
    return LogHistory(counts, dict(counts), {"listed": stored}, {"follower": seen})


GOOD = [*lines(1, 2), *lines(1, stream="test"), *lines(3), *lines(2, stream="test")]


@pytest.mark.parametrize(
    ("stored", "seen", "on_disk", "followed"),
    [
        (GOOD, GOOD, Findings(), Findings()),
        (GOOD[:-1], GOOD[:-1], Findings(lost=1), Findings()),
        (GOOD, GOOD[:-1], Findings(), Findings(lost=1)),
        (GOOD, [*GOOD, GOOD[2]], Findings(), Findings(repeated=1)),
        (GOOD, [*GOOD[:2], *GOOD[3:]], Findings(), Findings(lost=1, gaps=1)),
        (GOOD, [GOOD[2], *GOOD[:2], *GOOD[3:]], Findings(), Findings(out_of_order=2, gaps=1)),
        ([*GOOD, *lines(0)], GOOD, Findings(invented=1), Findings(lost=1)),
        ([*GOOD, *lines(1, stream="foreign")], GOOD, Findings(invented=1), Findings(lost=1)),
    ],
    ids=["nothing", "lost", "unseen", "again", "passed over", "streams swapped", "altered", "a foreign stream"],
)
def test_a_log_is_what_was_acknowledged_and_followers_see_it_as_it_is(
    stored: list[Line], seen: list[Line], on_disk: Findings, followed: Findings
) -> None:
    log = history(stored, seen)
    assert (log.on_disk(), log.followed()) == (on_disk, followed)


def test_a_gap_that_a_follower_is_told_of_counts() -> None:
    log = history(GOOD, GOOD)
    log.gaps_told += 1
    assert log.followed() == Findings(gaps=1)


def test_every_way_to_read_the_log_is_checked() -> None:
    log = history(GOOD, GOOD)
    log.stored["downloaded"] = GOOD[1:]
    assert log.on_disk() == Findings(lost=1, gaps=1)


def test_a_line_is_known_by_its_text() -> None:
    text = text_of("build", 7)
    assert read_line(text, 7) == read_line(text, 7, "build") == Line("build", 7)
    assert read_line(text, 8) == read_line(f"{text}!", 7) == read_line(text, 7, "test") == Line("build", 0)
    assert read_line("nonsense", 1) == Line("", 0)


@pytest.mark.parametrize(
    ("recorded", "seen", "found"),
    [
        ([1, 2, 3], [1, 2, 3], Findings()),
        ([1, 2, 3], [1, 3], Findings(lost=1, gaps=1)),
        ([1, 2, 3], [1, 2, 2, 3], Findings(repeated=1)),
        ([1, 3], [1], Findings(lost=2, invented=1)),
    ],
)
def test_watchers_see_every_event_once(recorded: list[int], seen: list[int], found: Findings) -> None:
    assert EventHistory(recorded, {"watcher": seen}).findings() == found


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ([("a", "1"), ("b", "2"), ("maybe", "3")], Findings()),
        ([("a", "1"), ("b", "2")], Findings()),
        ([("a", "1")], Findings(lost=1)),
        ([("a", "1"), ("b", "2"), ("b", "4")], Findings(repeated=1)),
        ([("a", "1"), ("b", "4")], Findings(lost=1)),
        ([("a", "1"), ("b", "2"), ("maybe", "3"), ("maybe", "4")], Findings(repeated=1)),
        ([("a", "1"), ("b", "2"), ("c", "3")], Findings(invented=1)),
    ],
    ids=["all", "maybe not", "lost", "twice", "another one", "maybe twice", "nobody asked"],
)
def test_what_was_acknowledged_is_there_exactly_once(found: list[tuple[str, str]], wrong: Findings) -> None:
    assert ChangeHistory({"a", "b", "maybe"}, {"a": "1", "b": "2"}, found).findings() == wrong
