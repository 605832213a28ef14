"""Where tails start, what they leave out, and where they go on."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import common_pb2, deployment_pb2
from relman_client.v1 import log_pb2 as pb
from relman_server.logs.cursor import Place, encode_cursor
from tests.factories import RunningServer, refused
from tests.logs.steps import Follower, append, cancel, lines, new_log, said, tail


async def numbered_log(server: RunningServer) -> str:
    """Return a deployment whose log has the lines 0 to 29, in chunks of ten of the streams s0, s1 and s0 again."""
    deployment = await new_log(server)
    for chunk, (stream, first) in enumerate((("s0", 1), ("s1", 1), ("s0", 11))):
        entries = [
            pb.LogEntry(
                text=str(number),
                time=Timestamp(seconds=1000 + number),
                severity=common_pb2.SEVERITY_ERROR if number % 7 == 0 else common_pb2.SEVERITY_INFO,
            )
            for number in range(chunk * 10, chunk * 10 + 10)
        ]
        await append(server.admin, deployment, entries=entries, first=first, stream_name=stream)
    return deployment


NUMBERS = [str(number) for number in range(30)]


async def test_without_follow_a_tail_ends_at_the_head(shared_server: RunningServer) -> None:
    deployment = await numbered_log(shared_server)
    answers = await tail(shared_server.admin, deployment)
    assert said(answers) == NUMBERS
    assert [answer.entries.stream_name for answer in answers] == ["s0", "s1", "s0"]
    assert all(answer.cursor for answer in answers)
    assert {answer.WhichOneof("event") for answer in answers} == {"entries"}  # more may come: no end


async def test_the_end_is_told_when_nothing_more_will_come(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await numbered_log(shared_server)
    await append(admin, deployment, first=21, finish=True, stream_name="s0")
    await cancel(admin, deployment)
    assert "end" not in [answer.WhichOneof("event") for answer in await tail(admin, deployment)]  # s1 is open
    await append(admin, deployment, first=11, finish=True, stream_name="s1")
    answers = await tail(admin, deployment)
    assert said(answers) == NUMBERS
    assert answers[-1].end.status == deployment_pb2.DEPLOYMENT_STATUS_CANCELLED
    assert answers[-1].cursor
    assert await tail(admin, deployment, follow=True) == answers
    (end,) = await tail(admin, deployment, cursor=answers[-1].cursor, follow=True)
    assert end == answers[-1]


async def test_an_empty_log_has_an_end_too(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    assert await tail(admin, deployment) == []
    await cancel(admin, deployment)
    (end,) = await tail(admin, deployment, follow=True)
    assert end.end.status == deployment_pb2.DEPLOYMENT_STATUS_CANCELLED


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ({"tail_lines": 0}, 30),
        ({"tail_lines": 1}, 29),
        ({"tail_lines": 10}, 20),
        ({"tail_lines": 13}, 17),
        ({"tail_lines": 30}, 0),
        ({"tail_lines": 10_000}, 0),
        ({"start_time": Timestamp(seconds=1000)}, 0),
        ({"start_time": Timestamp(seconds=1)}, 0),
        ({"start_time": Timestamp(seconds=1013)}, 13),
        ({"start_time": Timestamp(seconds=1013, nanos=1000)}, 14),
        ({"start_time": Timestamp(seconds=1020)}, 20),
        ({"start_time": Timestamp(seconds=2000)}, 30),
        ({}, 0),
    ],
)
async def test_starts(shared_server: RunningServer, start: dict[str, Any], first: int) -> None:
    deployment = await numbered_log(shared_server)
    assert said(await tail(shared_server.admin, deployment, **start)) == NUMBERS[first:]


async def test_the_last_lines_are_counted_after_the_filters(shared_server: RunningServer) -> None:
    deployment = await numbered_log(shared_server)
    errors = ["0", "7", "14", "21", "28"]
    for count in range(7):
        found = await tail(shared_server.admin, deployment, tail_lines=count, min_severity=common_pb2.SEVERITY_ERROR)
        assert said(found) == errors[max(0, 5 - count) :]
    assert said(await tail(shared_server.admin, deployment, tail_lines=4, contains="1")) == ["17", "18", "19", "21"]


async def test_filters_leave_out_lines_and_whole_chunks(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server, "build", "test")
    both = [pb.LogEntry(text="Out"), pb.LogEntry(text="err", source=pb.LOG_SOURCE_STDERR)]
    await append(admin, deployment, entries=both, stage="build")
    await append(admin, deployment, entries=lines("ERR", "other"), stage="test")
    assert said(await tail(admin, deployment, stage="test")) == ["ERR", "other"]
    assert said(await tail(admin, deployment, stage=f"{deployment}/build", contains="OUT")) == ["Out"]
    assert said(await tail(admin, deployment, contains="err")) == ["err", "ERR"]
    assert said(await tail(admin, deployment, sources=[pb.LOG_SOURCE_STDERR])) == ["err"]
    assert said(await tail(admin, deployment, min_severity=common_pb2.SEVERITY_WARNING)) == []
    (answer,) = await tail(admin, deployment, contains="other")
    assert answer.entries.stream_name == "test"
    for reference in ("none", str(uuid4())):
        refusal = await refused(admin.logs.TailLogs(pb.TailLogsRequest(deployment=deployment, stage=reference)))
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "stage")


@pytest.mark.parametrize("wanted", [{}, {"min_severity": common_pb2.SEVERITY_ERROR}, {"contains": "2"}])
@pytest.mark.parametrize("start", [{}, {"tail_lines": 3}, {"start_time": Timestamp(seconds=1013)}])
async def test_every_cursor_goes_on_right_after_its_answer(
    shared_server: RunningServer, wanted: dict[str, Any], start: dict[str, Any]
) -> None:
    deployment = await numbered_log(shared_server)
    answers = await tail(shared_server.admin, deployment, **wanted, **start)
    whole = said(answers)
    assert whole
    for index, answer in enumerate(answers):
        rest = await tail(shared_server.admin, deployment, cursor=answer.cursor, **wanted)
        assert said(answers[: index + 1]) + said(rest) == whole


async def test_who_starts_in_the_middle_of_a_chunk_can_resume_before_the_first_line(
    shared_server: RunningServer,
) -> None:
    """Fails when the cursor does not say which lines of the next chunk are done."""
    deployment = await numbered_log(shared_server)
    chunk_and_a_half = encode_cursor(UUID(deployment), Place(1, 5))
    assert said(await tail(shared_server.admin, deployment, cursor=chunk_and_a_half)) == NUMBERS[15:]
    found = await tail(shared_server.admin, deployment, cursor=chunk_and_a_half, min_severity=common_pb2.SEVERITY_ERROR)
    assert said(found) == ["21", "28"]


async def test_a_cursor_at_the_head_waits_for_what_comes(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await numbered_log(shared_server)
    follower = Follower(admin, deployment, tail_lines=0)
    await follower.caught_up()
    cursor = follower.cursor
    await follower.leave()
    await append(admin, deployment, "30", first=21, stream_name="s0")
    assert said(await tail(admin, deployment, cursor=cursor)) == ["30"]


async def test_a_cursor_of_another_log_is_unknown(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment, other = await numbered_log(shared_server), await numbered_log(shared_server)
    foreign = (await tail(admin, other))[-1].cursor
    ahead = [encode_cursor(UUID(deployment), place) for place in (Place(4), Place(3, 1), Place(2**63, 2**31))]
    for cursor in (foreign, *ahead):
        refusal = await refused(admin.logs.TailLogs(pb.TailLogsRequest(deployment=deployment, cursor=cursor)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_UNKNOWN")
    for damaged in ("x", foreign[:-1], foreign + "A", "ä" * 38, "?" * 38, " " + foreign):
        refusal = await refused(admin.logs.TailLogs(pb.TailLogsRequest(deployment=deployment, cursor=damaged)))
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"cursor"})


async def test_what_is_wrong_with_a_tail_is_told(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    for count in (-1, 10_001):
        request = pb.TailLogsRequest(deployment="x", tail_lines=count, contains="x" * 201)
        refusal = await refused(admin.logs.TailLogs(request))
        assert set(refusal.violations) == {"deployment", "tail_lines", "contains"}
    refusal = await refused(admin.logs.TailLogs(pb.TailLogsRequest(deployment=str(uuid4()), follow=True)))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "deployment")


async def test_a_long_log_comes_in_batches(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    await asyncio.gather(
        *(append(admin, deployment, f"line of s{number}", stream_name=f"s{number}") for number in range(150))
    )
    big = [f"{number} " + "x" * 50_000 for number in range(60)]
    await append(admin, deployment, *big, stream_name="big")
    found = said(await tail(admin, deployment))
    assert sorted(found[:150]) == sorted(f"line of s{number}" for number in range(150))
    assert found[150:] == big
    for count in (1, 59, 60, 61, 150, 210):
        assert said(await tail(admin, deployment, tail_lines=count)) == found[-count:]
