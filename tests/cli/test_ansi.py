import pytest

from relman_client.cli.ansi import cut, safe_in_colour, safe_without_colour, width_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m rest", "\x1b[31mred\x1b[0m rest\x1b[0m"),
        ("\x1b[1;38;5;208mone\x1b[mtwo", "\x1b[1;38;5;208mone\x1b[mtwo\x1b[0m"),
        ("\x1b[38;2;1;2;3mtrue", "\x1b[38;2;1;2;3mtrue\x1b[0m"),
        ("\x1b[8mhidden", "hidden\x1b[0m"),  # what hides text
        ("\x1b[31;8mhidden", "\x1b[31mhidden\x1b[0m"),
        ("\x1b[5mblinks", "blinks\x1b[0m"),
        ("\x1b[38;5mcut short", "cut short\x1b[0m"),  # its 5 would make text blink
        ("\x1b[2J\x1b]0;title\x07\x9b31m\u202e", r"\x1b[2J\x1b]0;title\x07\x9b31m\u202e"),
        ("\x1b\x1b[31m[2J", "\\x1b\x1b[31m[2J\x1b[0m"),  # what is left of it must make no escape
        ("\x1b[31\nm", r"\x1b[31\x0am"),
    ],
)
def test_escapes_that_colour_are_let_through_and_no_others(text: str, shown: str) -> None:
    assert safe_in_colour(text) == shown


def test_without_colours_nothing_is_left_of_them() -> None:
    assert safe_without_colour("\x1b[31mred\x1b[0m \x1b\x1b[31m[2J") == r"red \x1b[2J"


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("漢字", 4), ("e\u0301", 1), ("👩\u200d💻", 4)])
def test_wide_and_combined_characters_take_as_much_as_on_a_terminal(text: str, columns: int) -> None:
    assert width_of(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [("abcdef", 6, "abcdef"), ("abcdef", 5, "abcd…"), ("漢字漢", 5, "漢字…"), ("漢字漢", 4, "漢…")],
)
def test_what_does_not_fit_is_cut(text: str, columns: int, shown: str) -> None:
    assert cut(text, columns) == shown
    assert width_of(shown) <= columns
