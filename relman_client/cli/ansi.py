"""Lines that bring colours of their own, and lines that are wider than the terminal."""

import re
import unicodedata

from relman_client.cli.text import safe

_COLOURING = re.compile("\x1b\\[([0-9;]*)m")
_ONE_OF_ITS_CODES = re.compile("[34]8;(?:5;[0-9]*|2;[0-9]*;[0-9]*;[0-9]*)|[0-9]*")
# All but what hides text (8), makes it blink (5, 6) or is of no use in a log.
_HARMLESS = re.compile(
    "0*(?:[0-4]|7|9|2[1-4]|27|29|3[0-79]|4[0-79]|9[0-7]|10[0-7])?|[34]8;5;[0-9]+|[34]8;2;[0-9]+;[0-9]+;[0-9]+"
)
_PLAIN = "\x1b[0m"


def safe_in_colour(text: str) -> str:
    """The text with everything that a terminal would act on written out, except for harmless escapes that colour it.

    It ends without colour.
    """
    texts, codes = _split(text)
    shown = [safe(texts[0])]
    for code, part in zip(codes, texts[1:], strict=True):
        shown += [_escape_for(code), safe(part)]
    return "".join(shown) + (_PLAIN if codes else "")


def safe_without_colour(text: str) -> str:
    """The same without any escapes that colour it."""
    return "".join(map(safe, _split(text)[0]))


def _split(text: str) -> tuple[list[str], list[str]]:
    """The parts between escapes that colour, and the parameters of these."""
    parts = _COLOURING.split(text)
    return parts[::2], parts[1::2]


def _escape_for(parameters: str) -> str:
    """The escape with as many of its codes as are harmless."""
    codes = []
    rest = parameters
    while rest:
        match = _ONE_OF_ITS_CODES.match(rest)
        assert match is not None  # it matches nothing, too
        codes.append(match[0])
        rest = rest[match.end() :].removeprefix(";")
    harmless = [code for code in codes if _HARMLESS.fullmatch(code)]
    return f"\x1b[{';'.join(harmless)}m" if harmless or not parameters else ""


def width_of(text: str) -> int:
    """Columns of a terminal that a text without escapes takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def cut(text: str, columns: int) -> str:
    """As much of a text without escapes as fits, with an ellipsis in the place of the rest."""
    if width_of(text) <= columns:
        return text
    used = 0
    for number, character in enumerate(text):
        used += _width(character)
        if used > columns - 1:
            return text[:number] + "\N{HORIZONTAL ELLIPSIS}"
    return text


def _width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
