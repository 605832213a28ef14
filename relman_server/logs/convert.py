"""Logs between the contract and Python; what comes by the hundred thousand is in lines.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from relman_client.v1 import common_pb2, deployment_pb2
from relman_client.v1 import log_pb2 as pb
from relman_server.kernel.errors import InvalidInput, Violation
from relman_server.kernel.rpc.descriptors import numbers, short_names
from relman_server.kernel.rpc.reading import reader
from relman_server.kernel.rpc.writing import timestamp, writer
from relman_server.logs.inputs import (
    DownloadLogs,
    Filter,
    ListLogs,
    Opening,
    TailLogs,
    Wanted,
    WhichStream,
)
from relman_server.logs.lines import SEVERITY, SOURCE

which_stream = reader(pb.GetLogStreamRequest, WhichStream)
tail_logs = reader(pb.TailLogsRequest, TailLogs)
list_logs = reader(pb.ListLogsRequest, ListLogs)
download_logs = reader(pb.DownloadLogsRequest, DownloadLogs)

stream = writer(pb.LogStream)
append_response = writer(pb.AppendLogsResponse)
write_response = writer(pb.WriteLogsResponse)
page = writer(pb.ListLogsResponse)

_stream_of_write = reader(pb.WriteLogsRequest.Open, Opening)


def opening(request: pb.AppendLogsRequest | pb.WriteLogsRequest.Open, path: str = "") -> Opening:
    """Read which stream to write to; raises InvalidInput."""
    if isinstance(request, pb.AppendLogsRequest):
        lease = request.lease if request.HasField("lease") else None
        request = pb.WriteLogsRequest.Open(
            deployment=request.deployment, stage=request.stage, stream_name=request.stream_name, lease=lease
        )
    try:
        return _stream_of_write(request)
    except InvalidInput as error:
        raise InvalidInput(*(Violation(path + item.field, item.description) for item in error.violations)) from error


def wanted(asked: Filter, stage_id: UUID | None) -> Wanted:
    """Return which lines a filter means."""
    severity = numbers(SEVERITY)[asked.min_severity] if asked.min_severity else 0
    return Wanted(
        stage_id=stage_id,
        sources=frozenset(numbers(SOURCE)[source] for source in asked.sources),
        min_severity=severity if severity > common_pb2.SEVERITY_DEBUG else 0,
        contains=asked.contains.casefold(),
        since=asked.start_time if isinstance(asked, ListLogs) else None,
    )


@dataclass(frozen=True)
class Found:
    """A line that is wanted, and where in its chunk it is."""

    index: int
    entry: pb.LogEntry


def find(payload: bytes, wanted: Wanted, skip: int = 0) -> list[Found]:
    """Return the lines of a chunk that are wanted, without the first `skip`."""
    return _find(pb.TailLogsResponse.FromString(payload).entries.entries, wanted, skip)


def narrow(payload: bytes, wanted: Wanted, skip: int = 0) -> bytes:
    """Return the answer that holds what is wanted of a chunk, or of joined ones; empty when that is nothing."""
    if not skip and not wanted.narrows and wanted.stage_id is None:
        return payload
    chunk = pb.TailLogsResponse.FromString(payload).entries
    if wanted.stage_id is not None and chunk.entries[0].stage_id != str(wanted.stage_id):
        return b""  # the lines of a stream belong to one stage
    entries = [found.entry for found in _find(chunk.entries, wanted, skip)]
    if not entries:
        return b""
    chosen = pb.LogEntries(entries=entries, stream_name=chunk.stream_name)
    return pb.TailLogsResponse(entries=chosen).SerializeToString()


def _find(entries: Sequence[pb.LogEntry], wanted: Wanted, skip: int) -> list[Found]:
    since = timestamp(wanted.since) if wanted.since else None
    return [
        Found(index, entry)
        for index, entry in enumerate(entries)
        if index >= skip
        and (not wanted.sources or entry.source in wanted.sources)
        and entry.severity >= wanted.min_severity
        and (since is None or (entry.time.seconds, entry.time.nanos) >= (since.seconds, since.nanos))
        and (not wanted.contains or wanted.contains in entry.text.casefold())
    ]


def join(payloads: Sequence[bytes]) -> tuple[bytes, int]:
    """Return one answer for the first of these chunks, and how many it holds: those of the same stream.

    Messages of which the bytes are put one after the other are merged: lines are added, the last stream name counts.
    """
    stream_name = _stream_name(payloads[0])
    count = 1
    while count < len(payloads) and payloads[count].endswith(stream_name):
        count += 1
    return (b"".join(payloads[:count]) if count > 1 else payloads[0]), count


def _stream_name(payload: bytes) -> bytes:
    """Return the end of a chunk, by which its stream is known: the name is the last field of LogEntries.

    No name holds the byte that its tag is, for that is no printable character; its length may be that byte.
    """
    return payload[payload.rindex(_STREAM_NAME_TAG) :]


_STREAM_NAME_TAG = b"\x12"


def with_cursor(answer: bytes, cursor: str) -> bytes:
    """Append the cursor to an answer that is serialized already: fields of a message can be concatenated."""
    return answer + pb.TailLogsResponse(cursor=cursor).SerializeToString()


def progress(fraction: float, cursor: str) -> pb.TailLogsResponse:
    """Write that a tail is alive."""
    return pb.TailLogsResponse(progress=pb.TailLogsResponse.Progress(fraction=fraction), cursor=cursor)


def gap(first: int, until: int, cursor: str) -> pb.TailLogsResponse:
    """Write that lines are gone."""
    lost = pb.TailLogsResponse.Gap(to=until, reason="Removed by retention: the deployment ended long ago.")
    setattr(lost, "from", first)  # a word of Python's
    return pb.TailLogsResponse(gap=lost, cursor=cursor)


def end(status: str, cursor: str) -> pb.TailLogsResponse:
    """Write that nothing more will come."""
    number = numbers(_STATUS)[status]
    return pb.TailLogsResponse(end=pb.TailLogsResponse.End(status=number), cursor=cursor)  # type: ignore[arg-type]


_STATUS = deployment_pb2.DESCRIPTOR.enum_types_by_name["DeploymentStatus"]
_SOURCE_NAMES, _SEVERITY_NAMES = short_names(SOURCE), short_names(SEVERITY)


def entries(payload: bytes) -> pb.LogEntries:
    """Read a chunk."""
    return pb.TailLogsResponse.FromString(payload).entries


def source_name(number: int) -> str:
    """Return the name of a source, as the contract has it without its prefix."""
    return _SOURCE_NAMES.get(number) or ""


def severity_name(number: int) -> str:
    """Return the name of a severity, as the contract has it without its prefix."""
    return _SEVERITY_NAMES.get(number) or ""


def download_part(data: bytes, cursor: str) -> pb.DownloadLogsResponse:
    """Write a part of a download."""
    return pb.DownloadLogsResponse(data=data, cursor=cursor)
