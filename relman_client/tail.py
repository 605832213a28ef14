"""Reading a deployment's log as it is written, every line once."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from relman_client.resume import Position, ResumeOptions, follow
from relman_client.v1.log_pb2 import LogEntries, TailLogsRequest, TailLogsResponse

if TYPE_CHECKING:
    from relman_client.client import Client

TailEvent = LogEntries | TailLogsResponse.Gap | TailLogsResponse.End


class TailPosition(Position[TailEvent]):
    """Where a tail stands: what it asks for, and the cursor after the last answer."""

    def __init__(self, request: TailLogsRequest) -> None:
        self._request = request
        self.cursor = request.cursor
        self._ended = False

    def request(self) -> TailLogsRequest:
        """The tail from here. The first start counts until there was an answer."""
        request = TailLogsRequest()
        request.CopyFrom(self._request)
        if self.cursor:
            request.cursor = self.cursor  # replaces any other start
        return request

    def accept(self, answer: TailLogsResponse) -> TailEvent | None:
        """Take the cursor; progress is nothing to tell."""
        self.cursor = answer.cursor or self.cursor
        match answer.WhichOneof("event"):
            case "entries":
                return answer.entries
            case "gap":
                return answer.gap
            case "end":
                self._ended = True
                return answer.end
            case _:
                return None

    def is_complete(self) -> bool:
        """A tail that follows is complete after `end`; another one when the server has nothing more."""
        return self._ended or not self._request.follow

    def is_over(self) -> bool:
        """After `end` nothing follows."""
        return self._ended


class Tail:
    """The lines of a log: iterate it for entries, gaps and the end. It resumes after any break.

    `cursor` belongs to the last event of the iteration: a Tail made with it goes on right after.
    """

    def __init__(self, client: "Client", request: TailLogsRequest, options: ResumeOptions | None = None) -> None:
        self._position = TailPosition(request)
        self._events = follow(client.logs.TailLogs, self._position, options or ResumeOptions(), client.options.retries)

    @property
    def cursor(self) -> str:
        """Where to go on later."""
        return self._position.cursor

    def __iter__(self) -> Iterator[TailEvent]:
        return self._events

    def close(self) -> None:
        """End the call."""
        self._events.close()
