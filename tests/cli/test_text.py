from datetime import UTC, datetime, timedelta

import pytest

from relman_client.cli.text import ago, exact, safe, shown_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("50%\r100%", r"50%\x0d100%"),
        ("a\x08b\x7f", r"a\x08b\x7f"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("a\u2028b", r"a\u2028b"),
        ("\ud800", r"\ud800"),
        ("new\nline", r"new\x0aline"),
    ],
)
def test_what_a_terminal_would_act_on_is_written_out(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_every_control_character_but_the_tab_is_written_out() -> None:
    controls = [chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)] if chr(code) != "\t"]
    assert all(safe(character).isprintable() for character in controls)


@pytest.mark.parametrize("text", ["tab\there", "naïve 漢字 👩\u200d💻 ✓", "[bold]no markup[/bold]"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert safe(text) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "now"), (45, "45 s ago"), (200, "3 min ago"), (7300, "2 h ago"), (-90, "in 1 min")]
)
def test_times_are_told_in_their_largest_unit(seconds: float, text: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "40 ms"), (12.34, "12.3 s"), (2, "2 s"), (5400, "1 h 30 min"), (90061, "1 d 1 h 1 min 1 s")],
)
def test_spans_are_told_in_full(seconds: float, text: str) -> None:
    assert exact(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("shown", "total", "is_exact", "text"),
    [
        (2, 3, True, "2 of 3 are shown"),
        (1, 16_000, True, "1 of 16,000 is shown"),
        (1_500, 10_000, False, "1,500 of more than 10,000 are shown"),
    ],
)
def test_a_total_that_was_not_counted_to_its_end_says_so(shown: int, total: int, is_exact: bool, text: str) -> None:
    assert shown_of(shown, total, is_exact=is_exact) == text
