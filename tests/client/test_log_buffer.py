import pytest

from relman_client import RelmanError, WriterOptions
from relman_client.log_buffer import LogBuffer
from relman_client.v1.log_pb2 import LogEntry


def filled(count: int, **options: float) -> LogBuffer:
    buffer = LogBuffer(WriterOptions(**options))  # type: ignore[arg-type]
    for number in range(1, count + 1):
        buffer.add(LogEntry(text=f"line {number}"), now=0)
    return buffer


def taken(buffer: LogBuffer) -> dict[int, str]:
    """What the next batch holds, by sequence."""
    batch = buffer.take()
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


def test_a_batch_is_due_when_it_is_full_or_has_waited() -> None:
    buffer = filled(1, max_delay=0.05, max_batch_entries=2)
    assert buffer.due_in(now=0.02) == pytest.approx(0.03)
    assert buffer.due_in(now=9) == 0
    buffer.add(LogEntry(), now=0)
    assert buffer.due_in(now=0) == 0
    assert LogBuffer(WriterOptions()).due_in(now=0) is None


def test_a_batch_has_at_most_the_bytes_it_may_have() -> None:
    buffer = filled(10, max_batch_bytes=450)
    buffer.resume(committed=0)
    assert [len(taken(buffer)) for _ in range(5)] == [2] * 5


def test_it_is_full_until_something_is_acknowledged() -> None:
    buffer = filled(3, max_buffered_bytes=600)
    assert buffer.is_full
    buffer.resume(committed=0)
    buffer.take()
    assert buffer.is_full
    buffer.acknowledge(1)
    assert not buffer.is_full


@pytest.mark.parametrize("committed", [0, 9])
def test_a_server_that_has_less_or_more_than_can_be_is_an_error(committed: int) -> None:
    buffer = filled(3)
    buffer.resume(committed=5)
    buffer.take()
    with pytest.raises(RelmanError, match="someone else writes to it") as refused:
        buffer.resume(committed)
    assert refused.value.reason == "SEQUENCE_CONFLICT"
    assert not refused.value.is_passing
