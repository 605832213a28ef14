"""WriteLogs: open, append, finish, and the answers in between."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest

from relman_client.v1 import deployment_pb2
from relman_client.v1 import log_pb2 as pb
from relman_server.kernel.identity import Identity
from tests.conftest import MovableClock
from tests.factories import RunningServer, make_deployment, refused
from tests.logs.steps import Writer, append, cancel, new_log, texts_of
from tests.statements import statements


async def test_a_stream_is_opened_written_and_finished(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server, "build")
    writer = Writer(admin, deployment=deployment, stage="build")
    assert await writer.answer() == (0, False)
    writer.append(1, "a", "b")
    assert await writer.answer() == (2, False)
    writer.append(3, "c")
    assert await writer.answer() == (3, False)
    writer.finish(3)
    assert await writer.answer() == (3, True)
    assert await writer.call.read() == grpc.aio.EOF
    assert await writer.call.code() == grpc.StatusCode.OK
    listed = await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))
    assert texts_of(listed.entries) == ["a", "b", "c"]


async def test_a_writer_that_comes_back_is_told_where_to_go_on(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    first = Writer(admin, deployment=deployment)
    first.append(1, "a", "b")
    assert [await first.answer(), await first.answer()] == [(0, False), (2, False)]
    first.call.cancel()
    second = Writer(admin, deployment=deployment)
    assert await second.answer() == (2, False)
    second.append(2, "b", "c")
    assert await second.answer() == (3, False)
    second.close()  # without finishing
    assert await second.call.code() == grpc.StatusCode.OK
    third = Writer(admin, deployment=deployment)
    third.finish(3)
    assert [await third.answer(), await third.answer()] == [(3, False), (3, True)]
    fourth = Writer(admin, deployment=deployment)
    assert await fourth.answer() == (3, True)
    fourth.finish(3)
    assert await fourth.answer() == (3, True)


async def test_lines_of_a_finished_stream_may_come_again(
    shared_server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the answer to the end was lost. The call ends while the server still waits for more of it."""
    deployment = await new_log(shared_server)
    first = Writer(shared_server.admin, deployment=deployment)
    first.append(1, "a", "b")
    first.finish(2)
    while await first.answer() != (2, True):
        pass
    second = Writer(shared_server.admin, deployment=deployment)
    second.append(1, "a", "b")
    assert [await second.answer(), await second.answer()] == [(2, True), (2, True)]
    assert await second.call.read() == grpc.aio.EOF
    assert await second.call.code() == grpc.StatusCode.OK
    await asyncio.sleep(0.05)  # the last that the server does is to look at what it waited for
    complaints = [record.getMessage() for record in caplog.records]  # asyncio has others, of clients of other tests
    assert not [said for said in complaints if "Exception in callback" in said]


async def test_messages_may_be_sent_without_waiting_for_answers(shared_server: RunningServer) -> None:
    deployment = await new_log(shared_server)
    writer = Writer(shared_server.admin, deployment=deployment)
    for number in range(1, 101):
        writer.append(number, f"line {number}")
    writer.finish(100)
    answers = [await writer.answer()]
    while not answers[-1][1]:
        answers.append(await writer.answer())
    assert answers[0] == (0, False)
    assert answers[-1] == (100, True)
    assert answers == sorted(set(answers)), "each says more than the one before"


@pytest.mark.parametrize(
    ("sent", "reason", "status"),
    [
        ({"append": {"first_sequence": 5, "entries": [{"text": "x"}]}}, "SEQUENCE_GAP", grpc.StatusCode.ABORTED),
        (
            {"append": {"first_sequence": 1, "entries": [{"text": "other"}]}},
            "SEQUENCE_CONFLICT",
            grpc.StatusCode.FAILED_PRECONDITION,
        ),
        ({"finish": {"last_sequence": 9}}, "SEQUENCE_GAP", grpc.StatusCode.ABORTED),
    ],
    ids=["gap", "conflict", "finished too late"],
)
async def test_a_wrong_sequence_ends_the_call(
    shared_server: RunningServer, sent: dict[str, Any], reason: str, status: grpc.StatusCode
) -> None:
    deployment = await new_log(shared_server)
    await append(shared_server.admin, deployment, "a", "b")
    writer = Writer(shared_server.admin, deployment=deployment)
    assert await writer.answer() == (2, False)
    writer.send(**sent)
    refusal = await refused(writer.call.read())
    assert (refusal.code, refusal.reason) == (status, reason)
    if reason == "SEQUENCE_GAP":
        assert refusal.info.metadata["expected_sequence"] == "3"


@pytest.mark.parametrize(
    ("sent", "violation"),
    [
        ({}, "action"),
        ({"open": {"deployment": "again"}}, "open"),
        ({"append": {"entries": [{"text": "x"}]}}, "append.first_sequence"),
        ({"append": {"first_sequence": -1}}, "append.first_sequence"),
        ({"append": {"first_sequence": 1, "entries": [{"text": "x" * 65537}]}}, "append.entries[0].text"),
        ({"finish": {"last_sequence": -1}}, "finish.last_sequence"),
    ],
)
async def test_what_is_no_message_of_the_protocol_is_refused(
    shared_server: RunningServer, sent: dict[str, Any], violation: str
) -> None:
    deployment = await new_log(shared_server)
    writer = Writer(shared_server.admin, deployment=deployment)
    assert await writer.answer() == (0, False)
    writer.send(**sent)
    refusal = await refused(writer.call.read())
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {violation}


async def test_the_first_message_opens(shared_server: RunningServer) -> None:
    for sent in ({}, {"append": {"first_sequence": 1}}, {"finish": {"last_sequence": 1}}):
        writer = Writer(shared_server.admin)
        writer.send(**sent)
        refusal = await refused(writer.call.read())
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"open"})
    nothing = Writer(shared_server.admin)
    nothing.close()
    refusal = await refused(nothing.call.read())
    assert set(refusal.violations) == {"open"}
    bad = Writer(shared_server.admin, deployment="x", stream_name="@relman", stage="s")
    refusal = await refused(bad.call.read())
    assert set(refusal.violations) == {"open.deployment", "open.stream_name"}


async def test_a_stranger_does_not_write_and_nobody_opens_after_the_end(shared_server: RunningServer) -> None:
    admin, stranger = shared_server.admin, await shared_server.user()
    deployment = await new_log(shared_server)
    refusal = await refused(Writer(stranger, deployment=deployment).call.read())
    assert refusal.code == grpc.StatusCode.PERMISSION_DENIED
    still_open = Writer(admin, deployment=deployment)
    assert await still_open.answer() == (0, False)
    await cancel(admin, deployment)
    refusal = await refused(Writer(admin, deployment=deployment, stream_name="new").call.read())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE")
    still_open.append(1, "a")
    still_open.finish(1)
    assert [await still_open.answer(), await still_open.answer()] == [(1, False), (1, True)]


async def test_the_call_ends_when_the_token_does(own_server: RunningServer, clock: MovableClock) -> None:
    app = own_server.app
    assert own_server.admin.user_id is not None
    soon = Identity(own_server.admin.user_id, "root-admin", 1, app.clock.now() + timedelta(minutes=1), is_admin=True)
    writer = Writer(own_server.caller(soon), deployment=await new_log(own_server))
    assert await writer.answer() == (0, False)
    clock.advance(timedelta(hours=1))
    async with asyncio.timeout(5):
        refusal = await refused(writer.call.read())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_a_deployment_that_is_deleted_ends_its_writers(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = (await make_deployment(admin, admin)).id
    writer = Writer(admin, deployment=deployment)
    assert await writer.answer() == (0, False)
    await cancel(admin, deployment)
    await admin.deployments.DeleteDeployment(deployment_pb2.DeleteDeploymentRequest(deployment=deployment))
    writer.append(1, "a")
    refusal = await refused(writer.call.read())
    assert refusal.code == grpc.StatusCode.NOT_FOUND


async def test_writing_is_less_than_a_handful_of_statements(server: RunningServer) -> None:
    writer = Writer(server.admin, deployment=await new_log(server))
    await writer.answer()
    with statements(server.app.db) as seen:
        writer.append(1, "a")
        await writer.answer()
    assert len(seen) <= 5, seen
