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
from relman_server.logs import wire
from relman_server.logs.inputs import MAX_CHUNK_BYTES, MAX_ENTRIES, MAX_SEQUENCE, MAX_TEXT_BYTES, Chunk

Holder = pb.AppendLogsRequest | pb.WriteLogsRequest.Append

SOURCE = pb.DESCRIPTOR.enum_types_by_name["LogSource"]
SEVERITY = common_pb2.DESCRIPTOR.enum_types_by_name["Severity"]
ENTRY_OVERHEAD = 96
"""Bytes that an entry takes besides its text, at most."""
EARLIEST, LATEST = -62_135_596_800, 253_402_300_799  # the years 1 to 9999


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
        holder: Holder,
        first_sequence: int,
        arrived: datetime,
        path: str = "entries",
        *,
        finish: bool = False,
    ) -> None:
        """Complete the entries, in place.

        Args:
            holder: What they came in; it is left with nothing else.
            first_sequence: Of the first of them.
            arrived: Time of the entries that carry none.
            path: Where the entries are in the request, for violations.
            finish: Whether the stream ends with them.

        Raises:
            InvalidInput: With everything that is wrong with them.
        """
        self.first_sequence = first_sequence
        self.last_sequence = first_sequence + len(holder.entries) - 1
        self.finish = finish
        self._untimed: set[int] = set()
        _leave_entries(holder)
        self._serialize(holder)
        look = wire.look(self._data, self._spans)
        if look is None or max(look.sizes, default=0) > MAX_TEXT_BYTES:
            look = self._complete(holder.entries, timestamp(arrived), path)
            self._serialize(holder)
        self._look = look
        self.byte_size = sum(look.sizes)

    def _serialize(self, holder: Holder) -> None:
        self._data = holder.SerializeToString()
        self._spans = wire.spans(self._data)

    def _complete(self, entries: Sequence[pb.LogEntry], arrival: Timestamp, path: str) -> wire.Look:
        """Look at each line: complete what is not said, and find what is wrong."""
        look = wire.Look()
        wrong: list[Violation] = []
        for index, entry in enumerate(entries):
            if not entry.HasField("time"):
                entry.time.CopyFrom(arrival)
                self._untimed.add(index)
            problem = _complete_text(entry) or _complete_enums(entry) or _time_problem(entry.time)
            if problem:
                field, description = problem
                wrong.append(Violation(f"{path}[{index}].{field}", description))
            else:
                entry.ClearField("sequence")
                entry.ClearField("stage_id")
                look.note(_size(entry.text), entry.severity, wire.time_of(entry.time.seconds, entry.time.nanos))
        if wrong:
            raise InvalidInput(*wrong)
        return look

    def chunks(self, stream_name: str, stage_id: UUID | None, after: int) -> list[Chunk]:
        """Return the lines with sequences above `after`, as they are to be stored."""
        stage = "" if stage_id is None else str(stage_id)
        begin = after + 1 - self.first_sequence
        cuts = [begin, *self._cuts(begin), len(self._spans)]
        return [self._chunk(stream_name, stage, *span) for span in pairwise(cuts)]

    def _cuts(self, begin: int) -> list[int]:
        """Return where new chunks begin, so that none is too large."""
        sizes = self._look.sizes
        room = MAX_CHUNK_BYTES - 2048
        if self.byte_size + len(sizes) * ENTRY_OVERHEAD <= room:
            return []
        cuts: list[int] = []
        size = 0
        for index in range(begin, len(sizes)):
            more = sizes[index] + ENTRY_OVERHEAD
            if size + more > room and size:
                cuts.append(index)
                size = 0
            size += more
        return cuts

    def _chunk(self, stream_name: str, stage: str, begin: int, end: int) -> Chunk:
        first = self.first_sequence + begin
        times = self._look.times[begin:end]
        return Chunk(
            first_sequence=first,
            last_sequence=self.first_sequence + end - 1,
            entry_count=end - begin,
            byte_size=sum(self._look.sizes[begin:end]),
            max_severity=max(self._look.severities[begin:end]),
            first_time=_datetime(wire.nanoseconds(min(times))),
            last_time=_datetime(wire.nanoseconds(max(times))),
            payload=wire.answer(self._data, self._spans[begin:end], first, stage, stream_name),
        )

    def first_difference(self, payload: bytes) -> int | None:
        """Return the lowest sequence that says something else in a stored chunk; None when there is none."""
        for stored in pb.TailLogsResponse.FromString(payload).entries.entries:
            index = stored.sequence - self.first_sequence
            if 0 <= index < len(self._spans):
                begin, end = self._spans[index]
                entry = parsed(self._data[begin:end])
                entry.sequence, entry.stage_id = stored.sequence, stored.stage_id
                if index in self._untimed:  # it arrived at another time
                    entry.time.CopyFrom(stored.time)
                if entry != stored:
                    return stored.sequence
        return None


parsed = pb.LogEntry.FromString


def _leave_entries(holder: Holder) -> None:
    holder.DiscardUnknownFields()  # they would be stored
    for field, _ in holder.ListFields():
        if field.name != "entries":
            holder.ClearField(field.name)  # type: ignore[arg-type]  # a name of whichever message it is


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _complete_text(entry: pb.LogEntry) -> tuple[str, str] | None:
    if _size(entry.text) > MAX_TEXT_BYTES:
        return "text", "must be at most 64 KiB of UTF-8"
    if "\0" in entry.text:  # one database could not hold it, and a line must not be lost for that
        entry.text = entry.text.replace("\0", "\N{REPLACEMENT CHARACTER}")
        entry.text_repaired = True
    return None


def _complete_enums(entry: pb.LogEntry) -> tuple[str, str] | None:
    source, severity = entry.source, entry.severity
    if source not in wire.SOURCES:
        if source:
            return "source", f"{source} is no value of it; known are {', '.join(numbers(SOURCE))}"
        entry.source = pb.LOG_SOURCE_STDOUT
    if severity not in wire.SEVERITIES:
        if severity:
            return "severity", f"{severity} is no value of it; known are {', '.join(numbers(SEVERITY))}"
        entry.severity = common_pb2.SEVERITY_INFO
    return None


def _time_problem(time: Timestamp) -> tuple[str, str] | None:
    if EARLIEST <= time.seconds <= LATEST and 0 <= time.nanos < wire.NANOSECONDS:
        return None
    return "time", "must be a time of the years 1 to 9999"


def _datetime(nanoseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def appended_lines(request: pb.AppendLogsRequest, arrived: datetime) -> NumberedLines:
    """Read the lines of AppendLogs, and leave nothing else in the request; raises InvalidInput."""
    return _numbered(request, arrived, "", finish=request.finish)


def written_lines(request: pb.WriteLogsRequest, arrived: datetime) -> NumberedLines:
    """Read the lines, or the end, that a message of WriteLogs after the first brings; raises InvalidInput."""
    action = request.WhichOneof("action")
    if action == "append":
        return _numbered(request.append, arrived, "append.")
    if action == "finish":
        last = request.finish.last_sequence
        if not 0 <= last <= MAX_SEQUENCE:
            raise InvalidInput(Violation("finish.last_sequence", f"must be 0 to {MAX_SEQUENCE}"))
        return NumberedLines(pb.WriteLogsRequest.Append(), last + 1, arrived, finish=True)
    raise InvalidInput(Violation(action or "action", "must be append or finish after the first message"))


def _numbered(holder: Holder, arrived: datetime, path: str, *, finish: bool = False) -> NumberedLines:
    wrong = []
    first_sequence = holder.first_sequence
    if not 1 <= first_sequence <= MAX_SEQUENCE:
        wrong.append(Violation(f"{path}first_sequence", f"must be 1 to {MAX_SEQUENCE}"))
    if len(holder.entries) > MAX_ENTRIES:
        wrong.append(Violation(f"{path}entries", f"must be at most {MAX_ENTRIES:,}"))
    if wrong:
        raise InvalidInput(*wrong)
    return NumberedLines(holder, first_sequence, arrived, f"{path}entries", finish=finish)


def system_line(text: str, now: datetime) -> NumberedLines:
    """Write what the server itself has to say."""
    entry = pb.LogEntry(source=pb.LOG_SOURCE_SYSTEM, severity=common_pb2.SEVERITY_ERROR, text=text)
    return NumberedLines(pb.WriteLogsRequest.Append(entries=[entry]), 1, now)
