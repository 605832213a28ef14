"""Lists of lines."""

from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import common_pb2
from relman_client.v1 import log_pb2 as pb
from relman_server.logs import listing
from tests.factories import Caller, RunningServer, refused
from tests.logs.steps import append, lines, new_log, texts_of
from tests.statements import statements


async def pages(caller: Caller, deployment: str, **fields: Any) -> list[list[str]]:
    """Return the lines of every page."""
    found: list[list[str]] = []
    token = ""
    while True:
        request = pb.ListLogsRequest(deployment=deployment, page_token=token, **fields)
        page = await caller.logs.ListLogs(request)
        found.append(texts_of(page.entries))
        token = page.next_page_token
        if not token:
            return found


async def mixed_log(server: RunningServer) -> str:
    """Return a deployment with lines of several streams, sources, severities and times."""
    deployment = await new_log(server, "build", "test")
    admin = server.admin
    entries = [
        pb.LogEntry(text="Compiling", time=Timestamp(seconds=100)),
        pb.LogEntry(text="warning: unused", source=pb.LOG_SOURCE_STDERR, severity=common_pb2.SEVERITY_WARNING),
        pb.LogEntry(text="ERROR: no such file", source=pb.LOG_SOURCE_STDERR, severity=common_pb2.SEVERITY_ERROR),
    ]
    for second, entry in enumerate(entries, 100):
        entry.time.seconds = second
    await append(admin, deployment, entries=entries, stage="build")
    await append(admin, deployment, entries=lines("1 passed", "STRASSE", time=Timestamp(seconds=200)), stage="test")
    note = pb.LogEntry(text="done", source=pb.LOG_SOURCE_SYSTEM, time=Timestamp(seconds=300))
    await append(admin, deployment, entries=[note])
    return deployment


async def test_pages_go_through_the_log_in_the_order_of_commits(shared_server: RunningServer) -> None:
    deployment = await new_log(shared_server)
    expected = []
    for chunk in range(7):
        texts = [f"{chunk}.{number}" for number in range(10)]
        await append(shared_server.admin, deployment, *texts, first=chunk * 10 + 1)
        expected += texts
    for size in (1, 3, 10, 69, 70, 0):
        found = await pages(shared_server.admin, deployment, page_size=size)
        assert [line for page in found for line in page] == expected
        assert all(len(page) == (size or 70) for page in found[:-1])
    page = await shared_server.admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment, page_size=3))
    assert page.total_size == 70


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"stage": "test"}, ["1 passed", "STRASSE"]),
        ({"sources": [pb.LOG_SOURCE_STDERR]}, ["warning: unused", "ERROR: no such file"]),
        ({"sources": [pb.LOG_SOURCE_STDERR, pb.LOG_SOURCE_SYSTEM], "contains": "DON"}, ["done"]),
        ({"min_severity": common_pb2.SEVERITY_WARNING}, ["warning: unused", "ERROR: no such file"]),
        ({"min_severity": common_pb2.SEVERITY_CRITICAL}, []),
        ({"min_severity": common_pb2.SEVERITY_DEBUG, "stage": "test"}, ["1 passed", "STRASSE"]),
        ({"contains": "error"}, ["ERROR: no such file"]),
        ({"contains": "straße"}, ["STRASSE"]),
        ({"contains": "%"}, []),
        (
            {"start_time": Timestamp(seconds=101)},
            ["warning: unused", "ERROR: no such file", "1 passed", "STRASSE", "done"],
        ),
        ({"start_time": Timestamp(seconds=200, nanos=1000)}, ["done"]),
        ({"start_time": Timestamp(seconds=301)}, []),
        ({"stage": "build", "sources": [pb.LOG_SOURCE_STDOUT]}, ["Compiling"]),
    ],
)
async def test_filters(shared_server: RunningServer, wanted: dict[str, Any], found: list[str]) -> None:
    deployment = await mixed_log(shared_server)
    for size in (0, 1):
        listed = await pages(shared_server.admin, deployment, page_size=size, **wanted)
        assert [line for page in listed for line in page] == found
    page = await shared_server.admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment, **wanted))
    assert page.total_size == 6


async def test_a_log_without_lines_is_an_empty_list(shared_server: RunningServer) -> None:
    deployment = await new_log(shared_server)
    page = await shared_server.admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))
    assert page == pb.ListLogsResponse()


async def test_a_token_belongs_to_its_list(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment, other = await new_log(shared_server), await new_log(shared_server)
    for log in (deployment, other):
        await append(admin, log, "a", "b", "c")
    page = await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment, page_size=2))
    token = page.next_page_token
    for request in (
        pb.ListLogsRequest(deployment=deployment, page_token=token, contains="x"),
        pb.ListLogsRequest(deployment=other, page_token=token),
        pb.ListLogsRequest(deployment=deployment, page_token="garbage"),
        pb.ListLogsRequest(deployment=deployment, page_token=token[:-4]),
    ):
        refusal = await refused(admin.logs.ListLogs(request))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"), request
        assert set(refusal.violations) == {"page_token"}
    # The size of pages may change between them.
    page = await admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment, page_token=token, page_size=1))
    assert texts_of(page.entries) == ["c"]


async def test_what_is_wrong_is_told_at_once(shared_server: RunningServer) -> None:
    request = pb.ListLogsRequest(
        deployment="x",
        page_size=-1,
        contains="x" * 201,
        min_severity=99,  # type: ignore[arg-type]
        sources=[0, 8],  # type: ignore[list-item]
    )
    refusal = await refused(shared_server.admin.logs.ListLogs(request))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    enums = {"min_severity", "sources[0]", "sources[1]"}
    assert set(refusal.violations) >= {"deployment", "page_size", "contains"} | enums
    too_early = pb.ListLogsRequest(deployment="x", start_time=Timestamp(seconds=-(2**60)))
    refusal = await refused(shared_server.admin.logs.ListLogs(too_early))
    assert "start_time" in refusal.violations


async def test_a_page_ends_before_it_is_too_large_or_has_searched_too_long(
    shared_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    expected = []
    for batch in range(3):
        texts = [f"{batch} {number:02} " + "x" * 60_000 for number in range(50)]
        await append(admin, deployment, *texts, first=batch * 50 + 1)
        expected += texts
    found = await pages(admin, deployment, page_size=10_000)  # 9 MB
    assert [line for page in found for line in page] == expected
    assert len(found) >= 4
    monkeypatch.setattr(listing, "SEARCHED_BYTES", 1)
    found = await pages(admin, deployment, contains="2 49 ")
    assert [line for page in found for line in page] == expected[-1:]
    assert len(found) > 4


async def test_a_page_is_two_statements(server: RunningServer) -> None:
    deployment = await new_log(server)
    await append(server.admin, deployment, "a", "b")
    with statements(server.app.db) as seen:
        await server.admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment, page_size=1))
    assert len(seen) == 2, seen
