"""Rows to messages: columns named as the contract's fields, in the contract's types.

`writer(pb.Release)` is all a convert.py says of a plain resource. Columns that are None leave their field unset.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Protocol, TypeVar
from uuid import UUID

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from relman_server.kernel.db.model import etag
from relman_server.kernel.paging import Listed
from relman_server.kernel.rpc import descriptors

M = TypeVar("M", bound=Message)


class Rows(Protocol):
    """Rows of which an answer may hold only the first ones."""

    @property
    def rows(self) -> Sequence[Any]:
        """All of them."""

    @property
    def next_page_token(self) -> str:
        """Token of what comes after them."""

    @property
    def token_after(self) -> Callable[[Any], str]:
        """Returns the token of what comes after one of them."""


PAGE_BYTES = 3_500_000

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)

# A row of a select, an entity, or a mapping of JSON: whatever has the fields.
Source = Any
Convert = Callable[[Any], Any]


def writer(message: type[M], **computed: Callable[[Source], Any]) -> Callable[[Source], M]:
    """Return the function that writes a row as such a message.

    Args:
        message: What to write.
        computed: Fields that are not simply a column: functions of the row; None leaves the field unset.
    """
    descriptor: Any = message.DESCRIPTOR  # upb's class, which the stubs tell apart from the one they document
    unknown = set(computed) - set(descriptor.fields_by_name)
    if unknown:
        raise TypeError(f"{descriptor.full_name} has no {sorted(unknown)}")
    if "etag" in descriptor.fields_by_name:
        computed.setdefault("etag", lambda row: etag(row.id, row.row_version))
    plain = [(field.name, _converter(field)) for field in descriptor.fields if field.name not in computed]

    names = [name for name, _ in plain]
    read = _attributes(names)

    def write(row: Source) -> M:
        found = [row.get(name) for name in names] if isinstance(row, Mapping) else read(row)
        pairs = zip(plain, found, strict=True)
        values = {name: convert(value) for (name, convert), value in pairs if value is not None}
        for name, compute in computed.items():
            value = compute(row)
            if value is not None:
                values[name] = value
        return message(**values)

    return write


def _attributes(names: Sequence[str]) -> Callable[[Source], Sequence[Any]]:
    """Return the function that reads attributes of a row, all at one go."""
    if not names:
        return lambda row: ()
    read = attrgetter(*names)
    return read if len(names) > 1 else lambda row: (read(row),)


def page_writer(message: type[M], plural: str, write: Callable[[Source], Message]) -> Callable[[Listed], M]:
    """Return the function that writes a page of rows as such a list response.

    A page of large rows ends before clients refuse it; its token goes on with the rest.
    """

    def write_page(listed: Listed) -> M:
        resources, token = fitting_rows(listed, write)
        return message(
            **{plural: resources},
            next_page_token=token,
            total_size=listed.total_size,
            total_is_exact=listed.total_is_exact,
            page=listed.page,
            page_size=listed.page_size,
            total_pages=listed.total_pages,
        )

    return write_page


def fitting_rows(found: Rows, write: Callable[[Source], M]) -> tuple[list[M], str]:
    """Return the first rows as messages, as many as `fitting` has room for, and the token of what comes after."""
    messages = fitting(write(row) for row in found.rows)
    if len(messages) < len(found.rows):
        return messages, found.token_after(found.rows[len(messages) - 1])
    return messages, found.next_page_token


def fitting(messages: Iterable[M]) -> list[M]:
    """Return the first messages, as many as clients take in one answer (most take 4 MiB), and at least one."""
    chosen: list[M] = []
    size = 0
    for message in messages:
        size += message.ByteSize() + 8  # with its tag and length
        if chosen and size > PAGE_BYTES:
            break
        chosen.append(message)
    return chosen


def empty(_: object) -> Empty:
    """Write the answer of a deletion."""
    return Empty()


def timestamp(moment: datetime | str) -> Timestamp:
    """Return a time as the contract has it; ISO text (of JSON columns) is read first."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    since = moment - EPOCH
    return Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)


def duration(span: timedelta | float) -> Duration:
    """Return a span as the contract has it; numbers are seconds."""
    if not isinstance(span, timedelta):
        span = timedelta(seconds=span)
    seconds, rest = divmod(span, _SECOND)
    return Duration(seconds=seconds, nanos=rest.microseconds * 1000)


def _converter(field: FieldDescriptor) -> Convert:
    if descriptors.is_map(field):
        return dict
    convert = _single(field)
    return (lambda items: [convert(item) for item in items]) if field.is_repeated else convert


def _single(field: FieldDescriptor) -> Convert:
    if field.enum_type is not None:
        return descriptors.numbers(field.enum_type).__getitem__
    if field.message_type is not None:
        if field.message_type.full_name == "google.protobuf.Timestamp":
            return timestamp
        if field.message_type.full_name == "google.protobuf.Duration":
            return duration
        return _nested(field)
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text
    return lambda value: value


def _nested(field: FieldDescriptor) -> Convert:
    """Convert on first use: a message may contain itself."""
    found: list[Convert] = []

    def convert(value: Any) -> Any:
        if isinstance(value, Message):
            return value
        if not found:
            assert field.message_type is not None
            found.append(writer(GetMessageClass(field.message_type)))
        return found[0](value)

    return convert


def _text(value: object) -> str:
    return str(value) if isinstance(value, UUID) else value  # type: ignore[return-value]  # text columns hold str
