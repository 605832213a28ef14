"""What a feed remembers of what others got, and when that is not enough."""

from uuid import uuid4

from relman_server.logs.cursor import Place
from relman_server.logs.feed import REMEMBERED_BYTES, Answer, Batch, LogFeed, LogState
from relman_server.logs.inputs import Wanted

ALL = Wanted()


def _feed(head: int) -> LogFeed:
    feed = LogFeed(uuid4(), lambda _: None)
    feed.learn(LogState("IN_PROGRESS", head, is_open=True, removed=0))
    return feed


def _batch(position: int, size: int = 100, *, is_full: bool = False) -> Batch:
    return Batch((Answer(b"x" * size, "here"),), Place(position), is_full=is_full)


async def test_who_is_behind_gets_all_there_is_and_not_what_those_before_got_of_it() -> None:
    feed = _feed(1)
    feed.grew(1, [b"one"])
    feed.remember(Place(0), ALL, _batch(1))
    assert feed.recall(Place(0), ALL) is not None
    feed.grew(2, [b"two"])
    assert feed.recall(Place(0), ALL) is None
    feed.remember(Place(0), ALL, _batch(1, is_full=True))
    assert feed.recall(Place(0), ALL) is not None, "there is more, but it does not fit in"


async def test_what_another_process_wrote_does_not_make_everyone_build_the_same_again() -> None:
    """Fails when the head is asked for that memory does not have: then each follower has an answer of its own."""
    feed = _feed(2)
    feed.recent.add(1, [b"one"])
    feed.remember(Place(0), ALL, _batch(1))
    assert feed.recall(Place(0), ALL) is not None


async def test_what_takes_the_place_of_something_is_counted_instead_of_it() -> None:
    feed = _feed(1)
    for size in (100, 5_000, 300):
        feed.remember(Place(0), ALL, _batch(1, size))
        assert feed.size == 200 + size
    for position in range(100):
        feed.remember(Place(position), ALL, _batch(position + 1, 20_000))
        feed.remember(Place(position), ALL, _batch(position + 2, 20_000))
    kept = [position for position in range(100) if feed.recall(Place(position), ALL)]
    assert feed.size == len(kept) * 20_200 <= REMEMBERED_BYTES
    assert kept == list(range(100 - len(kept), 100))
