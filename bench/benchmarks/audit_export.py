"""Exporting and verifying an audit log of 1,000,000 rows over PostgreSQL and SQLite: CSV and JSON lines, one caller.

The log is built once, which takes minutes, and kept under bench/data; its rows are sealed in 1,000 blocks. Memory is
how much more the server holds at the end of an export than before the first one.
"""

import asyncio
import io
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text

from bench import kept
from bench.kit import Kit
from bench.rounds import Contender, Figures
from bench.servers import Relman
from bench.tables import Measure, Table
from relman_client import Download
from relman_client.audit_chain import Checker, check_export
from relman_client.v1 import audit_pb2 as pb
from relman_server.audit import sealing
from relman_server.kernel.clock import SystemClock
from relman_server.kernel.db import Database, schema
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.ids import new_id

FORMS = {
    "CSV": pb.AuditExportFormat.AUDIT_EXPORT_FORMAT_CSV,
    "JSON lines": pb.AuditExportFormat.AUDIT_EXPORT_FORMAT_JSON_LINES,
}
FORMAT = 1
"""Of what is kept; raise it when the rows or their tables change."""
_OF_EACH = tuple(
    measure
    for engine in ("postgresql", "sqlite")
    for measure in (
        *(Measure(f"{engine} {form}", f"export as {form}, {engine}", "rows/s", budget=">= 50,000") for form in FORMS),
        Measure(f"{engine} cpu", f"CPU of the server, a million rows of JSON lines, {engine}", "s", less=True),
        Measure(f"{engine} memory", f"memory more than before, {engine}", "MiB", less=True, budget="constant"),
        Measure(f"{engine} verify", f"verified by the server, {engine}", "rows/s"),
    )
)
MEASURES = (*_OF_EACH, Measure("sqlite offline", "the JSON lines verified offline", "rows/s"))


def run(kit: Kit) -> Table:
    """Measure."""
    size = kit.pick(1_000_000, 2_000)
    with kept.servers(kit, f"audit-{FORMAT}-{size}", lambda url: _fill(url, size)) as servers:
        contenders: dict[str, Contender | None] = {
            engine: _exports(server, engine, size) for engine, server in servers.items()
        }
        rounds = kit.rounds(contenders)
    merged = {key: values for figures in rounds.values() for key, values in figures.items()}
    return Table(MEASURES, {"relman": merged}, [f"{size:,} rows."])


def _exports(server: Relman, engine: str, size: int) -> Contender:
    before = server.memory

    def exports() -> Figures:
        figures: dict[str, float] = {}
        for name, form in FORMS.items():
            busy, started = server.cpu, time.perf_counter()
            with open(os.devnull, "wb") as sink:  # noqa: PTH123 - a device
                Download(server.client, pb.ExportAuditLogsRequest(format=form)).save(sink)
            figures[f"{engine} {name}"] = size / (time.perf_counter() - started)
            figures[f"{engine} cpu"] = (server.cpu - busy) * 1e6 / size
        figures[f"{engine} memory"] = server.memory - before
        started = time.perf_counter()
        found = server.client.audit.VerifyAuditLogs(pb.VerifyAuditLogsRequest(), timeout=600)
        assert found.valid
        figures[f"{engine} verify"] = found.rows_checked / (time.perf_counter() - started)
        if engine == "sqlite":
            figures["sqlite offline"] = _offline(server, min(size, 100_000))
        return figures

    return exports


def _offline(server: Relman, size: int) -> float:
    export = io.BytesIO()
    for part in Download(server.client, pb.ExportAuditLogsRequest(format=FORMS["JSON lines"])):
        export.write(part)
        if export.tell() > size * 400:
            break
    export.seek(0)
    checker, started = Checker(), time.perf_counter()
    check_export(export, checker)
    return checker.rows / (time.perf_counter() - started)


def _fill(url: str, size: int) -> None:
    """Make the tables and fill them, a row a second up to now, and seal it all."""
    db = Database(url, clock=SystemClock(), connections=1)
    schema.migrate(db.writes)
    rows = _rows(size)
    while batch := list(itertools.islice(rows, 5_000)):
        with db.writes.begin() as connection:
            connection.execute(insert(AuditEntry), batch)
    asyncio.run(sealing.seal_all(db, None))
    if db.engine == "postgresql":
        with db.writes.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
    db.close()


ACTIONS: Sequence[tuple[str, dict[str, Any]]] = (
    ("deployment.create", {"status": [None, "PENDING"], "kind": [None, "PLANNED"], "labels": [None, {"build": "42"}]}),
    ("deployment.start", {"status": ["READY", "IN_PROGRESS"], "deployed_at": [None, "2026-11-25T21:00:00+00:00"]}),
    ("stage.complete", {"status": ["RUNNING", "SUCCEEDED"], "progress_percent": [50, 100]}),
    ("release.update", {"release_notes": ["", "- handlers answer in half the time\n"]}),
)


def _rows(size: int) -> Iterator[dict[str, Any]]:  # columns of AuditEntry
    now = datetime.now(UTC)
    users = [(new_id(), f"engineer-{number}") for number in range(50)]
    for number in range(size):
        user_id, username = users[number % len(users)]
        action, changes = ACTIONS[number % len(ACTIONS)]
        resource_id = new_id()
        yield {
            "id": new_id(),
            "user_id": user_id,
            "username": username,
            "action": action,
            "resource_type": action.partition(".")[0],
            "resource_id": str(resource_id),
            "details": {"changes": changes, "service": "checkout"},
            "ip_address": f"10.0.{number % 250}.7",
            "user_agent": "grpc-python/1.85.1 grpc-c/52.0.0 (linux; chttp2)",
            "request_id": str(new_id()),
            "outcome": "SUCCESS",
            "created_at": now - timedelta(seconds=size - number),
        }
