"""Followers: every line once, in order, until nothing more can come."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest

from relman_client.v1 import deployment_pb2
from relman_client.v1 import log_pb2 as pb
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.identity import Identity
from relman_server.kernel.streams import delivery, hub
from relman_server.logs import feed, store
from relman_server.logs import tail as tail_module
from tests.conftest import MovableClock, serving
from tests.factories import Caller, RunningServer, refused
from tests.logs.steps import Follower, Writer, append, cancel, new_log, said, tail


async def test_lines_come_as_they_are_written_until_all_is_over(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    follower = Follower(await shared_server.user(), deployment)
    await follower.caught_up()
    for number in range(5):
        await append(admin, deployment, f"line {number}", first=number + 1)
        assert (await follower.has(number + 1))[-1] == f"line {number}"
    await cancel(admin, deployment)
    await append(admin, deployment, "last words", first=6)
    await follower.has(6)
    assert not follower.task.done()
    await append(admin, deployment, first=7, finish=True)
    await follower.to_the_end()
    assert follower.answers[-1].end.status == deployment_pb2.DEPLOYMENT_STATUS_CANCELLED


async def test_the_end_of_the_deployment_wakes_who_follows_a_finished_log(shared_server: RunningServer) -> None:
    """Fails on SQLite, which does not poll, when tails do not listen to the deployment."""
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    await append(admin, deployment, "a", finish=True)
    follower = Follower(admin, deployment)
    await follower.caught_up()
    await cancel(admin, deployment)
    async with asyncio.timeout(5):
        await follower.to_the_end()
    assert follower.events == ["entries", "progress", "end"]


async def test_a_stream_whose_writer_is_gone_is_not_waited_for_for_good(
    own_server: RunningServer, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower would wait for the end of a stream that nobody will finish."""
    monkeypatch.setitem(hub.POLL, own_server.app.db.engine, 0.05)
    deployment = await new_log(own_server)
    await append(own_server.admin, deployment, "cut off in the mid")
    follower = Follower(own_server.admin, deployment)
    await follower.caught_up()
    clock.advance(store.ABANDONED_AFTER * 2)
    await asyncio.sleep(0.2)
    assert not follower.task.done(), "silence alone is no end: the deployment goes on"
    await cancel(own_server.admin, deployment)
    await asyncio.sleep(0.2)
    assert not follower.task.done(), "the writer has some time to finish"
    clock.advance(store.ABANDONED_AFTER * 2)
    async with asyncio.timeout(5):
        await follower.to_the_end()
    assert follower.events[-1] == "end"


async def test_who_filters_is_not_kept_waiting_at_the_end(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server, "build", "test")
    followers = [Follower(admin, deployment, stage="build"), Follower(admin, deployment, contains="a 1")]
    for follower in followers:
        await follower.caught_up()
    await append(admin, deployment, "a 1", "b 1", stage="build", finish=True)
    await append(admin, deployment, "a 2", "b 2", stage="test", finish=True)
    await cancel(admin, deployment)
    for follower, expected in zip(followers, (["a 1", "b 1"], ["a 1"]), strict=True):
        await follower.to_the_end()
        assert follower.texts == expected
        assert follower.events[-1] == "end"


class Resuming:
    """Follows in short calls, each from the cursor of the one before."""

    def __init__(self, caller: Caller, deployment: str) -> None:
        self.answers: list[pb.TailLogsResponse] = []
        self._task = asyncio.create_task(self._run(caller, deployment))

    async def _run(self, caller: Caller, deployment: str) -> None:
        cursor: dict[str, Any] = {}
        while True:
            call: Any = caller.logs.TailLogs(pb.TailLogsRequest(deployment=deployment, follow=True, **cursor))
            for _ in range(random.randint(1, 4)):
                answer = await call.read()
                self.answers.append(answer)
                cursor = {"cursor": answer.cursor}
                if answer.WhichOneof("event") == "end":
                    return
            call.cancel()

    async def to_the_end(self) -> None:
        """Wait until the log is over."""
        await self._task


async def write_numbers(caller: Caller, deployment: str, stream: str, count: int) -> None:
    """Write the numbers from 1, in appends of random sizes, breaking off and resuming now and then."""
    written = 0
    while written < count:
        writer = Writer(caller, deployment=deployment, stream_name=stream)
        committed, _ = await writer.answer()
        sent = max(0, committed - random.randint(0, 3))  # repeats some
        for _ in range(random.randint(1, 8)):
            more = min(random.randint(1, 40), count - sent)
            if not more:
                break
            writer.append(sent + 1, *(f"{stream} {number}" for number in range(sent + 1, sent + more + 1)))
            sent += more
        while committed < sent:
            committed, _ = await writer.answer()
            if random.random() < 0.1:
                break  # the rest arrives, or not
        writer.call.cancel()
        written = committed
    writer = Writer(caller, deployment=deployment, stream_name=stream)
    writer.finish(count)
    assert [await writer.answer(), await writer.answer()] == [(count, False), (count, True)]


async def test_nothing_is_lost_repeated_or_out_of_order_while_many_write_and_read(server: RunningServer) -> None:
    """Fails when positions are taken without the lock on the log, or when a follower reads before it listens."""
    deployment = await new_log(server)
    streams, count = [f"s{number}" for number in range(6)], 300
    early: list[Any] = [Follower(server.admin, deployment) for _ in range(3)]
    early += [Resuming(server.admin, deployment) for _ in range(2)]
    writers = [asyncio.create_task(write_numbers(server.admin, deployment, stream, count)) for stream in streams]
    await asyncio.sleep(0.2)
    followers = [*early, Follower(server.admin, deployment)]
    await asyncio.gather(*writers)
    await cancel(server.admin, deployment)
    async with asyncio.timeout(30):
        for follower in followers:
            await follower.to_the_end()
    reference = said(followers[0].answers)
    by_stream = defaultdict(list)
    for text in reference:
        stream, number = text.split()
        by_stream[stream].append(int(number))
    assert by_stream == {stream: list(range(1, count + 1)) for stream in streams}
    for follower in followers:
        assert said(follower.answers) == reference


async def test_a_lost_wake_up_costs_time_and_no_line(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    if server.app.db.engine == "sqlite":
        return  # there is no other process whose wake-up could be lost
    monkeypatch.setitem(hub.POLL, server.app.db.engine, 0.3)
    deployment = await new_log(server)
    follower = Follower(server.admin, deployment)
    await follower.caught_up()
    monkeypatch.setattr(server.app.log_hub, "hand_over", lambda *_: None)  # as if another process wrote
    monkeypatch.setattr(server.app.bus, "publish", lambda _topic, **_: None)
    await append(server.admin, deployment, "a")
    assert await follower.has(1) == ["a"]
    await follower.leave()


async def test_a_follower_hears_that_it_is_alive(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "PROGRESS_EVERY", 0.2)
    deployment = await new_log(server)
    await append(server.admin, deployment, "a")
    follower = Follower(server.admin, deployment, contains="nothing has this")
    await asyncio.sleep(1)
    assert set(follower.events) == {"progress"}
    assert 3 <= len(follower.events) <= 8
    assert follower.answers[-1].progress.fraction == 1
    assert await tail(server.admin, deployment, cursor=follower.cursor) == []
    await follower.leave()


def _after_the_next_look(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Let something happen between the next look at logs and what is made of it."""
    original, loop, pending = store.states, asyncio.get_running_loop(), [happens]

    def look(tx: Reading, *args: Any) -> Any:
        rows = original(tx, *args)
        if pending:
            asyncio.run_coroutine_threadsafe(pending.pop()(), loop).result(10)
        return rows

    monkeypatch.setattr(store, "states", look)


async def test_what_comes_right_after_the_first_look_is_not_missed(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when a follower begins to listen, or a feed forgets what was handed over, after it has looked."""
    monkeypatch.setitem(hub.POLL, server.app.db.engine, 15.0)
    deployment = await new_log(server)
    _after_the_next_look(monkeypatch, lambda: append(server.admin, deployment, "late", stream_name="late"))
    follower = Follower(server.admin, deployment)
    await follower.caught_up()
    await append(server.admin, deployment, "early")
    async with asyncio.timeout(5):
        assert set(await follower.has(2)) == {"early", "late"}
    await follower.leave()


async def test_a_stream_that_ends_while_the_end_of_the_deployment_is_looked_at_is_not_waited_for(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when lines that are handed over during a look do not lead to another one."""
    monkeypatch.setitem(hub.POLL, server.app.db.engine, 15.0)
    deployment = await new_log(server)
    await append(server.admin, deployment, "a")
    follower = Follower(server.admin, deployment)
    await follower.caught_up()
    _after_the_next_look(monkeypatch, lambda: append(server.admin, deployment, "b", first=2, finish=True))
    await cancel(server.admin, deployment)
    async with asyncio.timeout(5):
        await follower.to_the_end()
    assert follower.texts == ["a", "b"]


async def test_a_deployment_that_is_deleted_ends_its_followers(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    await append(admin, deployment, "a")
    follower = Follower(admin, deployment)
    await follower.caught_up()
    await cancel(admin, deployment)
    await admin.deployments.DeleteDeployment(deployment_pb2.DeleteDeploymentRequest(deployment=deployment))
    shared_server.app.bus.publish(feed.topic(UUID(deployment)))
    refusal = await refused(follower.task)
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "deployment")


async def test_the_token_ends_the_tail(own_server: RunningServer, clock: MovableClock) -> None:
    app = own_server.app
    assert own_server.admin.user_id is not None
    soon = Identity(own_server.admin.user_id, "root-admin", 1, app.clock.now() + timedelta(minutes=1), is_admin=True)
    deployment = await new_log(own_server)
    await append(own_server.admin, deployment, "a")
    follower = Follower(own_server.caller(soon), deployment)
    await follower.caught_up()
    clock.advance(timedelta(hours=1))
    async with asyncio.timeout(5):
        refusal = await refused(follower.task)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert refusal.info.metadata["cursor"] == follower.cursor


async def test_shutdown_ends_tails_and_writers_with_where_to_resume(
    database_url: str, clock: MovableClock, tmp_path: Path
) -> None:
    async with serving(database_url, tmp_path / "data", clock) as server:
        deployment = await new_log(server)
        await append(server.admin, deployment, "a", "b")
        channel = grpc.aio.insecure_channel(server.address)  # outlives the server
        caller = Caller(channel, server.admin.token)
        follower = Follower(caller, deployment)
        await follower.caught_up()
        writer = Writer(caller, deployment=deployment)
        assert await writer.answer() == (2, False)
    async with channel:
        for call in (follower.task, writer.call.read()):
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
            assert refusal.retry.HasField("retry_delay")
            if call is follower.task:
                assert refusal.info.metadata["cursor"] == follower.cursor


async def test_a_follower_that_stops_reading_is_given_up_and_disturbs_nobody(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "STALLED", 1.0)
    deployment = await new_log(server)
    good = Follower(server.admin, deployment)
    await good.caught_up()
    async with grpc.aio.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        frozen: Any = Caller(channel, server.admin.token).logs.TailLogs(
            pb.TailLogsRequest(deployment=deployment, follow=True), timeout=60
        )
        await frozen.read()  # and never again
        total = 0
        for batch in range(20):  # far more than flow control holds
            texts = [f"{batch} {number:02} " + "x" * 60_000 for number in range(60)]
            await append(server.admin, deployment, *texts, first=total + 1)
            total += 60
        assert len(await good.has(total)) == total
        lifetimes = server.app.lifetimes
        async with asyncio.timeout(10):
            while len(lifetimes) > 1:  # noqa: ASYNC110 - the server has no event for tests
                await asyncio.sleep(0.05)
        last = ""

        async def read_on() -> None:
            nonlocal last
            while True:
                last = (await frozen.read()).cursor

        refusal = await refused(read_on())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_STALLED")
    assert refusal.info.metadata["cursor"]
    rest = said(await tail(server.admin, deployment, cursor=last))
    assert 0 < len(rest) < total
    await good.leave()
