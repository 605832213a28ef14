"""Following a stream over broken connections: ask again from where the last answer left off."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import grpc

from relman_client.errors import RelmanError
from relman_client.retries import Backoff, RetryOptions

Event = TypeVar("Event")
Event_co = TypeVar("Event_co", covariant=True)


class Position(Protocol[Event_co]):
    """Where a follower stands. Knows no connection, so that it serves both kinds of clients."""

    def request(self) -> Any:
        """The message that opens the stream here."""

    def accept(self, answer: Any) -> Event_co | None:
        """Move on by one answer of the server; None when it holds nothing new."""

    def is_complete(self) -> bool:
        """Whether a stream that ends now without an error has said everything."""

    def is_over(self) -> bool:
        """Whether everything was said, however the stream ends."""


@dataclass(frozen=True)
class ResumeOptions:
    """How a follower deals with breaks."""

    give_up_after: float | None = None
    """Seconds without any answer after which a break is raised; unset: never, once there was a first answer."""
    on_break: Callable[[RelmanError], None] = lambda _error: None
    """Called when a stream that worked breaks, in the thread that follows it."""
    on_resume: Callable[[], None] = lambda: None
    """Called when it works again."""


class Breaks:
    """Keeps count of the breaks of one follower, and says how long to wait or that it is over."""

    def __init__(self, options: ResumeOptions, retries: RetryOptions) -> None:
        self._options = options
        self._retries = retries
        self._backoff = Backoff(retries)
        self._opened_at = 0.0
        self._heard_at: float | None = None
        self._is_broken = False

    def opened(self) -> None:
        """The stream is asked for, again."""
        self._opened_at = time.monotonic()

    def heard(self, *, is_news: bool) -> None:
        """An answer came. A stream that says hello and always breaks again is not there yet: it takes news, or time."""
        self._heard_at = time.monotonic()
        if is_news or self._heard_at - self._opened_at > self._retries.max_delay:
            self._backoff.reset()
        if self._is_broken:
            self._is_broken = False
            self._options.on_resume()

    def delay(self, error: RelmanError) -> float:
        """Seconds until the next attempt; raises the error when it will not pass, or lasts too long."""
        if not error.is_passing:
            raise error
        if self._is_hopeless():
            raise error
        # Nothing broke when it only went on with another token.
        if self._heard_at is not None and not self._is_broken and not error.token_was_refreshed:
            self._is_broken = True
            self._options.on_break(error)
        answered = self._heard_at is not None and self._heard_at >= self._opened_at
        return self._backoff.next(error, is_absent=error.is_unreachable and not answered)

    def _is_hopeless(self) -> bool:
        if self._heard_at is None:
            return self._backoff.failures + 1 >= self._retries.attempts
        limit = self._options.give_up_after
        return limit is not None and time.monotonic() - self._heard_at > limit


class HasCursor:
    """A follower whose place is told by a cursor."""

    _position: Any  # of its own kind, with a cursor

    @property
    def cursor(self) -> str:
        """Where to go on later: after the last event of the iteration."""
        cursor: str = self._position.cursor
        return cursor


class Following(Generic[Event]):
    """Events of a stream, each once, until it is complete: iterate it. It resumes after any break.

    Break off with `close`, from any thread, or by leaving a `with` block.
    """

    def __init__(
        self,
        call: Callable[[Any], Any],
        position: Position[Event],
        options: ResumeOptions | None,
        retries: RetryOptions,
    ) -> None:
        self._end = _End()
        self._events = _follow(call, position, Breaks(options or ResumeOptions(), retries), self._end)

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """End the call; who waits for the next event gets none."""
        self._end.come()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _End:
    """The end of a follower, which may come while it waits for an answer or for the next attempt."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._answers: Any = None  # of grpc, which has no type for them

    def has_come(self) -> bool:
        return self._came.is_set()

    def cancels(self, answers: Any) -> None:  # as above
        """Let it cancel this call, at once when it has come."""
        self._answers = answers
        if self.has_come():
            answers.cancel()

    def come(self) -> None:
        self._came.set()
        answers = self._answers
        if answers is not None:
            answers.cancel()

    def wait(self, seconds: float) -> None:
        self._came.wait(seconds)


def _follow(
    call: Callable[[Any], Any], position: Position[Event], breaks: Breaks, end: _End
) -> Generator[Event, None, None]:
    while not end.has_come():
        breaks.opened()
        answers = call(position.request())
        end.cancels(answers)
        try:
            for answer in answers:
                if end.has_come():
                    return
                event = position.accept(answer)
                breaks.heard(is_news=event is not None)
                if event is not None:
                    yield event
            if position.is_complete():
                return
            delay = breaks.delay(ended_early())
        except RelmanError as error:
            if position.is_over() or end.has_come():
                return
            delay = breaks.delay(error)
        finally:
            answers.cancel()
        end.wait(delay)


def ended_early() -> RelmanError:
    """What it means that a server ends a stream without having said everything."""
    return RelmanError(grpc.StatusCode.UNAVAILABLE, "the server ended the stream early")
