"""Whether an operation ended as calls may end, and whether the log says the same."""

import json
from collections.abc import Iterable, Iterator

from google.protobuf.message import DecodeError

from tests.contract import REASONS
from tests.fuzz.calls import UNHEARD, Answer
from tests.fuzz.messages import SECRETS
from tests.fuzz.operations import DEADLINE, Operation

NEVER = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}
INSIDE = (
    *(b"Traceback (most recent", b'File "/', b"site-packages", b".py:", b"relman_server.", b"relman.db"),
    *(b"sqlalchemy", b"sqlite3.", b"psycopg", b"[SQL:", b"SELECT ", b"INSERT INTO", b"pydantic", b"google.protobuf."),
    *(b"object at 0x", b"Errno", b"asyncio"),
)
"""Never sent, so that they come from inside when they come back."""


def faults(operation: Operation, answer: Answer) -> Iterator[str]:
    """Return what is wrong with how a call ended."""
    if answer.status in NEVER:
        yield f"{answer.status}: {answer.refusal and answer.refusal.message}"
    if answer.seconds > DEADLINE or (answer.status == "DEADLINE_EXCEEDED" and operation.deadline == DEADLINE):
        yield f"no end within {DEADLINE:.0f} s"
    elif answer.refusal is not None and answer.status not in NEVER and not _is_known(operation, answer):
        yield f"{answer.status} without ErrorInfo: {answer.refusal.message}"
    yield from _leaks(answer)
    for data in answer.answers:
        try:
            operation.rpc.response.FromString(data)
        except DecodeError:
            yield "an answer that is no message of the contract"


def _is_known(operation: Operation, answer: Answer) -> bool:
    """Whether an error says what relman's errors say, or is one that gRPC itself may answer here."""
    assert answer.refusal is not None
    info = answer.refusal.info
    if info.domain == "relman" and info.reason in REASONS:
        return bool(answer.correlation_id)
    impatient = operation.deadline < DEADLINE or operation.leaves_after is not None
    return (
        answer.status == UNHEARD
        or (operation.is_bulky and answer.status == "RESOURCE_EXHAUSTED")
        or (impatient and answer.status in {"DEADLINE_EXCEEDED", "CANCELLED"})
    )


def _leaks(answer: Answer) -> Iterator[str]:
    said = [*answer.answers, *(_bytes(value) for key, value in answer.trailers if key != "x-request-id")]
    if answer.refusal is not None:
        said.append(answer.refusal.message.encode())
    for data in said:
        for mark in (*INSIDE, *SECRETS):
            if mark in data:
                at = data.index(mark)
                yield f"what should stay inside: {data[max(at - 40, 0) : at + 80]!r}"


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def complaints(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Return what the server's log complains of, and the correlation id of the call that it was about."""
    foreign: list[str] = []  # not of the server's own logger: libraries speak up when something is wrong
    for line in (*lines, "{}"):
        record = _record(line)
        if record is None:
            foreign.append(line)
            continue
        if foreign:
            yield f"log: {foreign[0]} ... {foreign[-1]}", ""
            foreign.clear()
        about = str(record.get("request_id", ""))
        if record.get("level") in {"error", "critical"}:
            last = " ".join(str(record.get("exception", "")).strip().splitlines()[-1:])
            yield f"log: {record.get('event')} {record.get('method', '')} {last}", about
        if any(secret.decode() in line for secret in SECRETS):
            yield "log: a secret in it", about


def warnings(lines: Iterable[str]) -> Iterator[str]:
    """Return what the server's log warns of: no fault, but mostly something that should have been refused before."""
    for line in lines:
        record = _record(line) or {}
        if record.get("level") == "warning":
            yield f"{record.get('event')}: {record.get('error')}"


def _record(line: str) -> dict[str, object] | None:
    """Return what a line of the log says; None when it is none of the server's."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
