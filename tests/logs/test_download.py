"""Downloads: the whole log as text or JSON lines, in parts of whole lines."""

import json
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import common_pb2
from relman_client.v1 import log_pb2 as pb
from relman_server.logs import download as downloading
from tests.factories import Caller, RunningServer, refused
from tests.logs.steps import append, lines, new_log

JSON_LINES = pb.LOG_DOWNLOAD_FORMAT_JSON_LINES


async def download(caller: Caller, deployment: str, **fields: Any) -> list[pb.DownloadLogsResponse]:
    """Return every part of a download."""
    return [part async for part in caller.logs.DownloadLogs(pb.DownloadLogsRequest(deployment=deployment, **fields))]


def _whole(parts: list[pb.DownloadLogsResponse]) -> str:
    return b"".join(part.data for part in parts).decode()


async def _log(server: RunningServer) -> str:
    deployment = await new_log(server, "build")
    at = Timestamp(seconds=1_700_000_000, nanos=120_000_000)
    entry = pb.LogEntry(text="\x1b[31mred\x1b[0m", time=at, source=pb.LOG_SOURCE_STDERR)
    await append(server.admin, deployment, entries=[entry], stage="build")
    early = pb.LogEntry(text="zero \0 byte", time=Timestamp(seconds=-62_135_596_800, nanos=1))
    early.severity = common_pb2.SEVERITY_ERROR
    await append(server.admin, deployment, entries=[early])
    return deployment


async def test_text_is_time_stage_and_text_as_it_was_written(shared_server: RunningServer) -> None:
    deployment = await _log(shared_server)
    expected = (
        "2023-11-14T22:13:20.120000Z build \x1b[31mred\x1b[0m\n"
        "0001-01-01T00:00:00.000000001Z - zero \N{REPLACEMENT CHARACTER} byte\n"
    )
    for format_ in (pb.LOG_DOWNLOAD_FORMAT_UNSPECIFIED, pb.LOG_DOWNLOAD_FORMAT_TEXT):
        assert _whole(await download(shared_server.admin, deployment, format=format_)) == expected
    assert _whole(await download(shared_server.admin, deployment, stage="build")) == expected.splitlines()[0] + "\n"


async def test_json_lines_say_everything(shared_server: RunningServer) -> None:
    deployment = await _log(shared_server)
    found = [
        json.loads(line)
        for line in _whole(await download(shared_server.admin, deployment, format=JSON_LINES)).splitlines()
    ]
    stage_id = found[0].pop("stage_id")
    assert len(stage_id) == 36
    assert found == [
        {
            "time": "2023-11-14T22:13:20.120000Z",
            "stage": "build",
            "stream_name": "build",
            "sequence": 1,
            "source": "STDERR",
            "severity": "INFO",
            "text": "\x1b[31mred\x1b[0m",
        },
        {
            "time": "0001-01-01T00:00:00.000000001Z",
            "stage": "",
            "stage_id": "",
            "stream_name": "@main",
            "sequence": 1,
            "source": "STDOUT",
            "severity": "ERROR",
            "text": "zero \N{REPLACEMENT CHARACTER} byte",
            "text_repaired": True,
        },
    ]


async def test_parts_are_whole_lines_of_bounded_size_and_each_can_be_resumed_after(
    shared_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts end within chunks, too: a chunk of control characters is several times its size as JSON."""
    monkeypatch.setattr(downloading, "PART_BYTES", 500)
    admin = shared_server.admin
    deployment = await new_log(shared_server)
    for chunk in range(5):
        entries = lines(*(f"{chunk}.{number} " + "\x01" * 20 for number in range(7)))
        await append(admin, deployment, entries=entries, first=chunk * 7 + 1)
    parts = await download(admin, deployment, format=JSON_LINES)
    whole = _whole(parts)
    assert [json.loads(line)["sequence"] for line in whole.splitlines()] == list(range(1, 36))
    assert len(parts) > 5
    for index, part in enumerate(parts):
        assert part.data.endswith(b"\n")
        assert len(part.data) < 1000
        rest = await download(admin, deployment, format=JSON_LINES, cursor=part.cursor)
        assert _whole(parts[: index + 1]) + _whole(rest) == whole
    await append(admin, deployment, "more", first=36)
    assert "more" in _whole(await download(admin, deployment, cursor=parts[-1].cursor))


async def test_an_empty_log_is_no_part(shared_server: RunningServer) -> None:
    assert await download(shared_server.admin, await new_log(shared_server)) == []


async def test_what_cannot_be_downloaded_is_told(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    deployment, other = await _log(shared_server), await _log(shared_server)
    foreign = (await download(admin, other))[-1].cursor
    cases: list[tuple[dict[str, Any], grpc.StatusCode]] = [
        ({"deployment": str(uuid4())}, grpc.StatusCode.NOT_FOUND),
        ({"deployment": deployment, "stage": "none"}, grpc.StatusCode.NOT_FOUND),
        ({"deployment": deployment, "cursor": foreign}, grpc.StatusCode.OUT_OF_RANGE),
        ({"deployment": deployment, "cursor": "x"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"deployment": "x"}, grpc.StatusCode.INVALID_ARGUMENT),
    ]
    for fields, code in cases:
        refusal = await refused(admin.logs.DownloadLogs(pb.DownloadLogsRequest(**fields)))
        assert refusal.code == code, fields
