"""Log entries read off their serialized form, and numbered in it.

A Python object for each line and for its time takes several times as long as everything else that is done with a line.
protobuf has parsed the message before, so it is well-formed, and writes it in one form: the fields that are set, in the
order of their numbers. What most writers send is read here; of any other form `look` makes nothing, and the entries are
read one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import common_pb2
from relman_client.v1 import log_pb2 as pb

SOURCES = frozenset(pb.LogSource.values()) - {pb.LOG_SOURCE_UNSPECIFIED}
SEVERITIES = frozenset(common_pb2.Severity.values()) - {common_pb2.SEVERITY_UNSPECIFIED}
NANOSECONDS = 1_000_000_000
_VARINT, _BYTES = 0, 2

Span = tuple[int, int]
"""Where the fields of an entry begin and end."""
Time = tuple[int, int, bytes]
"""Seconds, how many bytes the time takes, and the nanoseconds as a varint backwards: earlier times are smaller."""


def varint(number: int) -> bytes:
    """Return a number of at least 0 as protobuf writes it: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _number(backwards: bytes) -> int:
    number = 0
    for byte in backwards:
        number = number << 7 | byte & 127
    return number


def _tag(message: Any, name: str, kind: int) -> int:  # a generated class
    number: int = message.DESCRIPTOR.fields_by_name[name].number
    return number << 3 | kind


_SEQUENCE = bytes((_tag(pb.LogEntry, "sequence", _VARINT),))
_STAGE = bytes((_tag(pb.LogEntry, "stage_id", _BYTES),))
_ENTRY = bytes((_tag(pb.LogEntries, "entries", _BYTES),))
_STREAM = bytes((_tag(pb.LogEntries, "stream_name", _BYTES),))
_ENTRIES = bytes((_tag(pb.TailLogsResponse, "entries", _BYTES),))
_TIME = _tag(pb.LogEntry, "time", _BYTES)
_SECONDS = _tag(Timestamp, "seconds", _VARINT)
_NANOS = _tag(Timestamp, "nanos", _VARINT)
# Source, severity, and the tag of the text.
_KINDS = {
    bytes(
        (
            *(_tag(pb.LogEntry, "source", _VARINT), source),
            *(_tag(pb.LogEntry, "severity", _VARINT), severity),
            _tag(pb.LogEntry, "text", _BYTES),
        )
    ): severity
    for source in SOURCES
    for severity in SEVERITIES
}
_LENGTHS = [varint(length) for length in range(2048)]
_ALONE = [_SEQUENCE + bytes((low,)) for low in range(128)]
_FOLLOWED = [_SEQUENCE + bytes((low | 128,)) for low in range(128)]
_WITHOUT_NANOS, _LONGEST_TIME = 6, 12  # five bytes of seconds (1978 to 3058) and up to five of nanoseconds, with tags
_LAST_NANO = varint(NANOSECONDS - 1)[::-1]


def spans(data: bytes) -> list[Span]:
    """Return where the entries are in a serialized message that holds nothing else."""
    found: list[Span] = []
    begin = 0
    while begin < len(data):
        size = data[begin + 1]
        begin += 2
        if size > 127:
            size, begin = _length(data, begin - 1)
        found.append((begin, begin + size))
        begin += size
    return found


def _length(data: bytes, place: int) -> tuple[int, int]:
    """Return the length at a place, and where it ends."""
    size = data[place]
    place += 1
    shift = 7
    while size >> shift:  # the byte before was not the last one
        size = size ^ 1 << shift | data[place] << shift
        place += 1
        shift += 7
    return size, place


@dataclass(frozen=True)
class Look:
    """What entries say, one value an entry.

    Attributes:
        sizes: Bytes of their text.
        severities: The contract's numbers.
        times: See `Time`.
    """

    sizes: list[int] = field(default_factory=list)
    severities: list[int] = field(default_factory=list)
    times: list[Time] = field(default_factory=list)

    def note(self, size: int, severity: int, time: Time) -> None:
        """Take what the next entry says."""
        self.sizes.append(size)
        self.severities.append(severity)
        self.times.append(time)


def time_of(seconds: int, nanos: int) -> Time:
    """Return a time as `Look` has it."""
    backwards = varint(nanos)[::-1] if nanos else b""
    return seconds, _WITHOUT_NANOS + (1 + len(backwards) if nanos else 0), backwards


def nanoseconds(time: Time) -> int:
    """Return a time in nanoseconds since 1970."""
    seconds, _, backwards = time
    return seconds * NANOSECONDS + _number(backwards)


def look(data: bytes, where: Sequence[Span]) -> Look | None:
    """Look at entries that say time, source, severity and text, all of them known values, and nothing else.

    Returns None when one of them does not, or has NUL in its text. Texts may be of any size.
    """
    if b"\0" in data:
        return None
    found = Look()
    note_size, note_severity, note_time = found.sizes.append, found.severities.append, found.times.append
    known: dict[bytes, int] = {}
    for begin, end in where:
        length = data[begin + 1]
        if data[begin] != _TIME or not _WITHOUT_NANOS <= length <= _LONGEST_TIME:
            return None
        written = data[begin + 2 : begin + 8]
        seconds = known.get(written)
        if seconds is None:
            seconds = known[written] = _seconds(written)
        kind = begin + 2 + length
        nanos = data[kind - 1 : begin + 8 : -1]
        severity = _KINDS.get(data[kind : kind + 5])
        if not seconds or severity is None or (nanos and data[begin + 8] != _NANOS):
            return None
        if length == _LONGEST_TIME and nanos > _LAST_NANO:
            return None
        size = data[kind + 5]
        text = kind + 6
        if size > 127:
            size, text = _length(data, kind + 5)
        if text + size != end:
            return None
        note_size(size)
        note_severity(severity)
        note_time((seconds, length, nanos))
    return found


def _seconds(written: bytes) -> int:
    """Return the number that a tag and five bytes are; 0 when they are something else."""
    is_number = written[0] == _SECONDS and written[5] < 128 and all(byte > 127 for byte in written[1:5])
    return _number(written[:0:-1]) if is_number else 0


def answer(data: bytes, where: Sequence[Span], first_sequence: int, stage: str, stream_name: str) -> bytes:
    """Return the TailLogsResponse that has entries with their sequences and their stage; they have none yet."""
    of_stage = _STAGE + _text(stage) if stage else b""
    parts: list[bytes] = []
    high, numbers, more = _block(first_sequence, of_stage)
    for sequence, (begin, end) in enumerate(where, first_sequence):
        low = sequence & 127
        if not low:
            high, numbers, more = _block(sequence, of_stage)
        size = end - begin + more
        length = _LENGTHS[size] if size < len(_LENGTHS) else varint(size)
        parts += (_ENTRY, length, numbers[low], high, data[begin:end], of_stage)
    entries = b"".join((*parts, _STREAM, _text(stream_name)))
    return _ENTRIES + varint(len(entries)) + entries


def _block(sequence: int, of_stage: bytes) -> tuple[bytes, list[bytes], int]:
    """Return what 128 sequences share: all bytes but the first, their first ones, and how much an entry grows."""
    high = varint(sequence >> 7) if sequence > 127 else b""
    return high, _FOLLOWED if high else _ALONE, len(_SEQUENCE) + 1 + len(high) + len(of_stage)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return varint(len(encoded)) + encoded
