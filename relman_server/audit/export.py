"""Exporting: all rows that are committed at the beginning, oldest first, resumable after each part.

Each part is read by itself, and no connection is held while the caller takes it.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement

from relman_server.audit import convert, store, walking
from relman_server.audit.formats import FORMATS, HEADER, Format
from relman_server.audit.inputs import AuditExportFormat, ExportAuditLogs
from relman_server.audit.store import FindUser
from relman_server.audit.walking import Place, position_of
from relman_server.kernel.db import Database
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.errors import InvalidInput, OutOfRange, Violation
from relman_server.kernel.streams.delivery import Delivery

PART_BYTES = 256 * 1024
"""A part is full with the line that goes beyond this."""
_FORM = struct.Struct(">16s8sQQ")


@dataclass(frozen=True)
class _Export:
    """What is exported.

    Attributes:
        log_id: Of which database.
        fingerprint: Of the filters and the format.
        until: Position of the last row.
        where: The filters.
        with_blocks: Whether blocks are written: where all of their rows are.
    """

    log_id: UUID
    fingerprint: bytes
    until: int
    where: Sequence[ColumnElement[bool]]
    with_blocks: bool
    format: Format

    def cursor(self, place: Place) -> str:
        """Return the text that stands for a place."""
        data = _FORM.pack(self.log_id.bytes, self.fingerprint, place.position, place.block)
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    def place(self, cursor: str) -> Place:
        """Return the place that a cursor stands for.

        Raises InvalidInput for what was never one or belongs to other filters, and OutOfRange for one of another log.
        """
        try:
            data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            log_id, fingerprint, position, block = _FORM.unpack(data)
        except (binascii.Error, ValueError, struct.error) as error:
            raise InvalidInput(Violation("cursor", "is damaged: pass on the cursor of an answer as it came")) from error
        if log_id != self.log_id.bytes or position > self.until:
            raise OutOfRange("The cursor belongs to another database: start again from the beginning.")
        if fingerprint != self.fingerprint:
            raise InvalidInput(Violation("cursor", "belongs to other filters or another format: keep them the same"))
        return Place(position, block)


class _Sent(NamedTuple):
    """Whole lines, and the place after them."""

    data: bytes
    place: Place


async def export(db: Database, delivery: Delivery, asked: ExportAuditLogs, find_user: FindUser) -> None:
    """Send the log.

    Raises NotFound for an unknown user, what `_Export.place` raises, and whatever ends the stream.
    """
    wanted = await delivery.wait(db.read(_begin, asked, find_user))
    place = wanted.place(asked.cursor) if asked.cursor else Place()
    with delivery.resumable():
        if not asked.cursor and asked.format is AuditExportFormat.CSV:
            cursor = wanted.cursor(place)
            await delivery.send(convert.export_part(HEADER, cursor), cursor)
        is_last = False
        while not is_last:
            parts, place, is_last = await delivery.wait(db.snapshot(_next, wanted, place))
            for part in parts:
                cursor = wanted.cursor(part.place)
                await delivery.send(convert.export_part(part.data, cursor), cursor)
            delivery.reached(wanted.cursor(place))


def _begin(tx: Reading, asked: ExportAuditLogs, find_user: FindUser) -> _Export:
    where = store.conditions(tx, asked, find_user)
    said = asked.model_dump_json(exclude={"cursor"})
    return _Export(
        log_id=store.chain(tx).id,
        fingerprint=hashlib.sha256(said.encode()).digest()[:8],
        until=store.settled_position(tx),
        where=where,
        with_blocks=asked.format is AuditExportFormat.JSON_LINES and not where,
        format=FORMATS[asked.format],
    )


def _next(tx: Reading, wanted: _Export, place: Place) -> tuple[list[_Sent], Place, bool]:
    """Return what comes after a place, in parts; the place after that, and whether it was the last."""
    part = walking.read(tx, place, wanted.until, wanted.where)
    following = store.block_after(tx, part.place.position) if wanted.format.shows_block else 0
    pruned = store.chain(tx).pruned_position
    sent: list[_Sent] = []
    lines: list[bytes] = []
    size = 0
    for line, position, number in _lines(part, place, wanted, pruned, following):
        lines.append(line)
        size += len(line)
        if size >= PART_BYTES:
            sent.append(_Sent(b"".join(lines), Place(position, number)))
            lines, size = [], 0
    if lines:
        sent.append(_Sent(b"".join(lines), part.place))
    return sent, part.place, part.is_last


def _lines(
    part: walking.Part, place: Place, wanted: _Export, pruned: int, following: int
) -> Iterator[tuple[bytes, int, int]]:
    """Yield lines with their ends, and the position and block of the place after each.

    Rows after the last block of the part are in the block that is `following`, or in none when that is 0.
    """
    position, number = place.position, place.block
    write = wanted.format.write
    for rows, block in walking.merged(part):
        for row, line in zip(rows, write(rows, block.number if block else following), strict=True):
            position = position_of(row)
            yield line, position, number
        number = block.number if block else number
        if block and wanted.with_blocks:
            yield walking.block(block, pruned).line() + b"\n", position, number
