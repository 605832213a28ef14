import resource
from pathlib import Path
from typing import Any

import pytest

from relman_client.errors import LinesLostError, SequenceConflictError
from relman_client.log_buffer import Line, LogBuffer, WriterOptions
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.log_pb2 import LogSource


def line(text: str) -> Line:
    return Line(text, 1, LogSource.LOG_SOURCE_STDOUT, Severity.SEVERITY_INFO)


def filled(count: int, **options: Any) -> LogBuffer:
    buffer = LogBuffer(WriterOptions(**options))
    for number in range(1, count + 1):
        buffer.add(line(f"line {number}"), now=0)
    return buffer


def taken(buffer: LogBuffer) -> dict[int, str]:
    """What the next batch holds, by sequence."""
    batch = buffer.take().append
    return {batch.first_sequence + index: entry.text for index, entry in enumerate(batch.entries)}


def test_numbers_go_on_after_what_the_stream_has_already() -> None:
    buffer = filled(2)
    buffer.resume(committed=7)
    assert taken(buffer) == {8: "line 1", 9: "line 2"}


def test_what_was_not_acknowledged_is_sent_again_with_the_same_numbers() -> None:
    buffer = filled(4, max_batch_entries=2)
    buffer.resume(committed=0)
    assert taken(buffer) == {1: "line 1", 2: "line 2"}
    assert taken(buffer) == {3: "line 3", 4: "line 4"}
    buffer.acknowledge(1)
    buffer.resume(committed=3)  # the acknowledgement of 2 and 3 was lost
    assert taken(buffer) == {4: "line 4"}
    buffer.acknowledge(4)
    assert not len(buffer)


def test_a_batch_that_may_be_on_its_way_is_not_changed_by_an_acknowledgement() -> None:
    """It is serialized in another thread, which cutting lines off it would disturb."""
    buffer = filled(2)
    buffer.resume(committed=0)
    request = buffer.take()
    buffer.acknowledge(1)
    assert len(request.append.entries) == 2
    buffer.resume(committed=1)
    assert taken(buffer) == {2: "line 2"}


def test_lines_added_after_a_break_do_not_join_batches_that_were_sent() -> None:
    buffer = filled(1)
    buffer.resume(committed=0)
    buffer.take()
    buffer.resume(committed=0)
    buffer.add(line("later"), now=0)
    assert taken(buffer) == {1: "line 1"}
    assert taken(buffer) == {2: "later"}


def test_an_earlier_connection_may_deliver_late() -> None:
    """The server commits what the broken connection had brought it while the new one sends it again."""
    buffer = filled(4, max_batch_entries=2)
    buffer.resume(committed=0)
    buffer.take()
    buffer.take()
    buffer.resume(committed=0)
    assert taken(buffer) == {1: "line 1", 2: "line 2"}
    buffer.acknowledge(4)
    assert not len(buffer)
    assert buffer.due_in(now=0) is None


def test_a_batch_is_due_when_it_is_full_or_has_waited() -> None:
    buffer = filled(1, max_delay=0.05, max_batch_entries=2)
    assert buffer.due_in(now=0.02) == pytest.approx(0.03)
    assert buffer.due_in(now=9) == 0
    buffer.add(line(""), now=0)
    assert buffer.due_in(now=0) == 0
    assert LogBuffer(WriterOptions()).due_in(now=0) is None


def test_a_batch_has_at_most_the_bytes_it_may_have() -> None:
    buffer = filled(10, max_batch_bytes=210)
    buffer.resume(committed=0)
    assert [len(taken(buffer)) for _ in range(5)] == [2] * 5


def test_it_is_full_until_something_is_acknowledged() -> None:
    buffer = filled(3, max_buffered_bytes=300)
    assert buffer.is_full
    buffer.resume(committed=0)
    buffer.take()
    assert buffer.is_full
    buffer.acknowledge(1)
    assert not buffer.is_full


def test_a_server_that_has_less_than_it_acknowledged_is_an_error() -> None:
    buffer = filled(3)
    buffer.resume(committed=5)
    buffer.take()
    with pytest.raises(LinesLostError, match="older backup") as lost:
        buffer.resume(committed=2)
    assert lost.value.metadata == {"acknowledged": "5", "committed": "2"}
    assert not lost.value.is_passing


def test_a_server_that_has_more_than_was_sent_is_an_error() -> None:
    buffer = filled(3)
    buffer.resume(committed=5)
    buffer.take()
    with pytest.raises(SequenceConflictError, match="someone else writes to it") as refused:
        buffer.resume(committed=9)
    assert refused.value.reason == "SEQUENCE_CONFLICT"
    assert not refused.value.is_passing


def test_the_bytes_it_counts_are_what_it_holds() -> None:
    """A message object for each line, instead of one for each batch, costs six times of what is counted."""
    before = resident()
    buffer = LogBuffer(WriterOptions(max_buffered_bytes=16 * 2**20))
    while not buffer.is_full:
        buffer.add(line("x" * 80), now=0)
    assert resident() - before < 1.5 * 16 * 2**20


def resident() -> int:
    """Bytes of memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
