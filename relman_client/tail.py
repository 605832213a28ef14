"""Reading a deployment's log: as it is written, or the whole of it in one go, as the audit log. Every line once."""

from typing import IO, TYPE_CHECKING

from relman_client.resume import Following, HasCursor, Position, ResumeOptions
from relman_client.v1.audit_pb2 import ExportAuditLogsRequest, ExportAuditLogsResponse
from relman_client.v1.log_pb2 import (
    DownloadLogsRequest,
    DownloadLogsResponse,
    LogEntries,
    TailLogsRequest,
    TailLogsResponse,
)

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


class Tail(HasCursor, Following[TailEvent]):
    """The lines of a log: iterate it for entries, gaps and the end. It resumes after any break.

    `cursor` belongs to the last event of the iteration: a Tail made with it goes on right after.
    """

    def __init__(self, client: "Client", request: TailLogsRequest, options: ResumeOptions | None = None) -> None:
        self._position = TailPosition(request)
        super().__init__(client.logs.TailLogs, self._position, options, client.options.retries)


DownloadRequest = DownloadLogsRequest | ExportAuditLogsRequest


class DownloadPosition(Position[bytes]):
    """Where a download stands: what it asks for, and the cursor after the last part."""

    def __init__(self, request: DownloadRequest) -> None:
        self._request = request
        self.cursor = request.cursor

    def request(self) -> DownloadRequest:
        """The rest of the download."""
        request = type(self._request).FromString(self._request.SerializeToString())
        request.cursor = self.cursor
        return request

    def accept(self, answer: DownloadLogsResponse | ExportAuditLogsResponse) -> bytes | None:
        """Take the cursor, and the lines if there are any."""
        self.cursor = answer.cursor or self.cursor
        return answer.data or None

    def is_complete(self) -> bool:
        """The server ends the stream where the log ends."""
        return True

    def is_over(self) -> bool:
        """Only the server knows."""
        return False


class Download(HasCursor, Following[bytes]):
    """A deployment's log, or the audit log, as a file: iterate it for parts of whole lines, or `save` it.

    It resumes after any break. `cursor` belongs to the last part: a Download made with it, and otherwise the same
    request, goes on right after.
    """

    def __init__(self, client: "Client", request: DownloadRequest, options: ResumeOptions | None = None) -> None:
        self._position = DownloadPosition(request)
        is_log = isinstance(request, DownloadLogsRequest)
        call = client.logs.DownloadLogs if is_log else client.audit.ExportAuditLogs
        super().__init__(call, self._position, options, client.options.retries)

    def save(self, file: IO[bytes]) -> int:
        """Write it to a binary file, opened for buffered writing; answers how many bytes that were."""
        return sum(file.write(part) for part in self)
