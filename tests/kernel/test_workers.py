"""Threads beside the event loop: every result comes back, and whatever goes wrong stays with its own call."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relman_server.kernel.errors import ResourceExhausted, Unavailable
from relman_server.kernel.workers import Workers


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers("test", 2, waiting=3)
    yield made
    made.close()


def _raise(error: BaseException) -> Any:
    raise error


async def test_results_and_errors_come_back_to_those_who_wait_for_them(workers: Workers) -> None:
    for _ in range(200):
        results = await asyncio.gather(
            *(workers.run(lambda number=number: number) for number in range(3)),  # type: ignore[misc]  # a default
            workers.run(lambda: _raise(ValueError("mine"))),
            return_exceptions=True,
        )
        assert results[:3] == [0, 1, 2]
        assert isinstance(results[3], ValueError)
    assert workers.expected == 0


async def test_an_error_that_no_future_takes_is_one_too(workers: Workers) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await workers.run(lambda: _raise(StopIteration()))
    assert await workers.run(lambda: "goes on") == "goes on"


async def test_who_leaves_counts_until_the_thread_is_done_and_what_was_not_begun_is_not(workers: Workers) -> None:
    go_on, begun = threading.Event(), []

    def work() -> None:
        begun.append(1)
        go_on.wait(20)

    calls = [asyncio.ensure_future(workers.run(work)) for _ in range(5)]
    async with asyncio.timeout(20):
        while len(begun) < 2:  # noqa: ASYNC110 - of threads
            await asyncio.sleep(0.001)
    with pytest.raises(ResourceExhausted):
        await workers.run(work)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert workers.expected == 5
    go_on.set()
    async with asyncio.timeout(20):
        while workers.expected:  # noqa: ASYNC110 - of threads
            await asyncio.sleep(0.001)
    assert len(begun) == 2


async def test_a_thread_that_cannot_be_started_is_tried_again(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when it counts as one of the threads: nobody would do the work."""
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _: _raise(RuntimeError("can't start new thread")))
        with pytest.raises(RuntimeError, match="new thread"):
            await workers.run(lambda: 1)
    assert workers.expected == 0
    assert await workers.run(lambda: 2) == 2
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _: _raise(RuntimeError("can't start new thread")))
        assert await asyncio.gather(*(workers.run(lambda: 3) for _ in range(3))) == [3, 3, 3]


async def test_after_the_end_there_is_a_refusal_and_no_waiting() -> None:
    workers = Workers("test", 1, waiting=3)
    assert await workers.run(lambda: 1) == 1
    workers.close()
    with pytest.raises(Unavailable):
        await workers.run(lambda: 2)
