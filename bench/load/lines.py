"""Log lines that say when they were sent, in relman's form and in the peer's, and how to count them in bytes."""

import json
import time
from datetime import UTC, datetime
from functools import cache

from relman_client.v1 import common_pb2
from relman_client.v1.log_pb2 import (
    AppendLogsRequest,
    LogEntries,
    LogEntry,
    LogSource,
    TailLogsResponse,
    WriteLogsRequest,
)

MARK = b"~line~"
_DIGITS = 20
_STAMP = "0" * _DIGITS
_TEXT = f"{MARK.decode()}{_STAMP} compiled //services/checkout:handlers in 214 ms, 3 warnings"
"""81 bytes of text, which make 122 bytes of a stored line."""


def count(data: bytes) -> int:
    """Return how many lines are in answers or events."""
    return data.count(MARK)


def sent_at(data: bytes) -> float:
    """Return when the first line in the data was sent, in seconds of the monotonic clock."""
    start = data.index(MARK) + len(MARK)
    return int(data[start : start + _DIGITS]) / 1e9


def sequences(answers: list[bytes], *, grpc: bool) -> list[int]:
    """Return the numbers of all lines in answers of relman (gRPC), or in events of the peer, in the order they came."""
    if grpc:
        return [entry.sequence for answer in answers for entry in TailLogsResponse.FromString(answer).entries.entries]
    events = [line for answer in answers for line in answer.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(event.removeprefix(b"data: "))["sequence"] for event in events]


def _now() -> bytes:
    return b"%0*d" % (_DIGITS, time.monotonic_ns())


class GrpcLines:
    """So many lines, ready to be sent to relman any number of times, each time with the time of sending."""

    def __init__(self, lines: int) -> None:
        self.lines = lines
        entry = LogEntry(text=_TEXT, source=LogSource.LOG_SOURCE_STDOUT, severity=common_pb2.SEVERITY_INFO)
        entry.time.GetCurrentTime()
        self._entries = WriteLogsRequest.Append(entries=[entry] * lines).SerializeToString()
        self._entries_of_unary = AppendLogsRequest(entries=[entry] * lines).SerializeToString()

    def open(self, deployment: str, stream: str) -> bytes:
        """Write the first message of WriteLogs."""
        return WriteLogsRequest(
            open=WriteLogsRequest.Open(deployment=deployment, stream_name=stream)
        ).SerializeToString()

    def write(self, number: int) -> bytes:
        """Write a message of WriteLogs; number 0 is the first after opening."""
        head = WriteLogsRequest.Append(first_sequence=number * self.lines + 1).SerializeToString()
        body = head + stamped(self._entries)
        return b"\x12" + _varint(len(body)) + body

    def append(self, deployment: str, stream: str, number: int) -> bytes:
        """Write a request of AppendLogs; number 0 is the first."""
        first = number * self.lines + 1
        head = AppendLogsRequest(deployment=deployment, stream_name=stream, first_sequence=first).SerializeToString()
        return head + stamped(self._entries_of_unary)


class JsonLines:
    """So many lines, ready to be sent to the peer."""

    def __init__(self, lines: int) -> None:
        self.lines = lines
        entry = {"time": datetime.now(UTC).isoformat(), "source": "STDOUT", "severity": "INFO", "text": _TEXT}
        self._entries = json.dumps([entry] * lines).encode()

    def append(self, stream: str, number: int) -> bytes:
        """Write the body of a request; number 0 is the first."""
        head = json.dumps({"stream_name": stream, "first_sequence": number * self.lines + 1})
        return head[:-1].encode() + b', "entries": ' + stamped(self._entries) + b"}"


@cache
def grpc_lines(lines: int) -> GrpcLines:
    """Return so many lines for relman, always the same ones."""
    return GrpcLines(lines)


@cache
def json_lines(lines: int) -> JsonLines:
    """Return so many lines for the peer, always the same ones."""
    return JsonLines(lines)


@cache
def answer(lines: int) -> bytes:
    """Return an answer of TailLogs as relman stores one, with as many lines, without the time of sending."""
    now = datetime.now(UTC)
    entries = []
    for sequence in range(1, lines + 1):
        entry = LogEntry(
            sequence=sequence, text=_TEXT, source=LogSource.LOG_SOURCE_STDOUT, severity=common_pb2.SEVERITY_INFO
        )
        entry.time.FromDatetime(now)
        entries.append(entry)
    answered = TailLogsResponse(entries=LogEntries(entries=entries, stream_name="main"), cursor="c" * 40)
    return answered.SerializeToString()


def stamped(data: bytes) -> bytes:
    """Return lines with the time of sending: now."""
    return data.replace(_STAMP.encode(), _now())


def _varint(number: int) -> bytes:
    encoded = b""
    while number >= 128:
        encoded += bytes((number % 128 + 128,))
        number //= 128
    return encoded + bytes((number,))
