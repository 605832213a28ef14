"""How an export writes rows: as CSV for spreadsheets, or as JSON lines, which is what blocks are hashed over.

Rows are written many at a time: for each alone, the csv module would take five times as long.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relman_client.audit_chain import row_line
from relman_server.audit.inputs import AuditExportFormat
from relman_server.audit.walking import Row

# What a spreadsheet may take for the beginning of a formula, or for something that hides one:
# https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = frozenset("=+-@\t\r\n")
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

Write = Callable[[Sequence[Row], int], list[bytes]]
"""Returns rows that are in a block of that number as lines, each with its end."""


@dataclass(frozen=True)
class Format:
    """How rows are written.

    Attributes:
        write: Writes some.
        shows_block: Whether it wants to know the number of their block.
    """

    write: Write
    shows_block: bool = False


def inert(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: with an apostrophe before what could be one."""
    return f"'{cell}" if cell[:1] in FORMULA else cell


def quoted(cell: str) -> str:
    """Return a cell as RFC 4180 has it, in quotes where it needs them."""
    if '"' in cell or "," in cell or "\n" in cell or "\r" in cell:
        doubled = cell.replace('"', '""')
        return f'"{doubled}"'
    return cell


class _Cells(dict[str, str]):
    """Cells by the texts in them; of what many rows have, each is made once."""

    def __missing__(self, text: str) -> str:
        self[text] = cell = quoted(inert(text))
        return cell


def write_csv(rows: Sequence[Row], block: int) -> list[bytes]:
    """Write rows as RFC 4180 has it. Ids and times need no quotes, and details, an object, begin no formula."""
    cells = _Cells()
    return [
        (
            f"{id_},{created_at},{cells[username]},{user_id},{cells[action]},{cells[resource_type]}"
            f",{cells[resource_id]},{cells[outcome]},{cells[ip_address]},{cells[user_agent]},{cells[request_id]}"
            f",{block},{quoted(details)}\r\n"
        ).encode()
        for (
            _,
            action,
            created_at,
            details,
            id_,
            ip_address,
            outcome,
            request_id,
            resource_id,
            resource_type,
            user_agent,
            user_id,
            username,
        ) in rows
    ]


def write_json(rows: Sequence[Row], _: int) -> list[bytes]:
    """Write rows as JSON."""
    return [row_line(*row[1:]) + b"\n" for row in rows]


HEADER = f"{','.join(ORDER)}\r\n".encode()
FORMATS = {
    AuditExportFormat.CSV: Format(write_csv, shows_block=True),
    AuditExportFormat.JSON_LINES: Format(write_json),
}
