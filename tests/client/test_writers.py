"""What both kinds of log writers do: the one with a thread, and the one of asyncio."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from relman_client import (
    Client,
    LinesLostError,
    LogFinishedError,
    LogQuotaError,
    RelmanError,
    SequenceConflictError,
    WriterFencedError,
)
from relman_client.v1.deployment_pb2 import StartDeploymentRequest
from relman_client.v1.log_pb2 import LogSource, TailLogsRequest
from tests.client.pipelines import create_deployment, log_of, start_deployment, texts_of
from tests.client.proxy import Proxy
from tests.client.writers import KINDS, Opener, opening
from tests.conftest import MovableClock, serving
from tests.factories import RunningServer, make_deployment
from tests.services.relman import ServerProcess

SMALL = 10_000  # bytes of a buffer


def lines(count: int) -> list[str]:
    return [f"line {number}" for number in range(count)]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def opened(kind: str, running: ServerProcess, admin: Client) -> AsyncIterator[Opener]:
    """Opens writers at the running server."""
    async with opening(kind, running.address, admin.credentials) as opener:
        yield opener


async def test_lines_arrive_in_order_and_closing_waits_for_them(opened: Opener, admin: Client, deployment: str) -> None:
    log = opened(deployment)
    for line in lines(500):
        await log.write(line)
    await log.close(10)
    assert log.unacknowledged == 0
    assert texts_of(admin, deployment) == lines(500)


async def test_flushing_waits_for_the_disk(opened: Opener, admin: Client, deployment: str) -> None:
    log = opened(deployment, max_delay=60)
    await log.write("one")
    await log.flush(10)
    assert texts_of(admin, deployment) == ["one"]
    await log.close(10)


async def test_connections_cut_again_and_again_lose_and_repeat_nothing(
    kind: str, running: ServerProcess, admin: Client, deployment: str
) -> None:
    breaks: list[RelmanError] = []
    with Proxy(running.address) as proxy:
        async with opening(kind, proxy.address, admin.credentials) as opened:
            log = opened(deployment, on_break=breaks.append, max_batch_entries=20, max_delay=0.01)
            for start in range(0, 1000, 200):
                await log.write("\n".join(lines(1000)[start : start + 100]))
                proxy.cut()
                await log.write("\n".join(lines(1000)[start + 100 : start + 200]))
                await log.flush(20)
            await log.close(30)
    assert len(breaks) >= 4  # the first cut may come before there is a connection
    assert texts_of(admin, deployment) == lines(1000)


async def test_a_server_that_hangs_holds_back_who_writes_and_costs_no_more_memory_than_may_be(
    kind: str, running: ServerProcess, admin: Client, deployment: str
) -> None:
    """Without the bound all lines are taken at once."""
    with Proxy(running.address) as proxy:
        async with opening(kind, proxy.address, admin.credentials) as opened:
            log = opened(deployment, max_buffered_bytes=SMALL, max_block=0.1)
            await log.write("line 0")
            await log.flush(10)
            proxy.freeze()
            accepted = ["line 0"]

            async def write_on() -> None:
                for line in lines(1000)[1:]:
                    await log.write(line)
                    accepted.append(line)

            with pytest.raises(TimeoutError, match="full"):
                await write_on()
            assert 50 < len(accepted) < SMALL / 96
            with pytest.raises(TimeoutError, match="not acknowledged"):
                await log.flush(0.1)
            proxy.thaw()
            await log.close(20)
    assert texts_of(admin, deployment) == accepted


async def test_lines_may_be_dropped_instead_which_the_log_says(
    kind: str, running: ServerProcess, admin: Client, deployment: str
) -> None:
    with Proxy(running.address) as proxy:
        async with opening(kind, proxy.address, admin.credentials) as opened:
            log = opened(deployment, max_buffered_bytes=SMALL, when_full="drop")
            await log.write("line 0")
            await log.flush(10)
            proxy.freeze()
            await log.write("\n".join(lines(1000)[1:]))
            proxy.thaw()
            await log.close(20)
    *kept, last = log_of(admin, deployment)
    assert [entry.text for entry in kept] == lines(len(kept))
    assert last.text.startswith(f"{1000 - len(kept)} lines are missing here")
    assert last.source == LogSource.LOG_SOURCE_SYSTEM


async def test_closing_gives_up_in_time(kind: str, running: ServerProcess, deployment: str) -> None:
    with Proxy(running.address) as proxy:
        proxy.refuse()
        async with opening(kind, proxy.address, None) as opened:
            log = opened(deployment)
            await log.write("lost")
            with pytest.raises(TimeoutError, match="1 lines"):
                await log.close(0.2)
            with pytest.raises(ValueError, match="closed"):
                await log.write("late")


async def test_a_writer_may_give_up_when_the_server_stays_away(
    kind: str, running: ServerProcess, deployment: str
) -> None:
    with Proxy(running.address) as proxy:
        proxy.refuse()
        async with opening(kind, proxy.address, None) as opened:
            log = opened(deployment, give_up_after=0.3)
            with pytest.raises(RelmanError) as given_up:
                await log.close(20)
    assert given_up.value.is_unreachable


async def test_a_finished_stream_takes_nothing_more(opened: Opener, deployment: str) -> None:
    await opened(deployment).close(10)
    log = opened(deployment)
    await log.write("late")
    with pytest.raises(LogFinishedError):
        await log.close(10)
    with pytest.raises(LogFinishedError):
        await log.write("later still")


async def test_two_who_write_the_same_stream_are_told(opened: Opener, deployment: str) -> None:
    first, second = opened(deployment), opened(deployment)
    while second.committed_sequence is None:  # noqa: ASYNC110 - then it is connected, and thinks it begins with 1
        await asyncio.sleep(0.01)
    await first.write("one")
    await first.flush(10)
    await second.write("other")
    with pytest.raises(SequenceConflictError):
        await second.close(10)
    await first.close(10)


async def test_who_was_taken_over_is_told(opened: Opener, admin: Client) -> None:
    deployment = create_deployment(admin)
    request = StartDeploymentRequest(deployment=deployment)
    request.lease_ttl.seconds = 60
    lease = admin.deployments.StartDeployment(request).lease
    log = opened(deployment, {"lease": lease})
    await log.write("mine")
    await log.flush(10)
    request.takeover = True
    admin.deployments.StartDeployment(request)
    await log.write("not mine any more")
    with pytest.raises(WriterFencedError):
        await log.close(10)


async def test_a_server_that_forgot_what_it_had_acknowledged_is_told_of(
    opened: Opener, running: ServerProcess, admin: Client
) -> None:
    """As after a restore of an older backup: going on as if nothing were leaves a hole that nobody knows of."""
    deployment = start_deployment(admin)
    log = opened(deployment)
    for text in ("one", "two"):
        await log.write(text)
        await log.flush(10)
    forget(running.data_dir, deployment, after=1)
    await log.write("three")
    with pytest.raises(LinesLostError, match="backup") as lost:
        await log.flush(10)
    assert lost.value.metadata == {"acknowledged": "2", "committed": "1"}
    with pytest.raises(LinesLostError):
        await log.close(10)


def forget(data_dir: Path, deployment: str, after: int) -> None:
    """Restore a log's only stream as it was after that line."""
    key = deployment.replace("-", "")
    with closing(sqlite3.connect(data_dir / "relman.db", timeout=10)) as database, database:
        where = "WHERE replace(deployment_id, '-', '') = ?"
        database.execute(f"DELETE FROM log_chunk {where} AND first_sequence > ?", (key, after))
        changed = database.execute(f"UPDATE log_stream SET committed_sequence = ? {where}", (after, key))
        assert changed.rowcount == 1


class Exchanged:
    """Credentials whose next access token comes from the test."""

    def __init__(self, token: str) -> None:
        self.access_token = token
        self.next_token = token

    def refresh(self, rejected: str, exchange: object) -> bool:
        del rejected, exchange
        self.access_token = self.next_token
        return True


@pytest.fixture
async def small(database_url: str, clock: MovableClock, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server whose logs may hold 1,000 bytes."""
    async with serving(database_url, tmp_path / "data", clock, log_quota_bytes=1_000) as server:
        yield server


async def test_a_writer_goes_on_when_its_token_expires_and_ends_with_the_quota(
    kind: str, small: RunningServer, clock: MovableClock
) -> None:
    """The server ends streams of expired tokens; without a refresh the writer would end there, too."""
    deployment = (await make_deployment(small.admin, small.admin)).id
    credentials = Exchanged(small.admin.token)
    breaks: list[RelmanError] = []
    async with opening(kind, small.address, credentials) as opened:
        log = opened(deployment, on_break=breaks.append)
        await log.write("before")
        await log.flush(10)
        clock.advance(timedelta(minutes=16))
        renewed = await small.user(is_admin=True)
        credentials.next_token = renewed.token
        while credentials.access_token != renewed.token:
            await log.write("after")
            await asyncio.sleep(0.05)
        await log.flush(10)
        assert breaks == []  # nobody is told of a connection that was lost: it was not
        await log.write("x" * 1_000)
        with pytest.raises(LogQuotaError):
            await log.close(10)
    tail = renewed.logs.TailLogs(TailLogsRequest(deployment=deployment))
    texts = [entry.text async for answer in tail for entry in answer.entries.entries]
    assert texts[0] == "before"
    assert set(texts[1:-1]) == {"after"}
