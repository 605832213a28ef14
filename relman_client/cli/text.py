"""From what the server says to what a terminal shows."""

import os
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TextIO

# Control characters but the tab; what reorders or breaks lines; and what a terminal may take for a control.
_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

STYLES = {
    "succeeded": "green",
    "deployed": "green",
    "healthy": "green",
    "published": "blue",
    "ready": "blue",
    "in progress": "cyan",
    "running": "cyan",
    "pending": "yellow",
    "degraded": "yellow",
    "failed": "red",
    "failing": "red",
    "timed out": "red",
    "rejected": "red",
    "rolled back": "magenta",
    "draft": "dim",
    "cancelled": "dim",
    "skipped": "dim",
    "abandoned": "dim",
    "unknown": "dim",
}
_CODES = {
    "green": "32",
    "blue": "34",
    "cyan": "36",
    "yellow": "33",
    "red": "31",
    "magenta": "35",
    "bright green": "92",
    "bright blue": "94",
    "bright cyan": "96",
    "bright magenta": "95",
    "bold red": "1;31",
    "dim": "2",
    "bold": "1",
}


def counted(count: int, one: str, several: str | None = None) -> str:
    """A number of things: `1 change`, `1,204 changes`."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def shown_of(shown: int, total: int, *, is_exact: bool = True) -> str:
    """How much of a list is shown: `20 of 1,204 are shown`, `1 of more than 10,000 is shown`.

    Args:
        shown: How many are.
        total: How many there are.
        is_exact: Whether that is all; otherwise there are more.
    """
    return f"{shown:,} of {'' if is_exact else 'more than '}{total:,} {'is' if shown == 1 else 'are'} shown"


def safe(text: str) -> str:
    r"""The text with everything that a terminal would act on written out: ESC becomes \x1b."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at what goes there."""
    return stream.isatty()


def has_colours(stream: TextIO) -> bool:
    """Whether to colour what goes there: a terminal, unless NO_COLOR says otherwise."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, style: str) -> str:
    """The text between a terminal's codes for the style."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style in _CODES else text


def note(text: str) -> None:
    """A dim line on standard error: about the answer, not part of it."""
    sys.stderr.write((coloured(text, "dim") if has_colours(sys.stderr) else text) + "\n")


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago, or in how long, to one unit: `3 min ago`, `in 2 h`."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    length = brief(timedelta(seconds=abs(seconds)))
    return f"{length} ago" if seconds > 0 else f"in {length}"


def brief(span: timedelta) -> str:
    """A span in its largest unit: `45 s`, `3 min`, `2 h`, `5 d`."""
    seconds = span.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def exact(span: timedelta) -> str:
    """A span in all its units: `1 h 30 min`, `12.3 s`, `40 ms`."""
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    parts = []
    rest = round(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts)
