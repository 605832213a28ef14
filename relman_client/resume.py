"""Following a stream over broken connections: ask again from where the last answer left off."""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

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
    """Called when a stream that worked breaks."""
    on_resume: Callable[[], None] = lambda: None
    """Called when it works again."""


class Breaks:
    """Keeps count of the breaks of one follower, and says how long to wait or that it is over."""

    def __init__(self, options: ResumeOptions, retries: RetryOptions) -> None:
        self._options = options
        self._retries = retries
        self._backoff = Backoff(retries)
        self._heard_at: float | None = None
        self._is_broken = False

    def heard(self) -> None:
        """An answer came."""
        if self._is_broken:
            self._options.on_resume()
        self._is_broken = False
        self._backoff.reset()
        self._heard_at = time.monotonic()

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
        return self._backoff.next(error)

    def _is_hopeless(self) -> bool:
        if self._heard_at is None:
            return self._backoff.failures + 1 >= self._retries.attempts
        limit = self._options.give_up_after
        return limit is not None and time.monotonic() - self._heard_at > limit


def follow(
    call: Callable[[Any], Any], position: Position[Event], options: ResumeOptions, retries: RetryOptions
) -> Generator[Event, None, None]:
    """Events of a stream, each once, until it is complete. Closing the generator ends the call."""
    breaks = Breaks(options, retries)
    while True:
        answers = call(position.request())
        try:
            for answer in answers:
                breaks.heard()
                event = position.accept(answer)
                if event is not None:
                    yield event
            if position.is_complete():
                return
            delay = breaks.delay(ended_early())
        except RelmanError as error:
            if position.is_over():
                return
            delay = breaks.delay(error)
        finally:
            answers.cancel()
        time.sleep(delay)


def ended_early() -> RelmanError:
    """What it means that a server ends a stream without having said everything."""
    return RelmanError(grpc.StatusCode.UNAVAILABLE, "the server ended the stream early")
