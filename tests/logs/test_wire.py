"""Entries read off their serialized form say what protobuf's own messages say."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from relman_client.v1 import common_pb2
from relman_client.v1 import log_pb2 as pb
from relman_server.kernel.errors import InvalidInput
from relman_server.logs import lines, wire
from relman_server.logs.lines import NumberedLines
from tests.logs.steps import holder

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
times = st.builds(
    Timestamp,
    seconds=st.one_of(
        st.integers(-62_135_596_800, 253_402_300_799), st.sampled_from((0, 1, 2**28 - 1, 2**28, 2**35 - 1, 2**35))
    ),
    nanos=st.one_of(st.integers(0, 999_999_999), st.sampled_from((0, 127, 128, 2**28 - 1, 2**28, 999_999_999))),
)
texts = st.one_of(
    st.text(max_size=200), st.integers(120, 140).map("x".__mul__), st.integers(16370, 16390).map("é".__mul__)
)
entries = st.builds(
    pb.LogEntry,
    time=times,
    source=st.sampled_from(sorted(wire.SOURCES)),
    severity=st.sampled_from(sorted(wire.SEVERITIES)),
    text=texts.filter(lambda text: "\0" not in text),
)
others = st.builds(
    pb.LogEntry,
    time=st.none() | times,
    source=st.sampled_from((0, *sorted(wire.SOURCES))),
    severity=st.sampled_from((0, *sorted(wire.SEVERITIES))),
    text=texts,
    text_repaired=st.booleans(),
    sequence=st.integers(0, 2**62),
    stage_id=st.text(max_size=5),
)


def _plainly(sent: pb.WriteLogsRequest.Append, first: int, stage: str) -> pb.TailLogsResponse:
    """What is to be stored of entries, made message by message."""
    answer = pb.TailLogsResponse(entries=pb.LogEntries(stream_name="build"))
    for sequence, entry in enumerate(sent.entries, first):
        each = answer.entries.entries.add()
        each.CopyFrom(entry)
        each.sequence, each.stage_id = sequence, stage
        if not each.HasField("time"):
            each.time.FromDatetime(NOW)
        each.source = each.source or pb.LOG_SOURCE_STDOUT
        each.severity = each.severity or common_pb2.SEVERITY_INFO
        if "\0" in each.text:
            each.text, each.text_repaired = each.text.replace("\0", "\N{REPLACEMENT CHARACTER}"), True
    return answer


@given(
    sent=st.lists(st.one_of(entries, entries, others), min_size=1, max_size=8),
    first=st.one_of(st.integers(1, 300), st.integers(2**14 - 4, 2**14), st.integers(2**40, 2**62)),
    stage=st.none() | st.just(uuid4()),
)
def test_what_is_stored_is_what_was_sent_completed(sent: list[pb.LogEntry], first: int, stage: object) -> None:
    plainly = _plainly(holder(*sent), first, str(stage or ""))
    numbered = NumberedLines(holder(*sent), first, NOW)
    (chunk,) = numbered.chunks("build", stage, first - 1)  # type: ignore[arg-type]  # a UUID or nothing
    assert pb.TailLogsResponse.FromString(chunk.payload) == plainly
    said = list(plainly.entries.entries)
    assert chunk.byte_size == numbered.byte_size == sum(len(entry.text.encode()) for entry in said)
    assert chunk.max_severity == max(entry.severity for entry in said)
    moments = [(entry.time.seconds, entry.time.nanos // 1000) for entry in said]
    for moment, expected in ((chunk.first_time, min(moments)), (chunk.last_time, max(moments))):
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        assert (since.days * 86400 + since.seconds, since.microseconds) == expected
    assert NumberedLines(holder(*sent), first, NOW).first_difference(chunk.payload) is None


def test_lines_sent_again_are_each_read_once_however_many_chunks_they_are_compared_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails when all are read for every chunk: ten thousand lines would hold up the database for seconds."""
    sent = [pb.LogEntry(text=f"line {number}") for number in range(200)]
    ones = [
        chunk.payload
        for number, entry in enumerate(sent, start=1)
        for chunk in NumberedLines(holder(entry), number, NOW).chunks("build", None, number - 1)
    ]
    again = NumberedLines(holder(*sent), 1, NOW + timedelta(minutes=1))
    read: list[bytes] = []

    def parsed(data: bytes) -> pb.LogEntry:
        read.append(data)
        return pb.LogEntry.FromString(data)

    monkeypatch.setattr(lines, "parsed", parsed)
    assert [again.first_difference(payload) for payload in ones] == [None] * len(ones)
    assert len(read) == len(sent)
    other = NumberedLines(holder(*sent[:100], pb.LogEntry(text="another"), *sent[101:]), 1, NOW)
    assert [other.first_difference(payload) for payload in ones if other.first_difference(payload)] == [101]


@given(st.lists(entries, min_size=1, max_size=5))
def test_what_most_writers_send_is_read_at_once(sent: list[pb.LogEntry]) -> None:
    """Fails when the quick way is never taken: nothing else would notice."""
    usual = [entry for entry in sent if 2**28 <= entry.time.seconds < 2**35 and entry.text]
    data = holder(*usual).SerializeToString()
    look = wire.look(data, wire.spans(data))
    assert look is not None
    assert look.sizes == [len(entry.text.encode()) for entry in usual]
    assert look.severities == [entry.severity for entry in usual]
    assert [wire.nanoseconds(time) for time in look.times] == [
        entry.time.seconds * 1_000_000_000 + entry.time.nanos for entry in usual
    ]
    assert sorted(look.times) == [wire.time_of(*each) for each in sorted((e.time.seconds, e.time.nanos) for e in usual)]


@pytest.mark.parametrize(
    "fields",
    [
        *({"time": Timestamp(seconds=1, nanos=nanos)} for nanos in (-1, 1_000_000_000, 2**31 - 1)),
        *({"time": Timestamp(seconds=1_700_000_000, nanos=nanos)} for nanos in (-1, 1_000_000_000, 2**31 - 1)),
        *({"time": Timestamp(seconds=seconds)} for seconds in (2**60, -(2**60), 253_402_300_800)),
        *({"source": value} for value in (99, -1, 300)),
        *({"severity": value} for value in (99, -1, 300)),
        {"text": "x" * (64 * 1024 + 1)},
    ],
    ids=lambda fields: str(fields)[:60].replace("\n", " "),
)
def test_what_is_wrong_is_refused_beside_lines_that_are_right(fields: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"time": Timestamp(seconds=1_700_000_000), "source": 1, "severity": 2, "text": "it works"}
    entry = pb.LogEntry(**(plain | fields))
    with pytest.raises(InvalidInput) as caught:
        NumberedLines(holder(pb.LogEntry(**plain), entry, pb.LogEntry(**plain)), 1, NOW)
    (violation,) = caught.value.violations
    assert violation.field == f"entries[1].{next(iter(fields))}"
