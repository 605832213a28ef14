"""The newest chunks in memory, handed over in whatever order."""

import pytest

from relman_server.logs import recent as recent_module
from relman_server.logs.recent import Recent


def _recent(*added: tuple[int, str]) -> Recent:
    """Return what is kept of chunks of one letter each."""
    recent = Recent()
    for position, letters in added:
        recent.add(position, [letter.encode() for letter in letters])
    return recent


def _after(recent: Recent, position: int) -> str | None:
    found = recent.after(position)
    return None if found is None else b"".join(found).decode()


@pytest.mark.parametrize(
    ("added", "kept"),
    [
        ([(1, "a"), (2, "bc")], "abc"),
        ([(2, "b"), (1, "a"), (3, "c")], "abc"),  # two threads, one after the other
        ([(1, "ab"), (2, "bc")], "abc"),
        ([(1, "abc"), (2, "b")], "abc"),
        ([(3, "c"), (1, "ab"), (1, "ab")], "abc"),
        ([(2, "bc"), (1, "ab")], "abc"),
    ],
)
def test_what_adjoins_is_kept_in_order_and_once(added: list[tuple[int, str]], kept: str) -> None:
    recent = _recent(*added)
    assert (_after(recent, 0), recent.first, recent.last, recent.size) == (kept, 1, 3, 3)
    assert [_after(recent, position) for position in (1, 2, 3, 4)] == ["bc", "c", None, None]


def test_what_comes_after_a_gap_takes_the_place_of_the_rest() -> None:
    recent = _recent((1, "abc"), (7, "g"))
    assert [_after(recent, position) for position in (0, 2, 5, 6, 7)] == [None, None, None, "g", None]
    recent.add(2, [b"b"])  # does not adjoin
    assert (recent.first, recent.last) == (7, 7)


def test_memory_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_module, "RECENT_BYTES", 3)
    recent = _recent((1, "ab"), (3, "cd"))
    assert (_after(recent, 0), _after(recent, 1), recent.size) == (None, "bcd", 3)


def test_an_answer_is_bounded_and_holds_one_chunk_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_module, "ANSWER_BYTES", 2)
    assert _after(_recent((1, "abcd")), 0) == "ab"
    recent = Recent()
    recent.add(1, [b"larger"])
    assert _after(recent, 0) == "larger"
