"""Printing messages: as JSON for programs, as tables for people, as plain columns for files."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.cli.text import STYLES, ago, coloured, exact, has_colours, is_terminal, safe

M = TypeVar("M")
Columns = Mapping[str, Callable[[M], str]]
"""Title and text of each column. A title in angle brackets, `<id>`, marks one that is never cut."""

_HIDDEN = frozenset({"etag"})  # of use to programs only, which read JSON
_SHORT = 24  # columns that are no wider are never broken
_TOLD_WHEN_FALSE = frozenset({"allowed", "is_active"})
_NOT_ASCII_CONTROLS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def print_json(value: Any) -> None:  # whatever json takes
    """Indented on a terminal and in files alike; characters that a terminal may act on are escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    sys.stdout.write(_NOT_ASCII_CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n")


def print_json_line(value: Any) -> None:  # as above
    """One object on one line, at once."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    sys.stdout.write(_NOT_ASCII_CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n")
    sys.stdout.flush()


def as_json(message: Message) -> dict[str, Any]:
    """Protobuf JSON with the contract's own names, in its order; fields that are not set say so."""
    fields = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    ordered: dict[str, Any] = _in_order(fields, message.DESCRIPTOR)
    return ordered


def _in_order(fields: Any, descriptor: Any) -> Any:  # JSON, and a descriptor of either of protobuf's two types
    if isinstance(fields, list):
        return [_in_order(item, descriptor) for item in fields]
    if not isinstance(fields, dict) or descriptor.full_name.startswith("google.") or descriptor.GetOptions().map_entry:
        return fields
    return {
        field.name: _in_order(fields[field.name], field.message_type) if field.message_type else fields[field.name]
        for field in descriptor.fields
        if field.name in fields
    }


def print_rows(columns: Columns[M], messages: Iterable[M]) -> None:
    """One line for each message."""
    rows = [[safe(cell(message).replace("\n", " ")) for cell in columns.values()] for message in messages]
    if is_terminal(sys.stdout):
        _print_table(list(columns), rows)
    else:
        _print_columns([title.strip("<>") for title in columns], rows)


def print_fields(message: Message, tables: Sequence[tuple[str, Columns[Any]]] = ()) -> None:
    """Every field that is set on a line of its own; lists of messages as tables after them."""
    lines = [(name.replace("_", " "), text) for name, text in _fields(message, without=dict(tables))]
    width = max((len(name) for name, _ in lines), default=0)
    colours = has_colours(sys.stdout)
    for name, text in lines:
        for number, line in enumerate(text.splitlines() or [""]):
            title = name.ljust(width) if number == 0 else " " * width
            value = safe(line)
            if colours:
                title, value = coloured(title, "dim"), coloured(value, STYLES.get(value, ""))
            sys.stdout.write(f"{title}  {value}".rstrip() + "\n")
    for name, columns in tables:
        if items := getattr(message, name):
            title = name.replace("_", " ")
            sys.stdout.write(f"\n{coloured(title, 'bold') if colours else title}\n")
            print_rows(columns, items)


def word(message: Message, field: str) -> str:
    """An enum field's value for people: `in progress` for DEPLOYMENT_STATUS_IN_PROGRESS, empty when not said."""
    descriptor = message.DESCRIPTOR.fields_by_name[field]
    return _enum_word(descriptor, getattr(message, field))


def when(message: Message, field: str) -> str:
    """A timestamp field for people: `3 min ago` on a terminal, in full in a file; empty when it is not set."""
    if not message.HasField(field):
        return ""
    moment = to_datetime(getattr(message, field))
    return ago(moment) if is_terminal(sys.stdout) else _in_full(moment)


def to_datetime(timestamp: Timestamp) -> datetime:
    """A timestamp as a time of the caller's zone-aware kind."""
    return timestamp.ToDatetime(tzinfo=UTC)


def _in_full(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# A descriptor is of one of two types that only have their names in common, hence Any.


def _enum_word(field: Any, number: int) -> str:
    value = field.enum_type.values_by_number.get(number)
    if value is None:  # of a newer server
        return str(number)
    prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return value.name.removeprefix(prefix).lower().replace("_", " ") if number else ""


def _fields(message: Message, without: Container[str] = ()) -> list[tuple[str, str]]:
    """Names and texts of the fields that say something."""
    texts = [
        (field.name, _field_text(message, field)) for field in message.DESCRIPTOR.fields if field.name not in without
    ]
    return [(name, text) for name, text in texts if text and name not in _HIDDEN]


def _field_text(message: Message, field: Any) -> str:
    value = getattr(message, field.name)
    if field.message_type and field.message_type.GetOptions().map_entry:
        return "\n".join(f"{key}={value[key]}" for key in sorted(value))
    if field.is_repeated:
        return "\n".join(_text(field, item) for item in value)
    if field.has_presence and not message.HasField(field.name):
        return ""
    if value is False:
        return "no" if field.name in _TOLD_WHEN_FALSE else ""
    return _text(field, value)


def _text(field: Any, value: Any) -> str:
    if field.enum_type:
        return _enum_word(field, value)
    if isinstance(value, Message):
        return _message_text(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value else ""


def _message_text(value: Message) -> str:
    if isinstance(value, Timestamp):
        moment = to_datetime(value)
        return f"{_in_full(moment)} ({ago(moment)})" if is_terminal(sys.stdout) else _in_full(moment)
    if isinstance(value, Duration):
        span = timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
        return exact(span) if span else ""
    fields = dict(_fields(value))
    if "id" in fields and "name" in fields:  # a resource within another one
        return fields["name"]
    return ", ".join(f"{name.replace('_', ' ')}: {text}" for name, text in fields.items())


def _print_columns(titles: list[str], rows: list[list[str]]) -> None:
    """Aligned, two spaces apart, nothing cut."""
    lines = [[title.upper() for title in titles], *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    for line in lines:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")


def _print_table(titles: list[str], rows: list[list[str]]) -> None:
    """Fitted to the terminal: columns in which nothing stands are left out, only long texts are broken, never ids."""
    shown = [number for number in range(len(titles)) if any(row[number] for row in rows)]
    longest = {number: max(len(titles[number].strip("<>")), *(len(row[number]) for row in rows)) for number in shown}
    whole = {number for number in shown if titles[number].startswith("<") or longest[number] <= _SHORT}
    needed = sum(longest[number] if number in whole else _SHORT for number in shown) + 3 * len(shown)
    if needed > shutil.get_terminal_size().columns:
        _print_cards([[row[number] for number in shown] for row in rows])
        return
    from rich import box  # noqa: PLC0415 - only terminals pay for it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for number in shown:
        table.add_column(titles[number].strip("<>"), no_wrap=number in whole, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[number], style=STYLES.get(row[number], "")) for number in shown))
    Console(highlight=False, markup=False, emoji=False).print(table)


def _print_cards(rows: list[list[str]]) -> None:
    """For narrow terminals: the first column on a line of its own, the rest below it."""
    colours = has_colours(sys.stdout)
    for first, *rest in rows:
        shown = [coloured(cell, STYLES.get(cell, "")) if colours else cell for cell in rest if cell]
        sys.stdout.write(f"{coloured(first, 'bold') if colours else first}\n  {'  '.join(shown)}\n")
