"""Retention: logs of deployments that ended long ago go, and who reads them is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import log_pb2 as pb
from relman_server.kernel.db.transaction import Reading
from relman_server.logs import retention, store
from relman_server.logs.cursor import Place, encode_cursor
from tests.conftest import MovableClock, serving
from tests.factories import RunningServer, refused
from tests.logs.steps import append, cancel, new_log, said, tail, texts_of
from tests.logs.test_download import download

KEPT = timedelta(days=30)


@pytest.fixture
async def forgetful(database_url: str, clock: MovableClock, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server that keeps logs for 30 days."""
    async with serving(database_url, tmp_path / "data", clock, log_retention="30d") as running:
        yield running


async def _ended(server: RunningServer, chunks: int = 4) -> str:
    """Return a deployment that was cancelled, with so many chunks of one line."""
    deployment = await new_log(server)
    for number in range(1, chunks + 1):
        await append(server.admin, deployment, f"line {number}", first=number)
    await cancel(server.admin, deployment)
    return deployment


@asynccontextmanager
async def _some_removed(server: RunningServer, clock: MovableClock, chunks: int) -> AsyncIterator[None]:
    """Remove that many chunks of every log whose time has come, and no more meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "AT_ONCE", chunks)
        patch.setattr(server.app.reconciler, "_duties", ())
        await server.app.reconciler.tick()  # after it, none is under way that has duties
        clock.advance(KEPT + timedelta(minutes=1))
        await server.app.db.write(retention.remove_expired, KEPT)
        yield


async def test_logs_are_kept_until_their_time_has_come(forgetful: RunningServer, clock: MovableClock) -> None:
    admin = forgetful.admin
    running, ended = await new_log(forgetful), await _ended(forgetful)
    await append(admin, running, "a")
    clock.advance(KEPT - timedelta(minutes=1))
    await forgetful.app.reconciler.tick()
    admin = await forgetful.user(is_admin=True)
    assert said(await tail(admin, ended)) == [f"line {number}" for number in range(1, 5)]
    clock.advance(timedelta(minutes=2))
    await forgetful.app.reconciler.tick()
    admin = await forgetful.user(is_admin=True)
    assert said(await tail(admin, ended)) == []
    assert said(await tail(admin, running)) == ["a"], "it has not ended"


@pytest.mark.parametrize(
    ("start", "gap", "texts"),
    [
        ({}, (1, 3), ["line 3", "line 4"]),
        ({"tail_lines": 3}, (1, 3), ["line 3", "line 4"]),
        ({"tail_lines": 1}, None, ["line 4"]),
        ({"tail_lines": 0}, None, []),
        ({"start_time": Timestamp(seconds=1)}, (1, 3), ["line 3", "line 4"]),
    ],
)
async def test_a_tail_tells_of_the_gap(
    forgetful: RunningServer, clock: MovableClock, start: dict[str, Any], gap: tuple[int, int] | None, texts: list[str]
) -> None:
    deployment = await _ended(forgetful)
    async with _some_removed(forgetful, clock, 2):
        admin = await forgetful.user(is_admin=True)
        answers = await tail(admin, deployment, **start)
        gaps = [answer.gap for answer in answers if answer.WhichOneof("event") == "gap"]
        assert [(getattr(found, "from"), found.to) for found in gaps] == ([gap] if gap else [])
        assert all(found.reason for found in gaps)
        assert said(answers) == texts
        for index, answer in enumerate(answers):
            assert said(answers[: index + 1]) + said(await tail(admin, deployment, cursor=answer.cursor)) == texts


async def test_a_cursor_from_before_resumes_after_the_gap(forgetful: RunningServer, clock: MovableClock) -> None:
    deployment = await _ended(forgetful)
    async with _some_removed(forgetful, clock, 3):
        admin = await forgetful.user(is_admin=True)
        before, within, after = (encode_cursor(UUID(deployment), place) for place in (Place(1), Place(2, 1), Place(3)))
        for cursor, gone in ((before, 2), (within, 3)):
            first, *rest = await tail(admin, deployment, cursor=cursor)
            assert (getattr(first.gap, "from"), first.gap.to) == (gone, 4)
            assert said(rest) == ["line 4"]
        assert [answer.WhichOneof("event") for answer in await tail(admin, deployment, cursor=after)] == [
            "entries",
            "end",
        ]


async def test_what_goes_while_it_is_read_is_a_gap_and_not_a_silence(
    forgetful: RunningServer, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when a reader does not ask, after it has read, what was removed meanwhile."""
    deployment = await _ended(forgetful)
    original, loop, pending = store.states, asyncio.get_running_loop(), [2]

    def look(tx: Reading, *args: Any) -> Any:
        rows = original(tx, *args)
        if pending:
            monkeypatch.setattr(retention, "AT_ONCE", pending.pop())
            removing = forgetful.app.db.write(retention.remove_expired, timedelta(0))
            asyncio.run_coroutine_threadsafe(removing, loop).result(10)
        return rows

    monkeypatch.setattr(store, "states", look)
    answers = await tail(forgetful.admin, deployment)
    assert [answer.WhichOneof("event") for answer in answers] == ["gap", "entries"]
    assert (answers[0].gap.to, said(answers)) == (3, ["line 3", "line 4"])


async def test_lists_downloads_and_writers_get_along_with_what_is_gone(
    forgetful: RunningServer, clock: MovableClock
) -> None:
    deployment = await _ended(forgetful)
    async with _some_removed(forgetful, clock, 2):
        admin = await forgetful.user(is_admin=True)
        page = await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))
        assert (texts_of(page.entries), page.total_size) == (["line 3", "line 4"], 2)
        parts = await download(admin, deployment)
        assert [line.split(b" - ")[1] for part in parts for line in part.data.splitlines()] == [b"line 3", b"line 4"]
        again = await append(admin, deployment, "line 1", "line 2", "line 3", "line 4", "line 5")
        assert again.committed_sequence == 5, "what is gone cannot be compared, and was acknowledged"


async def test_a_log_of_which_everything_is_gone_is_closed(forgetful: RunningServer, clock: MovableClock) -> None:
    deployment = await _ended(forgetful)
    clock.advance(KEPT * 2)
    await forgetful.app.reconciler.tick()
    admin = await forgetful.user(is_admin=True)
    refusal = await refused(append(admin, deployment, "late", first=5))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LOG_FINISHED")
    answers = await tail(admin, deployment, follow=True)
    assert [answer.WhichOneof("event") for answer in answers] == ["gap", "end"]
    assert (await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))).total_size == 0


async def test_many_chunks_go_a_few_at_a_time(
    forgetful: RunningServer, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when a log goes in one transaction, however large it is."""
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    await _ended(forgetful, 5)
    clock.advance(KEPT * 2)
    rounds = 0
    while await forgetful.app.db.write(retention.remove_expired, KEPT):
        rounds += 1
    assert rounds == 3


async def test_what_is_due_is_found_by_an_index(forgetful: RunningServer) -> None:
    with forgetful.app.db.reads.connect() as connection:
        explain = "explain query plan " if forgetful.app.db.engine == "sqlite" else "explain "
        if forgetful.app.db.engine == "postgresql":
            connection.exec_driver_sql("set enable_seqscan = off")  # the table is empty here
        plan = str(connection.exec_driver_sql(explain + str(retention.DUE)).all())
    assert "ix_log_expiry_ended_at" in plan, plan
