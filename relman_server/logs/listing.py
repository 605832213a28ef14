"""Lists of lines: one page of a log, in the order in which lines were committed."""

from dataclasses import dataclass, field
from typing import Any

from relman_server.kernel.db.transaction import Reading
from relman_server.logs import chunks, convert, store
from relman_server.logs.cursor import Place, decode_token, encode_token
from relman_server.logs.inputs import DEFAULT_PAGE, MAX_PAGE, ListLogs

ANSWER_BYTES = 2 * 1024 * 1024
"""A page is full with the line that goes beyond this, so it stays below the largest message."""
SEARCHED_BYTES = 16 * 1024 * 1024
"""A page ends when so much was read for it, so that a filter that matches nothing costs little a call."""


@dataclass
class Page:
    """One page of a log.

    Attributes:
        total_size: Lines of the whole log, before filters.
        entries: The lines, as the contract has them.
        next_page_token: Token of the next page; empty on the last.
    """

    total_size: int
    room: int
    entries: list[Any] = field(default_factory=list)  # messages, which only convert.py knows
    next_page_token: str = ""
    _bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether no more lines fit."""
        return len(self.entries) >= self.room or self._bytes >= ANSWER_BYTES

    def take(self, found: "list[convert.Found]") -> int | None:
        """Add lines; return the index in its chunk of the first that did not fit, None when all did."""
        for line in found:
            if self.is_full:
                return line.index
            self.entries.append(line.entry)
            self._bytes += line.entry.ByteSize()
        return None


def list_logs(tx: Reading, asked: ListLogs) -> Page:
    """Return one page of a log.

    Raises NotFound for an unknown deployment or stage, and InvalidInput for a stage of another deployment or the page
    token of another list.
    """
    log = store.readable(tx, asked.deployment, asked.stage)
    wanted = convert.wanted(asked, log.stage_id)
    page = Page(log.entry_count, room=min(asked.page_size or DEFAULT_PAGE, MAX_PAGE))
    place = decode_token(asked, log.position)
    searched = 0
    while place.position < log.position and not page.is_full and searched < SEARCHED_BYTES:
        batch = chunks.read(tx, asked.deployment, place.position, log.position, wanted)
        for chunk in batch.chunks:
            rest = page.take(convert.find(chunk.payload, wanted, place.skip_in(chunk.position)))
            if rest is not None:
                page.next_page_token = encode_token(asked, Place(chunk.position - 1, rest))
                return page
            searched += len(chunk.payload)
        place = Place(batch.reached)
    if place.position < log.position:
        page.next_page_token = encode_token(asked, place)
    return page
