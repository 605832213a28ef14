"""How an export writes a row: as CSV for spreadsheets, or as JSON lines, which is what blocks are hashed over."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
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
_cells = itemgetter(*(COLUMNS.index(name) + 1 for name in ORDER))  # in a row, after its position

Write = Callable[[Any, str], bytes]
"""Returns a row, in a block of that number, as a line with its end."""


@dataclass(frozen=True)
class Format:
    """How rows are written.

    Attributes:
        writer: Makes what writes the rows of a part.
        shows_block: Whether it wants to know the number of a row's block.
    """

    writer: Callable[[], Write]
    shows_block: bool = False


class _Line:
    """Takes what the csv module writes, and hands it back."""

    def write(self, line: str) -> str:
        """Return the line."""
        return line


def inert(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: with an apostrophe before what could be one."""
    return f"'{cell}" if cell[:1] in FORMULA else cell


def csv_writer() -> Write:
    """Return what writes rows as RFC 4180 has it, one at a time."""
    write = csv.writer(_Line(), lineterminator="\r\n").writerow
    return lambda row, block: write([inert(cell) for cell in _cells((*row, block))]).encode()


def json_writer() -> Write:
    """Return what writes rows as JSON."""
    return lambda row, _: row_line(*row[1:]) + b"\n"


HEADER = csv_writer()(("", *COLUMNS[:-1]), COLUMNS[-1])
FORMATS = {
    AuditExportFormat.CSV: Format(csv_writer, shows_block=True),
    AuditExportFormat.JSON_LINES: Format(json_writer),
}
