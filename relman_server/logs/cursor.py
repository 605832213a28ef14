"""Places in a log, and how callers are told them: cursors of tails and page tokens of lists, both opaque."""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from uuid import UUID

from relman_server.kernel.errors import InvalidInput, OutOfRange, Violation
from relman_server.logs.inputs import ListLogs

_FORM = struct.Struct(">16sQI")


@dataclass(frozen=True)
class Place:
    """Where a reader stands.

    Attributes:
        position: Everything up to this chunk is done.
        skip: So are this many entries of the chunk after it.
    """

    position: int
    skip: int = 0

    def skip_in(self, position: int) -> int:
        """Return how many entries of a chunk that comes next are done."""
        return self.skip if position == self.position + 1 else 0


BEGINNING = Place(0)


def encode_cursor(deployment_id: UUID, place: Place) -> str:
    """Return the text that stands for a place."""
    return _text(_FORM.pack(deployment_id.bytes, place.position, place.skip))


def decode_cursor(text: str, deployment_id: UUID, head: int) -> Place:
    """Return the place that a cursor stands for.

    Raises InvalidInput for what was never a cursor, and OutOfRange for one of another log, or ahead of this one.
    """
    try:
        owner, position, skip = _FORM.unpack(_data(text))
    except (ValueError, struct.error) as error:
        raise InvalidInput(Violation("cursor", "is damaged: pass on the cursor of an answer as it came")) from error
    place = Place(position, skip)
    if owner != deployment_id.bytes or not _within(place, head):
        raise OutOfRange("The cursor belongs to another log, or to another database: start again from the beginning.")
    return place


def encode_token(wanted: ListLogs, place: Place) -> str:
    """Return the text that stands for the next page of a list."""
    return _text(_fingerprint(wanted) + _FORM.pack(wanted.deployment.bytes, place.position, place.skip))


def decode_token(wanted: ListLogs, head: int) -> Place:
    """Return where the page begins that a list asks for; raises InvalidInput for tokens of other lists."""
    if not wanted.page_token:
        return BEGINNING
    try:
        data = _data(wanted.page_token)
        _, position, skip = _FORM.unpack(data[8:])
    except (ValueError, struct.error) as error:
        raise _bad_token("is damaged: pass on the next_page_token as it came") from error
    place = Place(position, skip)
    if data[:8] != _fingerprint(wanted) or not _within(place, head):
        raise _bad_token("belongs to other filters: keep them the same from page to page")
    return place


def _within(place: Place, head: int) -> bool:
    return place.position < head or place == Place(head)


def _fingerprint(wanted: ListLogs) -> bytes:
    said = wanted.model_dump_json(exclude={"page_size", "page_token"})
    return hashlib.sha256(said.encode()).digest()[:8]


def _bad_token(description: str) -> InvalidInput:
    return InvalidInput(Violation("page_token", description), reason="INVALID_PAGE_TOKEN")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _data(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error
