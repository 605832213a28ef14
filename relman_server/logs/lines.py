"""Lines as they come: completed, checked and numbered, and serialized as they are to be stored.

They come by the hundred thousand: what is done for each of them is little.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import common_pb2
from relman_client.v1 import log_pb2 as pb
from relman_server.kernel.errors import InvalidInput, Violation
from relman_server.kernel.rpc.descriptors import numbers
from relman_server.kernel.rpc.reading import EPOCH
from relman_server.kernel.rpc.writing import timestamp
from relman_server.logs.inputs import MAX_CHUNK_BYTES, MAX_ENTRIES, MAX_SEQUENCE, MAX_TEXT_BYTES, Chunk

SOURCE = pb.DESCRIPTOR.enum_types_by_name["LogSource"]
SEVERITY = common_pb2.DESCRIPTOR.enum_types_by_name["Severity"]
SOURCES = frozenset(pb.LogSource.values()) - {pb.LOG_SOURCE_UNSPECIFIED}
SEVERITIES = frozenset(common_pb2.Severity.values()) - {common_pb2.SEVERITY_UNSPECIFIED}
ENTRY_OVERHEAD = 96
"""Bytes that an entry takes besides its text, at most."""
EARLIEST, LATEST = -62_135_596_800, 253_402_300_799  # the years 1 to 9999
NANOSECONDS = 1_000_000_000


class NumberedLines:
    """The lines of a request, completed and checked; a `Lines` of inputs.py.

    Attributes:
        first_sequence: Of the first line.
        last_sequence: Of the last line; one less than the first when there is none.
        finish: Whether the stream ends with them.
        byte_size: Of their text.
    """

    def __init__(
        self,
        entries: Sequence[pb.LogEntry],
        first_sequence: int,
        arrived: datetime,
        path: str = "entries",
        *,
        finish: bool = False,
    ) -> None:
        """Complete the entries, in place.

        Args:
            entries: As they came.
            first_sequence: Of the first of them.
            arrived: Time of the entries that carry none.
            path: Where the entries are in the request, for violations.
            finish: Whether the stream ends with them.

        Raises:
            InvalidInput: With everything that is wrong with them.
        """
        self.first_sequence = first_sequence
        self.last_sequence = first_sequence + len(entries) - 1
        self.finish = finish
        self._entries = entries
        self._untimed: set[int] = set()
        self._sizes: list[int] = []
        self._severities: list[int] = []
        self._times: list[int] = []
        for sequence, entry in enumerate(entries, first_sequence):
            entry.sequence = sequence
        if not self._are_complete():
            self._complete(timestamp(arrived), path)
        self.byte_size = sum(self._sizes)

    def _are_complete(self) -> bool:
        """Look at all lines at once, as most writers send them: with everything, and nothing wrong."""
        entries = self._entries
        if not entries:
            return True
        texts = [entry.text for entry in entries]
        sources = [entry.source for entry in entries]
        self._severities = [entry.severity for entry in entries]
        times = [entry.time for entry in entries]
        seconds = [time.seconds for time in times]
        nanos = [time.nanos for time in times]
        together = "".join(texts)
        if together.isascii():
            self._sizes = list(map(len, texts))
        else:
            self._sizes = [len(text) if text.isascii() else len(text.encode()) for text in texts]
        self._times = [second * NANOSECONDS + nano for second, nano in zip(seconds, nanos, strict=True)]
        return (
            "\0" not in together
            and max(self._sizes) <= MAX_TEXT_BYTES
            and SOURCES.issuperset(sources)
            and SEVERITIES.issuperset(self._severities)
            and min(seconds) > 0  # a time that is not said has none
            and max(seconds) <= LATEST
            and min(nanos) >= 0
            and max(nanos) < NANOSECONDS
        )

    def _complete(self, arrival: Timestamp, path: str) -> None:
        """Look at each line: complete what is not said, and find what is wrong."""
        self._sizes, self._severities, self._times = [], [], []
        wrong: list[Violation] = []
        for index, entry in enumerate(self._entries):
            problem = self._text(entry) or self._enums(entry) or self._time(entry, index, arrival)
            if problem:
                field, description = problem
                wrong.append(Violation(f"{path}[{index}].{field}", description))
        if wrong:
            raise InvalidInput(*wrong)

    def _text(self, entry: pb.LogEntry) -> tuple[str, str] | None:
        text = entry.text
        size = len(text) if text.isascii() else len(text.encode())
        if size > MAX_TEXT_BYTES:
            return "text", "must be at most 64 KiB of UTF-8"
        if "\0" in text:  # one database could not hold it, and a line must not be lost for that
            entry.text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
            entry.text_repaired = True
            size = len(entry.text.encode())
        self._sizes.append(size)
        return None

    def _enums(self, entry: pb.LogEntry) -> tuple[str, str] | None:
        source, severity = entry.source, entry.severity
        if source not in SOURCES:
            if source:
                return "source", f"{source} is no value of it; known are {', '.join(numbers(SOURCE))}"
            entry.source = pb.LOG_SOURCE_STDOUT
        if severity not in SEVERITIES:
            if severity:
                return "severity", f"{severity} is no value of it; known are {', '.join(numbers(SEVERITY))}"
            entry.severity = severity = common_pb2.SEVERITY_INFO
        self._severities.append(severity)
        return None

    def _time(self, entry: pb.LogEntry, index: int, arrival: Timestamp) -> tuple[str, str] | None:
        if not entry.HasField("time"):
            entry.time.CopyFrom(arrival)
            self._untimed.add(index)
        time = entry.time
        seconds, nanos = time.seconds, time.nanos
        if not (EARLIEST <= seconds <= LATEST and 0 <= nanos < NANOSECONDS):
            return "time", "must be a time of the years 1 to 9999"
        self._times.append(seconds * NANOSECONDS + nanos)
        return None

    def chunks(self, stream_name: str, stage_id: UUID | None, after: int) -> list[Chunk]:
        """Return the lines with sequences above `after`, as they are to be stored."""
        stage = "" if stage_id is None else str(stage_id)
        begin = after + 1 - self.first_sequence
        cuts = [begin, *self._cuts(begin), len(self._entries)]
        return [self._chunk(stream_name, stage, *span) for span in pairwise(cuts)]

    def _cuts(self, begin: int) -> list[int]:
        """Return where new chunks begin, so that none is too large."""
        room = MAX_CHUNK_BYTES - 2048
        if self.byte_size + len(self._sizes) * ENTRY_OVERHEAD <= room:
            return []
        cuts: list[int] = []
        size = 0
        for index in range(begin, len(self._entries)):
            more = self._sizes[index] + ENTRY_OVERHEAD
            if size + more > room and size:
                cuts.append(index)
                size = 0
            size += more
        return cuts

    def _chunk(self, stream_name: str, stage: str, begin: int, end: int) -> Chunk:
        entries = self._entries[begin:end]
        for entry in entries:
            entry.stage_id = stage
        answer = pb.TailLogsResponse(entries=pb.LogEntries(entries=entries, stream_name=stream_name))
        times = self._times[begin:end]
        return Chunk(
            first_sequence=self.first_sequence + begin,
            last_sequence=self.first_sequence + end - 1,
            entry_count=end - begin,
            byte_size=sum(self._sizes[begin:end]),
            max_severity=max(self._severities[begin:end]),
            first_time=_datetime(min(times)),
            last_time=_datetime(max(times)),
            payload=answer.SerializeToString(),
        )

    def first_difference(self, payload: bytes) -> int | None:
        """Return the lowest sequence that says something else in a stored chunk; None when there is none."""
        for stored in pb.TailLogsResponse.FromString(payload).entries.entries:
            index = stored.sequence - self.first_sequence
            if 0 <= index < len(self._entries):
                entry = self._entries[index]
                entry.stage_id = stored.stage_id
                if index in self._untimed:  # it arrived at another time
                    entry.time.CopyFrom(stored.time)
                if entry != stored:
                    return stored.sequence
        return None


def _datetime(nanoseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def appended_lines(request: pb.AppendLogsRequest, arrived: datetime) -> NumberedLines:
    """Read the lines of AppendLogs; raises InvalidInput."""
    return _numbered(request, request.first_sequence, arrived, "", finish=request.finish)


def written_lines(request: pb.WriteLogsRequest, arrived: datetime) -> NumberedLines:
    """Read the lines, or the end, that a message of WriteLogs after the first brings; raises InvalidInput."""
    action = request.WhichOneof("action")
    if action == "append":
        return _numbered(request.append, request.append.first_sequence, arrived, "append.")
    if action == "finish":
        last = request.finish.last_sequence
        if not 0 <= last <= MAX_SEQUENCE:
            raise InvalidInput(Violation("finish.last_sequence", f"must be 0 to {MAX_SEQUENCE}"))
        return NumberedLines((), last + 1, arrived, finish=True)
    raise InvalidInput(Violation(action or "action", "must be append or finish after the first message"))


def _numbered(
    holder: pb.AppendLogsRequest | pb.WriteLogsRequest.Append,
    first_sequence: int,
    arrived: datetime,
    path: str,
    *,
    finish: bool = False,
) -> NumberedLines:
    wrong = []
    if not 1 <= first_sequence <= MAX_SEQUENCE:
        wrong.append(Violation(f"{path}first_sequence", f"must be 1 to {MAX_SEQUENCE}"))
    if len(holder.entries) > MAX_ENTRIES:
        wrong.append(Violation(f"{path}entries", f"must be at most {MAX_ENTRIES:,}"))
    if wrong:
        raise InvalidInput(*wrong)
    holder.DiscardUnknownFields()  # they would be stored
    return NumberedLines(holder.entries, first_sequence, arrived, f"{path}entries", finish=finish)


def system_line(text: str, now: datetime) -> NumberedLines:
    """Write what the server itself has to say."""
    entry = pb.LogEntry(source=pb.LOG_SOURCE_SYSTEM, severity=common_pb2.SEVERITY_ERROR, text=text)
    return NumberedLines((entry,), 1, now)
