"""Appending to logs: what many writers send is decided and stored in one transaction, with a handful of statements.

One append that is refused leaves the others alone. Several appends of a stream are carried out in their order, each
seeing those before it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from relman_server.catalog import logic as catalog
from relman_server.deployments import leases
from relman_server.deployments.inputs import LeaseHeld
from relman_server.deployments.model import Lease
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import Aborted, Condition, FailedPrecondition, NotFound, RelmanError
from relman_server.kernel.identity import Identity
from relman_server.logs import append_store, chunks, store
from relman_server.logs.inputs import MAX_CHUNK_BYTES, MAX_ENTRIES, SYSTEM_STREAM, Chunk, Lines, Opening
from relman_server.logs.logic import LogGrew, Progress, QuotaReached, Stream, open_stream


class Source:
    """What appends come from, one after the other: when one of them is refused, those after it are not carried out.

    Attributes:
        refused: Why one of them was not carried out; None as long as all were.
    """

    refused: Exception | None = None


@dataclass(frozen=True, eq=False)
class Append:
    """Lines on their way to a stream.

    Attributes:
        stream: Where to.
        lines: What.
        caller: Who; they must still work on the service.
        source: What they come from.
    """

    stream: Stream
    lines: Lines
    caller: Identity
    source: Source = field(default_factory=Source)


Outcome = Progress | Exception


def append_logs(tx: Transaction, opening: Opening, lines: Lines, quota: int) -> Progress:
    """Append lines to a stream, opened when it does not exist. Raises as `open_stream` does, and as in `append_all`."""
    stream, _ = open_stream(tx, opening)
    (outcome,) = append_all(tx, [Append(stream, lines, tx.caller)], quota)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def append_all(tx: Transaction, appends: Sequence[Append], quota: int) -> list[Outcome]:
    """Append lines to their streams; those that are on disk already are compared and dropped.

    Args:
        tx: The transaction.
        appends: What to append, in order.
        quota: Bytes of text that the log of a deployment may hold.

    Returns how far each stream is then, or why an append was refused: NotFound for a deployment that was deleted,
    PermissionDenied when the caller does not work on the service any more, Aborted WRITER_FENCED when someone took the
    deployment over and SEQUENCE_GAP when lines before these are missing, FailedPrecondition SEQUENCE_CONFLICT when
    others are on disk in their place and LOG_FINISHED when the stream ends before them, and QuotaReached.
    """
    return _Batch(tx, appends, quota).carry_out()


@dataclass
class _Log:
    """A log that is locked, and what comes to it."""

    position: int
    entry_count: int
    byte_size: int
    new: list[tuple["_Written", Chunk]] = field(default_factory=list)

    def add(self, written: "_Written", chunk: Chunk) -> None:
        """Take a chunk; what follows one of the same stream becomes one with it, while there is room."""
        self.byte_size += chunk.byte_size
        if self.new and self.new[-1][0] is written and _fit(self.new[-1][1], chunk):
            self.new[-1] = written, _joined(self.new[-1][1], chunk)
        else:
            self.new.append((written, chunk))


def _fit(one: Chunk, other: Chunk) -> bool:
    return (
        one.entry_count + other.entry_count <= MAX_ENTRIES and len(one.payload) + len(other.payload) <= MAX_CHUNK_BYTES
    )


def _joined(one: Chunk, other: Chunk) -> Chunk:
    return Chunk(
        first_sequence=one.first_sequence,
        last_sequence=other.last_sequence,
        entry_count=one.entry_count + other.entry_count,
        byte_size=one.byte_size + other.byte_size,
        max_severity=max(one.max_severity, other.max_severity),
        first_time=min(one.first_time, other.first_time),
        last_time=max(one.last_time, other.last_time),
        # Serialized messages in a row are the message with the entries of both: fields of a message may be repeated.
        payload=one.payload + other.payload,
    )


@dataclass
class _Written:
    """A stream whose log is locked, as it will be.

    Attributes:
        row: As it is on disk, with what says who may write to it.
        roles: Who of the callers works on the service, because they are in its team.
        new: What was appended to it here.
    """

    row: Record
    roles: dict[UUID, str]
    progress: Progress
    byte_size: int
    new: list[Chunk] = field(default_factory=list)

    @property
    def is_changed(self) -> bool:
        """Whether it has to be stored."""
        return self.progress != Progress(self.row.committed_sequence, self.row.finished)


class _Batch:
    """One transaction's appends."""

    def __init__(self, tx: Transaction, appends: Sequence[Append], quota: int) -> None:
        self._tx = tx
        self._appends = appends
        self._quota = quota
        self._logs = {
            row.deployment_id: _Log(row.position, row.entry_count, row.byte_size)
            # In the order of ids, so that no two processes wait for each other.
            for row in append_store.lock_heads(tx, sorted({append.stream.deployment_id for append in appends}))
        }
        leased = sorted({append.stream.deployment_id for append in appends if append.stream.lease})
        self._leases: Mapping[UUID, Lease] = leases.newest(tx, leased) if leased else {}
        self._streams = _streams(tx, appends)
        self._refused: dict[Source, Exception] = {}

    def carry_out(self) -> list[Outcome]:
        outcomes = [self._outcome(append) for append in self._appends]
        _store(self._tx, self._logs, self._streams.values())
        return outcomes

    def _outcome(self, append: Append) -> Outcome:
        refused = append.source.refused or self._refused.get(append.source)
        if refused is not None:
            return refused
        try:
            return self._append(append.stream, append.lines, append.caller)
        except RelmanError as error:
            self._refused[append.source] = error
            return error

    def _append(self, stream: Stream, lines: Lines, caller: Identity) -> Progress:
        log, now = self._logs.get(stream.deployment_id), self._streams.get(stream.id)
        if log is None or now is None:
            raise NotFound("deployment", str(stream.deployment_id))
        catalog.require_team(caller, _Role(now.row, now.roles.get(caller.user_id)))
        _require_lease(self._leases, stream.deployment_id, stream.lease)
        committed = now.progress.committed_sequence
        _require_adjacent(stream, now.progress, lines)
        if lines.first_sequence <= committed:
            self._require_same(stream, now, lines, min(lines.last_sequence, committed))
        if lines.finish and lines.last_sequence < committed:
            raise _finished(stream, committed) if now.progress.finished else _conflict(stream, lines.last_sequence + 1)
        new = lines.chunks(stream.name, stream.stage_id, committed) if lines.last_sequence > committed else ()
        size = sum(chunk.byte_size for chunk in new)
        if new and log.byte_size + size > self._quota:
            raise QuotaReached(f"The log of the deployment is full: it may hold {self._quota:,} bytes of text.")
        for chunk in new:
            log.add(now, chunk)
        now.new += new
        now.byte_size += size
        now.progress = Progress(max(lines.last_sequence, committed), now.progress.finished or lines.finish)
        return now.progress

    def _require_same(self, stream: Stream, now: _Written, lines: Lines, last: int) -> None:
        stored = chunks.payloads_of(self._tx, stream.id, lines.first_sequence, min(last, now.row.committed_sequence))
        here = [
            chunk.payload
            for chunk in now.new
            if chunk.first_sequence <= last and chunk.last_sequence >= lines.first_sequence
        ]
        for payload in (*stored, *here):
            different = lines.first_difference(payload)
            if different is not None:
                raise _conflict(stream, different)


def note_quota(tx: Transaction, deployment_id: UUID, line: Lines) -> None:
    """Say in a log, once, that it takes no more lines; raises NotFound."""
    head = append_store.lock_head(tx, deployment_id)
    if not store.add_stream(tx, deployment_id, None, SYSTEM_STREAM):
        return
    log = _Log(head.position, head.entry_count, head.byte_size)
    written = _Written(store.get_stream(tx, deployment_id, SYSTEM_STREAM), {}, Progress(1, finished=True), 0)
    for chunk in line.chunks(SYSTEM_STREAM, None, 0):
        log.add(written, chunk)
        written.byte_size += chunk.byte_size
    _store(tx, {deployment_id: log}, [written])


def _store(tx: Transaction, logs: Mapping[UUID, _Log], written: Collection[_Written]) -> None:
    grown = {deployment: log for deployment, log in logs.items() if log.new}
    if grown:
        append_store.add_chunks(tx, [row for deployment, log in grown.items() for row in _rows(deployment, log)])
        append_store.update_heads(tx, [_head(deployment, log) for deployment, log in grown.items()])
    changed = [stream for stream in written if stream.is_changed]
    if changed:
        append_store.update_streams(tx, [_stream(stream, tx) for stream in changed])
    for deployment in dict.fromkeys(stream.row.deployment_id for stream in changed):
        log = logs[deployment]
        tx.emit(LogGrew(deployment, log.position + 1, tuple(chunk.payload for _, chunk in log.new)))


@dataclass(frozen=True)
class _Role:
    """What decides whether a caller may write to a stream."""

    row: Record
    caller_role: str | None

    @property
    def owner_id(self) -> UUID:
        owner: UUID = self.row.owner_id
        return owner

    @property
    def service_name(self) -> str:
        return str(self.row.service_name)


def _streams(tx: Transaction, appends: Sequence[Append]) -> dict[UUID, _Written]:
    found: dict[UUID, _Written] = {}
    callers = {append.caller.user_id for append in appends}
    for row in append_store.streams_and_members(tx, {append.stream.id for append in appends}, callers):
        written = found.setdefault(
            row.id, _Written(row, {}, Progress(row.committed_sequence, row.finished), row.byte_size)
        )
        if row.member_id is not None:
            written.roles[row.member_id] = row.role
    return found


def _rows(deployment: UUID, log: _Log) -> list[dict[str, Any]]:  # columns by name
    of_log = [(written.row, place, chunk) for place, (written, chunk) in enumerate(log.new, log.position + 1)]
    return [
        vars(chunk) | {"deployment_id": deployment, "stream_id": row.id, "stage_id": row.stage_id, "position": place}
        for row, place, chunk in of_log
    ]


def _head(deployment: UUID, log: _Log) -> dict[str, Any]:  # as above
    return {
        "deployment": deployment,
        "position": log.position + len(log.new),
        "entry_count": log.entry_count + sum(chunk.entry_count for _, chunk in log.new),
        "byte_size": log.byte_size,
    }


def _stream(written: _Written, tx: Transaction) -> dict[str, Any]:  # as above
    return {
        "stream": written.row.id,
        "committed_sequence": written.progress.committed_sequence,
        "finished": written.progress.finished,
        "byte_size": written.byte_size,
        "updated_at": tx.now,
    }


def _require_lease(newest: Mapping[UUID, Lease], deployment_id: UUID, held: LeaseHeld | None) -> None:
    if held is not None:
        leases.require_newest(newest.get(deployment_id), held)


def _require_adjacent(stream: Stream, now: Progress, lines: Lines) -> None:
    expected = now.committed_sequence + 1
    if now.finished and lines.last_sequence >= expected:
        raise _finished(stream, now.committed_sequence)
    if lines.first_sequence > expected:
        raise Aborted(
            f"The stream {stream.name!r} goes on with sequence {expected}; lines before these are missing.",
            reason="SEQUENCE_GAP",
            metadata={"expected_sequence": str(expected)},
        )


def _conflict(stream: Stream, sequence: int) -> FailedPrecondition:
    return FailedPrecondition(
        f"The stream {stream.name!r} has another line {sequence} on disk.",
        Condition(
            "SEQUENCE_CONFLICT", stream.name, f"send line {sequence} as it was, or begin a stream of another name"
        ),
        reason="SEQUENCE_CONFLICT",
        metadata={"sequence": str(sequence)},
    )


def _finished(stream: Stream, committed: int) -> FailedPrecondition:
    return FailedPrecondition(
        f"The stream {stream.name!r} was finished with line {committed}.",
        Condition("LOG_FINISHED", stream.name, "begin a stream of another name"),
        reason="LOG_FINISHED",
        metadata={"committed_sequence": str(committed)},
    )
