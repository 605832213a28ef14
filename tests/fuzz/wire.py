"""Bytes that no library would write: fields by hand, and messages damaged on their way."""

from random import Random
from typing import Any

from tests.contract import FieldPath

VARINT, FIXED64, DELIMITED, START_GROUP, END_GROUP, FIXED32 = range(6)
NOT_UTF8 = (b"\xed\xa0\x80", b"\xed\xbf\xbf", b"a\xff", b"\xc0\xaf", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\x80")
VARINTS = (0, 1, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
BROKEN = (b"\xff" * 11, b"\x80" * 9 + b"\x7f", b"\x00", b"\x0b" * 200, b"\x0c", b"\x0f\x0f", b"\x0a\xff\xff\xff\x0f")


def varint(number: int) -> bytes:
    """Return a number as it stands on the wire."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def delimited(number: int, content: bytes) -> bytes:
    """Return a field of bytes, text or a message; appended to a message it replaces or extends what is there."""
    return varint(number << 3 | DELIMITED) + varint(len(content)) + content


def within(path: FieldPath, content: bytes) -> bytes:
    """Return a field, however deep inside, that holds these bytes."""
    for each in reversed(path):
        content = delimited(each.number, content)
    return content


def crafted(rng: Random, descriptor: Any) -> bytes:
    """Return well-formed fields of the message's numbers, and others, in types of their own choosing."""
    numbers = [*(each.number for each in descriptor.fields), 99, 2**29 - 1]
    return b"".join(_field(rng, rng.choice(numbers)) for _ in range(rng.randint(1, 8)))


def _field(rng: Random, number: int) -> bytes:
    kind = rng.choice((VARINT, FIXED64, DELIMITED, DELIMITED, START_GROUP, FIXED32))
    tag = varint(number << 3 | kind)
    if kind == VARINT:
        return tag + varint(rng.choice(VARINTS))
    if kind == DELIMITED:
        content = rng.choice((*NOT_UTF8, rng.randbytes(rng.randint(0, 40)), b"text"))
        return tag + varint(len(content)) + content
    if kind == START_GROUP:
        return tag + varint(8) + varint(rng.choice(VARINTS)) + varint(number << 3 | END_GROUP)
    return tag + rng.randbytes(8 if kind == FIXED64 else 4)


def damaged(rng: Random, data: bytes, other: bytes) -> bytes:
    """Return a message with what happens to bytes: cut, flipped, lost, doubled, mixed with those of another message."""
    for _ in range(rng.randint(1, 3)):
        place, more = rng.randint(0, len(data)), rng.randint(0, len(data))
        begin, end = min(place, more), max(place, more)
        ways = (
            data[:place],
            data[place:],
            data[:begin] + data[end:],
            data[:end] + data[begin:],
            data[:place] + rng.randbytes(rng.randint(1, 4)) + data[place:],
            data[:place] + other[rng.randint(0, len(other)) :],
            data + rng.choice(BROKEN),
            _flipped(rng, data),
            _flipped(rng, data),
        )
        data = rng.choice(ways)
    return data


def _flipped(rng: Random, data: bytes) -> bytes:
    if not data:
        return data
    flipped = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)
