"""One reader for all that follow: what followers cost, and how much they share."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from sqlalchemy import event

from relman_client.v1 import log_pb2 as pb
from relman_server.kernel.db import Database
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.streams import hub
from relman_server.kernel.streams.delivery import Delivery
from relman_server.logs import convert, feed, recent, store
from tests.conftest import MovableClock, serving
from tests.factories import RunningServer, refused
from tests.logs.steps import Follower, Writer, append, cancel, new_log, said


@contextmanager
def _reads_of_logs(db: Database) -> Iterator[list[str]]:
    """Collect the statements that read logs, also those of the server's own work."""
    seen: list[str] = []

    def before(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "log_head" in statement or "log_chunk" in statement:
            seen.append(statement)

    event.listen(db.reads, "before_cursor_execute", before)
    yield seen
    event.remove(db.reads, "before_cursor_execute", before)


async def _followers(server: RunningServer, deployment: str, count: int, **fields: Any) -> list[Follower]:
    """Return followers that have caught up."""
    followers = [Follower(server.admin, deployment, **fields) for _ in range(count)]
    for follower in followers:
        await follower.caught_up()
    return followers


async def _leave(followers: list[Follower]) -> None:
    for follower in followers:
        await follower.leave()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is sent to followers from now on."""
    answers: list[object] = []
    send = Delivery.send

    async def note(delivery: Delivery, answer: Any, cursor: Any = "") -> None:
        answers.append(answer)
        await send(delivery, answer, cursor)

    monkeypatch.setattr(Delivery, "send", note)
    return answers


async def test_an_append_is_serialized_once_and_read_never_for_all_who_follow(
    server: RunningServer, sent: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when a local append wakes the hub, or when an answer is built for every follower."""
    monkeypatch.setitem(hub.POLL, server.app.db.engine, 60.0)
    deployment = await new_log(server)
    followers = await _followers(server, deployment, 50)
    filtered = await _followers(server, deployment, 10, contains="a 1")
    for what in (sent, followers[0].answers):
        what.clear()
    with _reads_of_logs(server.app.db) as seen:
        await append(server.admin, deployment, "a 1", "b 2")
        for follower in followers:
            assert await follower.has(2) == ["a 1", "b 2"]
        for follower in filtered:
            assert await follower.has(1) == ["a 1"]
    assert not seen
    assert all(isinstance(answer, bytes) for answer in sent)
    assert len(sent) == 60
    assert len(set(map(id, sent))) == 2, "one object for those who want all, one for those who want the same part"
    await _leave(followers + filtered)


async def test_followers_of_many_logs_cost_nothing_while_nothing_happens(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = server.app.db.engine
    if engine == "postgresql":
        monkeypatch.setitem(hub.POLL, engine, 0.25)
    logs = [await new_log(server) for _ in range(3)]
    followers = [follower for log in logs for follower in await _followers(server, log, 10)]
    with _reads_of_logs(server.app.db) as seen:
        await asyncio.sleep(1.1)
    if engine == "sqlite":
        assert not seen
    else:  # another process may have written: all are looked at, in one statement each time
        assert 1 <= len(seen) <= 5
    await _leave(followers)


async def test_what_another_process_wrote_is_read_once_for_all(
    server: RunningServer, sent: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hub.POLL, server.app.db.engine, 60.0)
    deployment = await new_log(server)
    followers = await _followers(server, deployment, 20)
    sent.clear()
    monkeypatch.setattr(server.app.log_hub, "hand_over", lambda *_: None)
    await append(server.admin, deployment, "a", "b")
    with _reads_of_logs(server.app.db) as seen:
        server.app.bus.publish(feed.topic(UUID(deployment)))
        for follower in followers:
            assert await follower.has(2) == ["a", "b"]
    assert len(seen) == 2, "a look, and the chunk"
    assert len(set(map(id, sent))) == 1
    await _leave(followers)


async def _all_at_once(server: RunningServer, requests: list[dict[str, Any]]) -> tuple[list[Follower], list[str]]:
    """Let followers come while the server is busy with the first of them; return them, and what they cost."""
    original, free = store.states, threading.Event()

    def look(tx: Reading, *args: Any) -> Any:
        free.wait(20)
        return original(tx, *args)

    others = len(server.app.lifetimes)
    with pytest.MonkeyPatch.context() as patch, _reads_of_logs(server.app.db) as seen:
        patch.setattr(store, "states", look)
        followers = [Follower(server.admin, **request) for request in requests]
        async with asyncio.timeout(20):
            while len(server.app.lifetimes) < others + len(requests):  # noqa: ASYNC110 - there is no event for tests
                await asyncio.sleep(0.01)
        free.set()
        for follower in followers:
            await follower.caught_up()
    return followers, seen


async def test_a_storm_of_followers_that_come_back_is_served_by_few_reads(server: RunningServer) -> None:
    """Fails when each looks, or reads what it missed, by itself."""
    deployment = await new_log(server)
    await append(server.admin, deployment, "seen")
    (first,) = await _followers(server, deployment, 1)
    await first.leave()
    await append(server.admin, deployment, "missed", first=2)
    back, seen = await _all_at_once(server, [{"deployment": deployment, "cursor": first.cursor}] * 100)
    assert {tuple(follower.texts) for follower in back} == {("missed",)}
    assert len(seen) <= 4, seen
    await _leave(back)


async def test_followers_of_many_logs_that_come_at_once_are_looked_at_together(server: RunningServer) -> None:
    logs = [await new_log(server) for _ in range(20)]
    followers, seen = await _all_at_once(server, [{"deployment": log} for log in logs])
    assert len(seen) <= 3, seen
    await _leave(followers)


async def test_what_comes_while_many_are_served_goes_out_together(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "FAN_OUT", 0.5)  # as if there were many
    monkeypatch.setattr(hub, "FEW", 0)
    deployment = await new_log(server)
    (follower,) = await _followers(server, deployment, 1)
    for number in range(10):
        await append(server.admin, deployment, f"a {number}", first=number + 1, stream_name="a")
    await append(server.admin, deployment, "b 0", "b 1", stream_name="b")
    await append(server.admin, deployment, "a 10", first=11, stream_name="a")
    expected = [*(f"a {number}" for number in range(10)), "b 0", "b 1", "a 10"]
    assert await follower.has(13) == expected
    entries = [answer for answer in follower.answers if answer.WhichOneof("event") == "entries"]
    assert len(entries) < 12, "fewer answers than chunks"
    for answer in entries:
        assert {entry.text[0] for entry in answer.entries.entries} == {answer.entries.stream_name}
    # Every cursor goes on right after its answer, whatever was joined.
    for index, answer in enumerate(entries):
        rest = Follower(server.admin, deployment, cursor=answer.cursor)
        wanted = expected[len(said(entries[: index + 1])) :]
        assert await rest.has(len(wanted)) == wanted
        await rest.leave()
    await follower.leave()


def _chunk(stream_name: str, *texts: str) -> bytes:
    entries = [pb.LogEntry(text=text) for text in texts]
    return pb.TailLogsResponse(entries=pb.LogEntries(entries=entries, stream_name=stream_name)).SerializeToString()


@pytest.mark.parametrize("name", ["a", "main", "x" * 18, "x" * 128, "ü" * 128, "18 characters \N{SNOWMAN} x"])
def test_chunks_of_one_stream_are_joined_and_no_others(name: str) -> None:
    """Also of streams with names whose length is the byte that the tag of a name is."""
    payload, count = convert.join([_chunk(name, "1", "2\x12"), _chunk(name, "3"), _chunk(f"b{name}"[:128], "4")])
    joined = pb.TailLogsResponse.FromString(payload).entries
    assert ([entry.text for entry in joined.entries], joined.stream_name, count) == (["1", "2\x12", "3"], name, 2)


async def test_a_follower_far_behind_reads_at_its_own_pace_while_others_are_at_the_head(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "RECENT_BYTES", 2000)
    deployment = await new_log(server)
    (ahead,) = await _followers(server, deployment, 1)
    texts = [f"{number} " + "x" * 300 for number in range(40)]
    for number, text in enumerate(texts):
        await append(server.admin, deployment, text, first=number + 1)
    assert await ahead.has(40) == texts
    behind = Follower(server.admin, deployment)
    narrow = Follower(server.admin, deployment, contains="7 ")
    assert await behind.has(40) == texts
    assert await narrow.has(4) == [text for text in texts if "7 " in text]
    await _leave([ahead, behind, narrow])


async def test_memory_for_all_logs_is_bounded(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PROCESS_BYTES", 1000)
    logs = [await new_log(server) for _ in range(3)]
    followers = [(await _followers(server, log, 1))[0] for log in logs]
    for number in range(1, 4):
        for log, follower in zip(logs, followers, strict=True):
            await append(server.admin, log, "x" * 400, first=number)
            await follower.has(number)
    kept = [server.app.log_hub._feed(UUID(log)) for log in logs]
    assert sum(found.recent.size for found in kept if found) <= 1500
    for log, follower in zip(logs, followers, strict=True):
        await append(server.admin, log, "last", first=4)
        assert (await follower.has(4))[-1] == "last"
    await _leave(followers)


async def test_a_user_may_have_so_many_streams_and_no_more(
    database_url: str, clock: MovableClock, tmp_path: Path
) -> None:
    async with serving(database_url, tmp_path / "data", clock, max_streams_per_user=2) as limited:
        deployment = await new_log(limited)
        followers = await _followers(limited, deployment, 2)
        request = pb.TailLogsRequest(deployment=deployment, follow=True)
        refusal = await refused(limited.admin.logs.TailLogs(request))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        assert refusal.retry.HasField("retry_delay")
        refusal = await refused(Writer(limited.admin, deployment=deployment).call)
        assert refusal.reason == "TOO_MANY_STREAMS"
        other = Follower(await limited.user(), deployment)
        await other.caught_up()
        await _leave([followers[0], other])
        async with asyncio.timeout(5):
            while len(limited.app.lifetimes) > 1:  # noqa: ASYNC110 - the server has no event for tests
                await asyncio.sleep(0.01)
        await _leave([*await _followers(limited, deployment, 1), followers[1]])


async def test_nothing_is_kept_of_logs_that_nobody_follows(server: RunningServer) -> None:
    deployment = await new_log(server)
    followers = await _followers(server, deployment, 3)
    await append(server.admin, deployment, "a", finish=True)
    await cancel(server.admin, deployment)
    for follower in followers:
        await follower.to_the_end()
    async with asyncio.timeout(5):
        while server.app.log_hub._feed(UUID(deployment)) is not None:  # noqa: ASYNC110 - the server has no event for tests
            await asyncio.sleep(0.01)
    assert UUID(deployment) not in server.app.log_hub._sizes
