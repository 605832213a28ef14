"""The whole log in one go, as text or JSON lines: up to where it ends at the beginning, resumable after each part."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from relman_server.deployments.stage_store import stages_of
from relman_server.kernel.db import Database
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.streams.delivery import Delivery
from relman_server.logs import chunks, convert, store
from relman_server.logs.cursor import BEGINNING, Place, decode_cursor, encode_cursor
from relman_server.logs.inputs import DownloadFormat, DownloadLogs, Wanted

PART_BYTES = 256 * 1024
"""A part is full with the line that goes beyond this, so it stays below the largest message."""

Write = Callable[[Any, str, str], str]
"""Writes an entry, of a stage and a stream with these names, as a line without its end."""


@dataclass(frozen=True)
class Part:
    """Whole lines, and where to go on after them."""

    data: bytes
    place: Place


@dataclass(frozen=True)
class Log:
    """What is downloaded.

    Attributes:
        head: Position of the last chunk.
        stages: Names by id, as the chunks have it.
    """

    head: int
    wanted: Wanted
    stages: Mapping[str, str]


async def download(db: Database, delivery: Delivery, asked: DownloadLogs) -> None:
    """Send the log.

    Raises NotFound, InvalidInput for a stage of another deployment or a damaged cursor, OutOfRange for a cursor of
    another log, and whatever ends the stream.
    """
    log = await delivery.wait(db.read(_log, asked))
    place = decode_cursor(asked.cursor, asked.deployment, log.head) if asked.cursor else BEGINNING
    write = WRITERS[asked.format]
    with delivery.resumable():
        while place.position < log.head:
            parts, place = await delivery.wait(db.read(_parts, asked.deployment, log, place, write))
            for part in parts:
                cursor = encode_cursor(asked.deployment, part.place)
                await delivery.send(convert.download_part(part.data, cursor), cursor)


def _log(tx: Reading, asked: DownloadLogs) -> Log:
    log = store.readable(tx, asked.deployment, asked.stage)
    names = {str(stage.id): stage.name for stage in stages_of(tx, asked.deployment)}
    return Log(log.position, Wanted(stage_id=log.stage_id), names)


def _parts(tx: Reading, deployment_id: UUID, log: Log, place: Place, write: Write) -> tuple[Sequence[Part], Place]:
    """Return what comes next, and where to go on then."""
    batch = chunks.read(tx, deployment_id, place.position, log.head, log.wanted)
    lines: list[str] = []
    size = 0
    parts: list[Part] = []
    reached = place
    for line, reached in _lines(batch.chunks, log, place, write):
        lines.append(line)
        size += len(line) * (1 if line.isascii() else 4)
        if size >= PART_BYTES:
            parts.append(Part("".join(lines).encode(), reached))
            lines, size = [], 0
    if lines:
        parts.append(Part("".join(lines).encode(), reached))
    return parts, Place(batch.reached)


def _lines(found: Sequence[Any], log: Log, place: Place, write: Write) -> Iterator[tuple[str, Place]]:
    """Yield lines with their ends, and the place after each."""
    for chunk in found:
        held = convert.entries(chunk.payload)
        count = len(held.entries)
        for index in range(place.skip_in(chunk.position), count):
            entry = held.entries[index]
            line = write(entry, log.stages.get(entry.stage_id, ""), held.stream_name)
            then = Place(chunk.position - 1, index + 1) if index + 1 < count else Place(chunk.position)
            yield f"{line}\n", then


def _time(time: Any) -> str:  # a Timestamp
    """Return RFC 3339, to the microsecond, or finer where it is."""
    fraction = f"{time.nanos:09}"
    fraction = fraction.removesuffix("000")
    return f"{datetime.fromtimestamp(time.seconds, UTC).isoformat()[:19]}.{fraction}Z"


def _as_text(entry: Any, stage: str, _: str) -> str:  # a LogEntry
    return f"{_time(entry.time)} {stage or '-'} {entry.text}"


def _as_json(entry: Any, stage: str, stream_name: str) -> str:  # a LogEntry
    said = {
        "time": _time(entry.time),
        "stage": stage,
        "stage_id": entry.stage_id,
        "stream_name": stream_name,
        "sequence": entry.sequence,
        "source": convert.source_name(entry.source),
        "severity": convert.severity_name(entry.severity),
        "text": entry.text,
    }
    if entry.text_repaired:
        said["text_repaired"] = True
    return json.dumps(said, ensure_ascii=False)


WRITERS: dict[DownloadFormat, Write] = {DownloadFormat.TEXT: _as_text, DownloadFormat.JSON_LINES: _as_json}
