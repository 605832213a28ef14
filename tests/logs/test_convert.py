"""Lines between the contract and what is stored."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import common_pb2
from relman_client.v1 import log_pb2 as pb
from relman_server.logs import convert
from relman_server.logs.inputs import MAX_CHUNK_BYTES, MAX_TEXT_BYTES, Wanted
from relman_server.logs.lines import NumberedLines, appended_lines
from tests.logs.steps import holder, lines

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_a_chunk_is_an_answer_of_a_tail_but_for_the_cursor() -> None:
    stage = uuid4()
    (chunk,) = NumberedLines(holder(*lines("a", "b")), 5, NOW).chunks("build", stage, 4)
    answer = pb.TailLogsResponse.FromString(convert.with_cursor(chunk.payload, "here"))
    assert answer.cursor == "here"
    assert answer.entries.stream_name == "build"
    assert [(entry.sequence, entry.text, entry.stage_id) for entry in answer.entries.entries] == [
        (5, "a", str(stage)),
        (6, "b", str(stage)),
    ]


def test_a_chunk_knows_what_it_holds() -> None:
    entries = [
        pb.LogEntry(text="é", time=Timestamp(seconds=30), severity=common_pb2.SEVERITY_DEBUG),
        pb.LogEntry(text="b", time=Timestamp(seconds=10, nanos=1_999), severity=common_pb2.SEVERITY_ERROR),
        pb.LogEntry(text="c", time=Timestamp(seconds=20)),
    ]
    (chunk,) = NumberedLines(holder(*entries), 1, NOW).chunks("s", None, 0)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert (chunk.first_sequence, chunk.last_sequence, chunk.entry_count, chunk.byte_size) == (1, 3, 3, 4)
    assert chunk.max_severity == common_pb2.SEVERITY_ERROR
    assert chunk.first_time == epoch + timedelta(seconds=10, microseconds=1)
    assert chunk.last_time == epoch + timedelta(seconds=30)


def test_only_what_comes_after_is_stored() -> None:
    (chunk,) = NumberedLines(holder(*lines(*"abcde")), 11, NOW).chunks("s", None, 13)
    assert (chunk.first_sequence, chunk.last_sequence) == (14, 15)
    assert [found.entry.text for found in convert.find(chunk.payload, Wanted())] == ["d", "e"]


@pytest.mark.parametrize(
    ("count", "size"), [(20, MAX_TEXT_BYTES), (10_000, 0), (10_000, 350), (64, 16_000), (1, MAX_TEXT_BYTES)]
)
def test_no_chunk_is_too_large_and_none_is_lost(count: int, size: int) -> None:
    """Every field is as long as it can be, so that the bound on what an entry takes besides its text is tried, too."""
    entries = [
        pb.LogEntry(
            text="x" * size,
            time=Timestamp(seconds=253_402_300_799, nanos=999_999_999),
            source=pb.LOG_SOURCE_SYSTEM,
            severity=common_pb2.SEVERITY_CRITICAL,
            text_repaired=True,
        )
        for _ in range(count)
    ]
    chunks = NumberedLines(holder(*entries), 2**61, NOW).chunks("\N{SNOWMAN}" * 128, uuid4(), 2**61 - 1)
    assert all(len(chunk.payload) <= MAX_CHUNK_BYTES for chunk in chunks)
    sequences = [found.entry.sequence for chunk in chunks for found in convert.find(chunk.payload, Wanted())]
    assert sequences == list(range(2**61, 2**61 + count))
    assert sum(chunk.byte_size for chunk in chunks) == count * size


def test_what_a_newer_client_says_besides_is_not_stored() -> None:
    unknown = b"\xfa\x07\x05extra"  # field 127
    request = pb.AppendLogsRequest(first_sequence=1)
    request.MergeFromString(b"\x2a" + bytes([len(unknown)]) + unknown)
    assert b"extra" in request.SerializeToString()
    (chunk,) = appended_lines(request, NOW).chunks("s", None, 0)
    assert b"extra" not in chunk.payload


def test_an_unfiltered_chunk_is_passed_on_as_it_is() -> None:
    (chunk,) = NumberedLines(holder(*lines("a", "b")), 1, NOW).chunks("s", None, 0)
    assert convert.narrow(chunk.payload, Wanted()) is chunk.payload
    assert convert.narrow(chunk.payload, Wanted(), skip=2) == b""
    assert [found.index for found in convert.find(chunk.payload, Wanted(contains="b"))] == [1]
