"""How an export writes a row: as CSV for spreadsheets, or as JSON lines, which is what blocks are hashed over."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relman_client.audit_chain import row_line
from relman_server.audit.inputs import AuditExportFormat

# What a spreadsheet may take for the beginning of a formula, or for something that hides one:
# https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = frozenset("=+-@\t\r\n")
COLUMNS = (
    "action",
    "created_at",
    "details",
    "id",
    "ip_address",
    "outcome",
    "request_id",
    "resource_id",
    "resource_type",
    "user_agent",
    "user_id",
    "username",
    "block",
)
ORDER = (
    "id",
    "created_at",
    "username",
    "user_id",
    "action",
    "resource_type",
    "resource_id",
    "outcome",
    "ip_address",
    "user_agent",
    "request_id",
    "block",
    "details",
)
_PLACES = tuple(COLUMNS.index(name) + 1 for name in ORDER)  # in a row, after its position


@dataclass(frozen=True)
class Format:
    """How rows are written.

    Attributes:
        write: Returns a row as a line, with its end.
        shows_block: Whether a row comes with the number of its block.
    """

    write: Callable[[Any], bytes]
    shows_block: bool = False


def inert(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: with an apostrophe before what could be one."""
    return f"'{cell}" if cell[:1] in FORMULA and cell else cell


def _csv(cells: list[Any]) -> bytes:
    """Return a line as RFC 4180 has it."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode()


def csv_line(row: Any) -> bytes:
    """Return a row as a line of CSV."""
    return _csv([inert(cell) if isinstance(cell, str) else cell for cell in (row[place] for place in _PLACES)])


def json_line(row: Any) -> bytes:
    """Return a row as a line of JSON."""
    return row_line(*row[1:]) + b"\n"


HEADER = _csv(list(ORDER))
FORMATS = {
    AuditExportFormat.CSV: Format(csv_line, shows_block=True),
    AuditExportFormat.JSON_LINES: Format(json_line),
}
