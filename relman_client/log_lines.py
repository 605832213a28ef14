"""From what a command prints to lines of a log."""

import re
from collections.abc import Iterator

MAX_LINE_BYTES = 64 * 1024

_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def lines_of(text: str | bytes) -> tuple[list[str], bool]:
    """The lines without their ends, and whether anything was replaced; one empty line for an empty text.

    Invalid UTF-8, NUL characters and lone surrogates become U+FFFD. Lines longer than 64 KiB become several, cut
    between characters.
    """
    if isinstance(text, str) and len(text) * 4 <= MAX_LINE_BYTES and text.isprintable():  # as almost all are
        return [text], False
    decoded, repaired = _repair(text)
    lines = decoded.removesuffix("\n").split("\n")
    return [piece for line in lines for piece in _pieces(line.removesuffix("\r"))], repaired


def _repair(text: str | bytes) -> tuple[str, bool]:
    """The text as UTF-8 allows it, and whether anything was replaced."""
    decoded, repaired = _decode(text) if isinstance(text, bytes) else (text, False)
    clean, replaced = _NOT_TEXT.subn(_REPLACEMENT, decoded)
    return clean, repaired or replaced > 0


def _decode(data: bytes) -> tuple[str, bool]:
    try:
        return data.decode(), False
    except UnicodeDecodeError:
        return data.decode(errors="replace"), True


def _pieces(line: str) -> Iterator[str]:
    """The line in pieces of at most 64 KiB of UTF-8."""
    if len(line) * 4 <= MAX_LINE_BYTES:  # no character is longer than four bytes
        yield line
        return
    data = line.encode()
    start = 0
    while len(data) - start > MAX_LINE_BYTES:
        end = start + MAX_LINE_BYTES
        while data[end] & 0xC0 == 0x80:  # in the middle of a character
            end -= 1
        yield data[start:end].decode()
        start = end
    yield data[start:].decode()
