"""Where a runbook stands in the order of changes, as terms, so that an index of terms finds a range of places. Pure.

PostgreSQL's GIN finds runbooks in no order, all that have a term: of a word that most have, it would decode every one
only to have the newest picked. Told that it must also have one of a few terms of places, it skips all others.

A place is a number that rises by one with every change. It belongs to a block of 256 places, that to one of 4,096, and
so on: a term for each. So a range that ends at the newest is a few large blocks, and at most fifteen of each smaller
size.
"""

from collections.abc import Iterator

FINEST = 8
"""Bits of the smallest block: 256 places."""
COARSEST = 20
"""Bits of the largest: a million."""
_STEP = 4


def blocks_of(place: int) -> tuple[str, ...]:
    """Return the terms of a place."""
    return tuple(_block(bits, place >> bits) for bits in range(FINEST, COARSEST + 1, _STEP))


def blocks_since(first: int, newest: int, finest: int) -> tuple[str, ...]:
    """Return terms of which every place from `first` to `newest` has one.

    Some places before have one, too, but less than a block of the smallest size, of so many bits.
    """
    return tuple(_blocks(first, newest, finest))


def _blocks(first: int, newest: int, finest: int) -> Iterator[str]:
    at = first >> finest
    for bits in range(finest, COARSEST, _STEP):
        end, larger = newest >> bits, -(-at >> _STEP)  # the first block of the next size that begins no earlier
        if larger > end >> _STEP:
            yield from (_block(bits, number) for number in range(at, end + 1))
            return
        yield from (_block(bits, number) for number in range(at, larger << _STEP))
        at = larger
    yield from (_block(COARSEST, number) for number in range(at, (newest >> COARSEST) + 1))


def _block(bits: int, number: int) -> str:
    return f"@p{bits}-{number:x}"
