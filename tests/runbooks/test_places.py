"""Blocks of places: terms that say of a range what is in it."""

import random

import pytest

from relman_server.runbooks.places import FINEST, blocks_of, blocks_since

RANGES = random.Random(3)


@pytest.mark.parametrize("size", [0, 255, 256, 2_000, 70_000, 3_000_000])
def test_of_a_range_every_place_has_a_block_and_none_that_is_well_before(size: int) -> None:
    for _ in range(50):
        newest = RANGES.randrange(size, 40_000_000)
        first = newest - size
        blocks = set(blocks_since(first, newest, FINEST))
        assert len(blocks) <= 3 * 15 + 5
        within = [first, newest, *(RANGES.randint(first, newest) for _ in range(50))]
        assert all(blocks & set(blocks_of(place)) for place in within)
        before = [first - 2**FINEST, *(RANGES.randint(0, first) - 2**FINEST for _ in range(50))]
        assert not any(blocks & set(blocks_of(place)) for place in before if place >= 0)
