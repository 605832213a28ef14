"""A log takes as much as it may, and says so when that is reached."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from relman_client.v1 import log_pb2 as pb
from tests.conftest import MovableClock, serving
from tests.factories import RunningServer, refused
from tests.logs.steps import Follower, Writer, append, cancel, new_log, texts_of


@pytest.fixture
async def small(database_url: str, clock: MovableClock, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server whose logs hold 100 bytes."""
    async with serving(database_url, tmp_path / "data", clock, log_quota_bytes=100) as running:
        yield running


async def test_over_the_quota_nothing_is_taken_and_the_log_says_so_once(small: RunningServer) -> None:
    admin = small.admin
    deployment = await new_log(small)
    await append(admin, deployment, "x" * 60)
    await append(admin, deployment, "y" * 40, stream_name="other")  # the quota is the deployment's
    for first, name in ((2, "@main"), (2, "other"), (1, "third")):
        refusal = await refused(append(admin, deployment, "z", first=first, stream_name=name))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LOG_QUOTA")
        assert not refusal.retry.HasField("retry_delay")
    listed = await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))
    assert texts_of(listed.entries)[:2] == ["x" * 60, "y" * 40]
    (notice,) = listed.entries[2:]
    assert (notice.source, notice.sequence) == (pb.LOG_SOURCE_SYSTEM, 1)
    assert "100 bytes" in notice.text
    # What is there already is still acknowledged, and the streams can be finished.
    await append(admin, deployment, "x" * 60, finish=True)
    await append(admin, deployment, first=2, stream_name="other", finish=True)


async def test_a_writer_is_told_and_the_tail_still_ends(small: RunningServer) -> None:
    deployment = await new_log(small)
    follower = Follower(small.admin, deployment)
    writer = Writer(small.admin, deployment=deployment)
    assert await writer.answer() == (0, False)
    writer.append(1, "x" * 50)
    assert await writer.answer() == (1, False)
    writer.append(2, "x" * 51)
    refusal = await refused(writer.call.read())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LOG_QUOTA")
    await append(small.admin, deployment, first=2, finish=True)
    await cancel(small.admin, deployment)
    await follower.to_the_end()
    assert follower.events[-1] == "end"
    assert len(follower.texts) == 2


async def test_a_stage_with_the_servers_name_does_not_take_its_place(small: RunningServer) -> None:
    deployment = await new_log(small, "relman")
    await append(small.admin, deployment, "x" * 60, stage="relman")
    assert (await refused(append(small.admin, deployment, "y" * 60, first=2, stage="relman"))).reason == "LOG_QUOTA"
    listed = await small.admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))
    assert [entry.source for entry in listed.entries] == [pb.LOG_SOURCE_STDOUT, pb.LOG_SOURCE_SYSTEM]
