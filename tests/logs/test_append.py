"""Which lines are taken, and which are not: the same rules for AppendLogs and WriteLogs."""

import asyncio
from concurrent.futures import wait
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select

from relman_client.v1 import common_pb2, lease_pb2
from relman_client.v1 import log_pb2 as pb
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Transaction
from relman_server.logs import store
from tests.factories import RunningServer, make_deployment, make_release, make_service, make_team, refused
from tests.logs.steps import append, cancel, lines, new_log, texts_of
from tests.statements import statements


async def test_lines_are_stored_with_everything_that_was_not_said(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server, "build")
    before = datetime.now(UTC).timestamp()
    answer = await append(admin, deployment, "one", "two", stage="build")
    assert (answer.committed_sequence, answer.finished) == (2, False)

    listed = await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))
    stream = await admin.logs.GetLogStream(pb.GetLogStreamRequest(deployment=deployment, stream_name="build"))
    assert texts_of(listed.entries) == ["one", "two"]
    assert [entry.sequence for entry in listed.entries] == [1, 2]
    for entry in listed.entries:
        assert entry.stage_id == stream.stage_id != ""
        assert entry.source == pb.LOG_SOURCE_STDOUT
        assert entry.severity == common_pb2.SEVERITY_INFO
        assert before - 1 < entry.time.ToNanoseconds() / 1e9 < before + 20
    assert (stream.deployment_id, stream.committed_sequence, stream.finished) == (deployment, 2, False)
    assert stream.byte_size == 6
    assert stream.created_at.ToNanoseconds() <= stream.updated_at.ToNanoseconds()


async def test_what_was_said_is_stored_as_it_was(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    entry = pb.LogEntry(
        text="Grüße, 世界 \x1b[31m\t",
        time=Timestamp(seconds=1_700_000_000, nanos=123_456_789),
        source=pb.LOG_SOURCE_STDERR,
        severity=common_pb2.SEVERITY_CRITICAL,
        text_repaired=True,
        sequence=77,
        stage_id="no stage of this",
    )
    await append(admin, deployment, entries=[entry])
    (stored,) = (await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))).entries
    entry.sequence, entry.stage_id = 1, ""
    assert stored == entry


async def test_the_stream_is_called_main_or_as_its_stage_unless_it_has_a_name(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server, "build")
    await append(admin, deployment, "a")
    await append(admin, deployment, "b", stage="build")
    await append(admin, deployment, "c", stage="build", stream_name="compiler")
    for name in ("@main", "build", "compiler"):
        stream = await admin.logs.GetLogStream(pb.GetLogStreamRequest(deployment=deployment, stream_name=name))
        assert (stream.stream_name, stream.committed_sequence) == (name, 1)
        assert bool(stream.stage_id) == (name != "@main")
    refusal = await refused(admin.logs.GetLogStream(pb.GetLogStreamRequest(deployment=deployment, stream_name="other")))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "log stream")


async def test_a_stage_is_named_in_three_ways(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await make_deployment(admin, admin, stages=["build"])
    await append(admin, deployment.id, "a", stage="build")
    stream = await admin.logs.GetLogStream(pb.GetLogStreamRequest(deployment=deployment.id, stream_name="build"))
    for first, reference in enumerate((stream.stage_id, f"{deployment.id}/build"), 2):
        assert (await append(admin, deployment.id, "b", first=first, stage=reference)).committed_sequence == first


async def test_repeated_lines_are_acknowledged_and_dropped(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    await append(admin, deployment, "a", "b", "c")
    for first, texts in ((1, "abc"), (1, "a"), (2, "bc"), (3, "c")):
        assert (await append(admin, deployment, *texts, first=first)).committed_sequence == 3
    # Half of it is known, half is new; over the border of two chunks.
    assert (await append(admin, deployment, "d", "e", first=4)).committed_sequence == 5
    assert (await append(admin, deployment, *"bcdefg", first=2)).committed_sequence == 7
    listed = await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))
    assert "".join(texts_of(listed.entries)) == "abcdefg"
    assert [entry.sequence for entry in listed.entries] == list(range(1, 8))
    assert listed.total_size == 7


@pytest.mark.parametrize(
    "other",
    [
        pb.LogEntry(text="B", time=Timestamp(seconds=5)),
        pb.LogEntry(text="b", time=Timestamp(seconds=6)),
        pb.LogEntry(text="b", time=Timestamp(seconds=5), source=pb.LOG_SOURCE_STDERR),
        pb.LogEntry(text="b", time=Timestamp(seconds=5), severity=common_pb2.SEVERITY_ERROR),
    ],
    ids=["text", "time", "source", "severity"],
)
async def test_other_content_under_a_committed_sequence_is_a_conflict(
    shared_server: RunningServer, other: pb.LogEntry
) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    entries = lines("a", "b", "c", time=Timestamp(seconds=5))
    await append(admin, deployment, entries=entries)
    refusal = await refused(append(admin, deployment, entries=[entries[0], other, *lines("d", "e")]))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SEQUENCE_CONFLICT")
    assert refusal.info.metadata["sequence"] == "2"
    assert refusal.conditions[0][:2] == ("SEQUENCE_CONFLICT", "@main")
    assert (await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))).total_size == 3


async def test_a_repetition_without_times_is_the_same(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    await append(admin, deployment, "a", "b")
    timed = (await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))).entries
    await append(admin, deployment, "a", "b")  # arrives later, and is still what is on disk
    await append(admin, deployment, entries=timed)


async def test_a_gap_says_where_to_go_on(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    for expected in (1, 3):
        refusal = await refused(append(admin, deployment, "x", first=expected + 1))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "SEQUENCE_GAP")
        assert refusal.info.metadata["expected_sequence"] == str(expected)
        await append(admin, deployment, "a", "b", first=expected)


async def test_a_finished_stream_takes_nothing_but_what_it_has(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    answer = await append(admin, deployment, "a", "b", finish=True)
    assert (answer.committed_sequence, answer.finished) == (2, True)
    for first, texts, finish in ((1, "ab", True), (1, "ab", False), (2, "b", False), (3, "", True)):
        again = await append(admin, deployment, *texts, first=first, finish=finish)
        assert (again.committed_sequence, again.finished) == (2, True)
    for first, texts, finish in ((3, "c", False), (2, "bc", False), (9, "x", False), (9, "", True), (1, "a", True)):
        refusal = await refused(append(admin, deployment, *texts, first=first, finish=finish))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LOG_FINISHED"), (first, texts)
        assert refusal.info.metadata["committed_sequence"] == "2"
    refusal = await refused(append(admin, deployment, "B", first=2))
    assert refusal.reason == "SEQUENCE_CONFLICT"


async def test_a_stream_ends_where_its_writer_says_or_not_at_all(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    await append(admin, deployment, "a", "b")
    gap = await refused(append(admin, deployment, first=4, finish=True))
    assert (gap.reason, gap.info.metadata["expected_sequence"]) == ("SEQUENCE_GAP", "3")
    early = await refused(append(admin, deployment, first=2, finish=True))
    assert early.reason == "SEQUENCE_CONFLICT"
    assert (await append(admin, deployment, first=3, finish=True)).finished
    # A stream without any line.
    assert (await append(admin, deployment, stream_name="empty", finish=True)).finished


async def test_characters_that_cannot_be_stored_cost_no_line(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    for _ in range(2):
        await append(admin, deployment, "a\0b", "c")
    nul, other = (await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))).entries
    assert (nul.text, nul.text_repaired) == ("a\N{REPLACEMENT CHARACTER}b", True)
    assert not other.text_repaired


async def test_bounds_are_told_with_the_path_of_each_field(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    entries = lines("fine", "x" * 65537, "é" * 32769, "fine", "x" * 65536)
    entries[0].source = 9  # type: ignore[assignment]
    entries[3].severity = 17  # type: ignore[assignment]
    entries.append(pb.LogEntry(time=Timestamp(seconds=-99_999_999_999_999)))
    entries.append(pb.LogEntry(time=Timestamp(nanos=-1)))
    refusal = await refused(append(admin, deployment, entries=entries))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {
        "entries[0].source",
        "entries[1].text",
        "entries[2].text",
        "entries[3].severity",
        "entries[5].time",
        "entries[6].time",
    }
    for first in (0, -1, 2**63 - 1):
        refusal = await refused(append(admin, deployment, "a", first=first))
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"first_sequence"})
    refusal = await refused(append(admin, deployment, *("x" for _ in range(10_001))))
    assert set(refusal.violations) == {"entries"}
    assert (await append(admin, deployment, *("x" for _ in range(10_000)))).committed_sequence == 10_000


async def test_where_to_write_is_checked(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server, "build")
    other = await make_deployment(admin, admin, stages=["build"])
    await append(admin, other.id, "a", stage="build")
    stage = (await admin.logs.GetLogStream(pb.GetLogStreamRequest(deployment=other.id, stream_name="build"))).stage_id

    for reference in (stage, f"{other.id}/build"):
        refusal = await refused(append(admin, deployment, "a", stage=reference))
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"stage"})
    for reference in ("test", str(uuid4()), f"{deployment}/test", f"{uuid4()}/build", "x/build", "/", "build/"):
        refusal = await refused(append(admin, deployment, "a", stage=reference))
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "stage"), reference
    refusal = await refused(append(admin, str(uuid4()), "a"))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "deployment")
    lease = lease_pb2.Lease(id="mine", fencing_token=1)
    refusal = await refused(append(admin, "mine", "a", stream_name="a\nb", lease=lease))
    assert set(refusal.violations) == {"deployment", "stream_name", "lease.id"}
    for name in ("x" * 129, "@relman"):
        refusal = await refused(append(admin, deployment, "a", stream_name=name))
        assert set(refusal.violations) == {"stream_name"}


async def test_a_stream_stays_with_its_stage(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server, "build", "test")
    await append(admin, deployment, "a", stage="build", stream_name="s")
    refusal = await refused(append(admin, deployment, "b", first=2, stage="test", stream_name="s"))
    assert set(refusal.violations) == {"stage"}
    await append(admin, deployment, "b", first=2, stream_name="s")  # goes on without saying it again
    stages = {
        entry.stage_id for entry in (await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))).entries
    }
    assert len(stages) == 1


async def test_after_the_deployment_streams_are_finished_but_not_opened(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    await append(admin, deployment, "a")
    await cancel(admin, deployment)
    refusal = await refused(append(admin, deployment, "a", stream_name="late"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE")
    assert refusal.conditions[0][:2] == ("CANCELLED", deployment)
    assert (await append(admin, deployment, "b", first=2, finish=True)).finished


async def test_a_deployment_does_not_end_while_a_stream_is_opened(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when the deployment is not locked: who follows the log to its end would miss the stream."""
    deployment, loop = await new_log(server), asyncio.get_running_loop()
    add_stream, ending = store.add_stream, []

    def end_meanwhile(tx: Transaction, *args: Any) -> bool:
        ending.append(asyncio.run_coroutine_threadsafe(cancel(server.admin, deployment), loop))
        assert not wait(ending, timeout=0.5).done, "it ended"
        return add_stream(tx, *args)

    monkeypatch.setattr(store, "add_stream", end_meanwhile)
    assert (await append(server.admin, deployment, "a")).committed_sequence == 1
    await asyncio.wrap_future(ending[0])


async def test_only_who_works_on_the_service_writes_and_everyone_reads(shared_server: RunningServer) -> None:
    owner, member, stranger = [await shared_server.user() for _ in range(3)]
    team = await make_team(member)
    service = await make_service(shared_server.admin, owner=owner.username, team=team.id)
    release = await make_release(shared_server.admin, service=service.name)
    deployment = (await make_deployment(shared_server.admin, shared_server.admin, release=release.id)).id
    for first, caller in enumerate((owner, member, shared_server.admin), 1):
        assert (await append(caller, deployment, "a", first=first)).committed_sequence == first
    refusal = await refused(append(stranger, deployment, "b", first=4))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert (await stranger.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))).total_size == 3


async def test_of_concurrent_repetitions_one_is_stored(shared_server: RunningServer) -> None:
    """Fails when the stream is created without ON CONFLICT, or the log's row is not locked before it is compared."""
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    answers = await asyncio.gather(*(append(admin, deployment, "a", "b") for _ in range(12)))
    assert {answer.committed_sequence for answer in answers} == {2}
    assert (await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))).total_size == 2


async def test_a_large_append_is_stored_whole_or_not_at_all(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    texts = [f"{number:05} " + "x" * 60_000 for number in range(60)]  # 3.6 MB: several chunks
    assert (await append(admin, deployment, *texts)).committed_sequence == 60
    assert (await append(admin, deployment, *texts)).committed_sequence == 60
    found: list[str] = []
    token = ""
    while True:
        page = await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment, page_token=token))
        found += texts_of(page.entries)
        token = page.next_page_token
        if not token:
            break
    assert found == texts


async def test_an_append_is_a_handful_of_statements(server: RunningServer) -> None:
    deployment = await new_log(server, "build")
    await append(server.admin, deployment, "a", stage="build")
    with statements(server.app.db) as seen:
        await append(server.admin, deployment, "b", first=2, stage="build")
    assert len(seen) <= 6, seen
    with statements(server.app.db) as seen:  # one more, to compare
        await append(server.admin, deployment, "b", "c", first=2, stage="build")
    assert len(seen) <= 7, seen


async def test_opening_a_stream_is_audited_and_its_lines_are_not(own_server: RunningServer) -> None:
    deployment = await new_log(own_server)
    await append(own_server.admin, deployment, "a")
    await append(own_server.admin, deployment, "b", first=2)
    rows = await own_server.app.db.read(
        lambda tx: tx.rows(select(AuditEntry).where(AuditEntry.action == "deployment.append_logs"))
    )
    assert [(row.resource_type, row.resource_id, row.details["stream_name"]) for row in rows] == [
        ("deployment", deployment, "@main")
    ]
