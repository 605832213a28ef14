"""What callers may say about logs; every bound is here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Protocol
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from relman_server.deployments.inputs import LeaseHeld
from relman_server.kernel.inputs import Id, Input, OptionalReference, Query

MAX_ENTRIES = 10_000
MAX_TEXT_BYTES = 64 * 1024
MAX_SEQUENCE = 2**62
MAX_CHUNK_BYTES = 1024 * 1024
"""Of a stored chunk, so that every answer that holds one stays below the largest message."""
MAX_PAGE = 10_000
DEFAULT_PAGE = 500

DEFAULT_STREAM = "@main"
"""Of lines that belong to no stage, unless they name another. No stage can have this name, nor the next one."""
SYSTEM_STREAM = "@relman"
"""What the server itself has to say in a deployment's log."""


def _stream_name(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


def _not_reserved(text: str) -> str:
    if text == SYSTEM_STREAM:
        raise ValueError(f"must not be {SYSTEM_STREAM!r}: that is the server's own stream")
    return text


StreamName = Annotated[str, StringConstraints(max_length=128), AfterValidator(_stream_name)]
WritableName = Annotated[StreamName, AfterValidator(_not_reserved)]


class Opening(Input):
    """Which stream to write to; a new name opens it."""

    deployment: Id
    stage: OptionalReference = None
    stream_name: Annotated[WritableName | None, BeforeValidator(lambda name: name or None)] = None
    lease: LeaseHeld | None = None


class WhichStream(Input):
    """Which stream to look at."""

    deployment: Id
    stream_name: StreamName


class Filter(Input):
    """Which log to read, and which lines of it."""

    deployment: Id
    stage: OptionalReference = None
    sources: list[str] = []
    min_severity: str | None = None
    contains: Query = ""


class ListLogs(Filter):
    """Which part of a log to list."""

    page_size: Annotated[int, Field(ge=0)] = 0
    page_token: Annotated[str, StringConstraints(max_length=1024)] = ""
    start_time: datetime | None = None


class TailLogs(Filter):
    """Where to start reading a log, and how long to go on. At most one of the three starts is set."""

    cursor: Annotated[str, StringConstraints(max_length=1024)] = ""
    start_time: datetime | None = None
    tail_lines: Annotated[int, Field(ge=0, le=MAX_ENTRIES)] | None = None
    follow: bool = False


class DownloadFormat(StrEnum):
    """How lines are written."""

    TEXT = "TEXT"
    JSON_LINES = "JSON_LINES"


class DownloadLogs(Input):
    """Which log to download, and how."""

    deployment: Id
    format: DownloadFormat = DownloadFormat.TEXT
    cursor: Annotated[str, StringConstraints(max_length=1024)] = ""
    stage: OptionalReference = None


@dataclass(frozen=True)
class Wanted:
    """Which lines of a log to read: a Filter whose stage is known. Sources and severities are the contract's numbers.

    Attributes:
        contains: Case-folded.
        since: The earliest time of a line.
    """

    stage_id: UUID | None = None
    sources: frozenset[int] = frozenset()
    min_severity: int = 0
    contains: str = ""
    since: datetime | None = None

    @property
    def narrows(self) -> bool:
        """Whether some lines of a chunk may be wanted and others not."""
        return bool(self.sources or self.min_severity or self.contains or self.since)


@dataclass(frozen=True)
class Chunk:
    """Lines ready to be stored; see LogChunk."""

    first_sequence: int
    last_sequence: int
    entry_count: int
    byte_size: int
    max_severity: int
    first_time: datetime
    last_time: datetime
    payload: bytes


class Lines(Protocol):
    """Numbered lines that a caller wants to append, checked; convert.py reads them from messages.

    Attributes:
        first_sequence: Of the first line.
        last_sequence: Of the last line; one less than the first when there is none.
        finish: Whether the stream ends with them.
        byte_size: Of their text.
    """

    first_sequence: int
    last_sequence: int
    finish: bool
    byte_size: int

    def chunks(self, stream_name: str, stage_id: UUID | None, after: int) -> Sequence[Chunk]:
        """Return the lines with sequences above `after`, as they are to be stored."""

    def first_difference(self, payload: bytes) -> int | None:
        """Return the lowest sequence that says something else in a stored chunk; None when there is none."""
