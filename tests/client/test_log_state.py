"""What a log writer does next, whatever carries it out."""

from typing import Any

import grpc
import pytest

from relman_client import LogFinishedError, RelmanError, RetryOptions, SequenceGapError, WriterOptions
from relman_client.log_buffer import Line
from relman_client.log_state import Link, WriterState
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.log_pb2 import LogSource, WriteLogsRequest, WriteLogsResponse

AWAY = RelmanError(grpc.StatusCode.UNAVAILABLE, "away")
GAP = SequenceGapError(grpc.StatusCode.ABORTED, "gap", reason="SEQUENCE_GAP")
RETRIES = RetryOptions(attempts=3, initial_delay=1, max_delay=8)


def new(**options: Any) -> WriterState:
    return WriterState(WriteLogsRequest.Open(), WriterOptions(**options), RETRIES, now=0)


def write(state: WriterState, *texts: str) -> None:
    for text in texts:
        state.add(Line(text, 1, LogSource.LOG_SOURCE_STDOUT, Severity.SEVERITY_INFO), now=0)


def hear(state: WriterState, link: Link, committed: int, now: float = 0, *, finished: bool = False) -> bool:
    return state.heard(link, WriteLogsResponse(committed_sequence=committed, finished=finished), now)


def connected(state: WriterState, committed: int = 0) -> Link:
    link = Link(began=0)
    hear(state, link, committed)
    return link


def sent(state: WriterState, link: Link, now: float = 9) -> list[str]:
    """The texts of the next append; none when there is nothing to send."""
    request = state.next_request(link, now)
    return [entry.text for entry in request.append.entries] if isinstance(request, WriteLogsRequest) else []


def test_several_appends_are_on_their_way_before_the_first_is_acknowledged() -> None:
    state = new(max_batch_entries=1)
    link = connected(state)
    write(state, "one", "two", "three")
    assert [sent(state, link) for _ in range(4)] == [["one"], ["two"], ["three"], []]


def test_nothing_is_sent_before_the_server_says_where_to_go_on() -> None:
    state = new()
    write(state, "one")
    assert sent(state, Link(began=0)) == []


def test_a_flush_waits_for_what_was_written_before_it_and_for_no_more() -> None:
    state = new(max_delay=60)
    link = connected(state)
    write(state, "before")
    count = state.await_all(now=0)
    assert sent(state, link, now=0) == ["before"]
    write(state, "after")
    assert not state.has_arrived(count)
    hear(state, link, 1)
    assert state.has_arrived(count)
    assert sent(state, link, now=0) == []  # nobody hurries any more


def test_lines_that_are_dropped_are_counted_in_their_place() -> None:
    state = new(when_full="drop", max_buffered_bytes=150)
    link = connected(state)
    write(state, "one", "two", "lost", "lost")
    assert sent(state, link) == ["one", "two"]
    hear(state, link, 2)
    write(state, "three")
    [said, last] = sent(state, link)
    assert said == "2 lines are missing here: relman was away, and no more could wait for it"
    assert last == "three"


def test_closing_says_what_was_dropped_at_the_end() -> None:
    state = new(when_full="drop", max_buffered_bytes=50)
    write(state, "one", "lost")
    state.close(now=0, finish=True)
    link = connected(state)
    assert [text[:7] for text in sent(state, link)] == ["one", "1 lines"]


def test_an_outage_ends_the_writer_only_when_it_was_told_so() -> None:
    forever, bounded = new(), new(give_up_after=10)
    for state in (forever, bounded):
        connected(state)
        for now in (1000, 1009.9):  # that it was idle before does not count
            state.delay_after(AWAY, now)
    forever.delay_after(AWAY, 99_999)
    with pytest.raises(RelmanError, match="away"):
        bounded.delay_after(AWAY, 1010)


def test_delays_grow_while_a_server_opens_the_stream_and_then_always_fails() -> None:
    """Beginning anew with each answer instead of with each progress asks it ten times a second for ever."""
    state = new()
    write(state, "one")
    delays = []
    for _ in range(4):
        connected(state)
        delays.append(state.delay_after(AWAY, 0))
    assert delays[3] >= 4 > delays[0]
    link = connected(state)
    sent(state, link)
    hear(state, link, 1)
    assert state.delay_after(AWAY, 0) <= 1


def test_a_server_that_is_away_for_long_is_asked_again_every_second() -> None:
    """Waiting longer and longer lets everyone wait for seconds after it is back."""
    state = new()
    connected(state)
    state.delay_after(AWAY, 0)
    assert all(state.delay_after(AWAY, now) <= 1 for now in range(10))
    overloaded = RelmanError(grpc.StatusCode.UNAVAILABLE, "later", reason="OVERLOADED")
    assert state.delay_after(overloaded, 10) >= 4, "one that answers is not"


def test_a_gap_is_filled_by_sending_again_but_not_for_ever() -> None:
    state = new()
    for _ in range(2):
        state.delay_after(GAP, 0)
    with pytest.raises(SequenceGapError):
        state.delay_after(GAP, 0)


def test_a_refreshed_token_is_no_outage() -> None:
    state = new()
    connected(state)
    expired = RelmanError(grpc.StatusCode.UNAUTHENTICATED, "expired", reason="TOKEN_EXPIRED")
    expired.token_was_refreshed = True
    state.delay_after(expired, 0)
    assert not state.breaks(expired)
    assert state.breaks(AWAY)
    assert not state.breaks(AWAY)


def test_an_answer_to_finish_that_was_lost_is_made_up_for_by_the_next_connection() -> None:
    state = new()
    link = connected(state)
    write(state, "one")
    state.close(now=0, finish=True)
    sent(state, link)
    assert state.next_request(link, 0) == WriteLogsRequest(finish=WriteLogsRequest.Finish(last_sequence=1))
    assert not state.is_over
    hear(state, Link(began=0), 1, finished=True)
    assert state.is_over


def test_a_stream_that_someone_else_finished_is_an_error() -> None:
    state = new()
    write(state, "one")
    with pytest.raises(LogFinishedError):
        hear(state, Link(began=0), 0, finished=True)
