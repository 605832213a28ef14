"""Retention: rows of whole blocks go, the blocks stay, and what is left still verifies; partitions come in time."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, inspect, select, text

from relman_client.audit_chain import ChainError, canonical
from relman_server.audit import partitions, retention
from relman_server.kernel.db import Database, Transaction, schema
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.engine import write_engine
from relman_server.pruning import months_before
from tests.audit.steps import JSON_LINES, blocks, checked, exported, listed, verified, whole
from tests.conftest import MovableClock
from tests.factories import RunningServer, make_team
from tests.services.postgres import Postgres
from tests.upgrades import upgrade

MONTH = timedelta(days=31)


async def _months(server: RunningServer, clock: MovableClock, count: int) -> None:
    """Let months pass, with two blocks each; what happens meanwhile happens every month."""
    for month in range(count):
        if month:
            clock.advance(MONTH)
        server.admin = await server.user(is_admin=True)  # tokens end
        for _ in range(2):
            await make_team(server.admin)
            await verified(server.admin, seal=True)
        await server.app.reconciler.tick()


async def _prune(server: RunningServer, before: datetime) -> retention.Pruned:
    return await retention.prune(server.app.db, before, None, "tester@here")


def _tables(server: RunningServer) -> set[str]:
    return {name for name in inspect(server.app.db.writes).get_table_names() if name.startswith("audit_log_2")}


def _count(tx: Transaction) -> int:
    return int(tx.scalar(select(func.count()).select_from(AuditEntry)))


async def test_old_rows_go_and_the_chain_still_verifies(own_server: RunningServer, clock: MovableClock) -> None:
    await _months(own_server, clock, 3)
    before = clock.now() - timedelta(days=15)
    total = (await listed(own_server.admin)).total_size
    pruned = await _prune(own_server, before)
    assert (pruned.first_block, pruned.last_block) == (1, 4)
    newest, *rows = (await listed(own_server.admin)).audit_logs
    assert len(rows) == total - pruned.rows
    assert (newest.action, newest.username, newest.details["rows"]) == ("audit_log.prune", "system", pruned.rows)
    assert (newest.details["operator"], newest.details["last_block"]) == ("tester@here", 4)
    found = await verified(own_server.admin, seal=True)
    assert (found.valid, found.pruned_blocks) == (True, 4)
    assert found.blocks_checked == len(await blocks(own_server))
    assert newest.details["last_hash"] == (await blocks(own_server))[3].hash
    checker = checked(whole(await exported(own_server.admin, format=JSON_LINES)))
    assert (checker.first, checker.pruned, checker.blocks) == (1, 4, found.blocks_checked)


async def test_there_is_nothing_to_prune_twice(own_server: RunningServer, clock: MovableClock) -> None:
    await _months(own_server, clock, 2)
    before = clock.now() - timedelta(days=15)
    assert (await _prune(own_server, before)).last_block == 2
    count = await own_server.app.db.write(_count)
    assert await _prune(own_server, before) == retention.Pruned()
    assert await own_server.app.db.write(_count) == count


async def test_pruning_that_was_broken_off_goes_on(own_server: RunningServer, clock: MovableClock) -> None:
    """In between, the rows that are still there are neither missed nor shown by who reads in order."""
    await _months(own_server, clock, 2)
    before = clock.now() - timedelta(days=15)
    await own_server.app.db.write(retention.declare, before, "tester")
    count = await own_server.app.db.write(_count)
    assert (await verified(own_server.admin)).valid
    assert checked(whole(await exported(own_server.admin, format=JSON_LINES))).pruned == 2
    await own_server.app.db.write(partitions.delete_pruned, 2)
    assert (await verified(own_server.admin)).valid
    await _prune(own_server, before)
    assert await own_server.app.db.write(_count) < count
    assert (await verified(own_server.admin, seal=True)).valid


async def test_when_everything_was_pruned_positions_go_on(own_server: RunningServer, clock: MovableClock) -> None:
    """Else new rows would stand where sealed ones did."""
    await _months(own_server, clock, 1)
    await _prune(own_server, clock.now() + timedelta(days=1))
    await make_team(own_server.admin)
    found = await verified(own_server.admin, seal=True)
    assert found.valid
    assert found.rows_checked == 2  # the team, and that it was pruned


async def test_pruned_rows_may_only_be_missing_at_the_beginning(own_server: RunningServer, clock: MovableClock) -> None:
    await _months(own_server, clock, 1)
    lines = whole(await exported(own_server.admin, format=JSON_LINES)).split(b"\n")[:-1]
    ends = [number for number, line in enumerate(lines) if line.startswith(b'{"block"')]
    second = lines[ends[1]]
    claimed = second.replace(b',"rows":', b',"pruned":true,"rows":')
    with pytest.raises(ChainError, match="oldest"):
        checked(b"\n".join([*lines[: ends[0] + 1], claimed]) + b"\n")


async def test_months_have_partitions_before_they_begin(own_server: RunningServer, clock: MovableClock) -> None:
    if own_server.app.db.engine == "sqlite":
        return  # which has none
    await own_server.app.reconciler.tick()
    for _ in range(3):
        month = clock.now().year * 12 + clock.now().month - 1
        assert {partitions._name(month + ahead) for ahead in range(3)} <= _tables(own_server)
        clock.advance(MONTH)
        await own_server.app.reconciler.tick()


async def test_a_row_of_a_month_without_a_partition_is_kept_all_the_same(
    own_server: RunningServer, clock: MovableClock
) -> None:
    clock.advance(timedelta(days=400))
    own_server.admin = await own_server.user(is_admin=True)
    team = await make_team(own_server.admin)
    await own_server.app.reconciler.tick()
    assert (await listed(own_server.admin, resource_id=team.id)).total_size == 1
    if own_server.app.db.engine == "postgresql":
        tables = _tables(own_server)
        assert f"audit_log_{clock.now():%Y_%m}" not in tables
        assert partitions._name(clock.now().year * 12 + clock.now().month) in tables


async def test_a_month_that_was_pruned_is_dropped_and_the_rows_of_its_last_block_stay(
    own_server: RunningServer, clock: MovableClock
) -> None:
    if own_server.app.db.engine == "sqlite":
        return  # which has no partitions
    first = f"audit_log_{clock.now():%Y_%m}"
    await _months(own_server, clock, 1)
    straddling = await make_team(own_server.admin)  # sealed with rows of the next month
    clock.advance(MONTH)
    await _months(own_server, clock, 2)
    await _prune(own_server, clock.now() - timedelta(days=45))
    assert first not in _tables(own_server)
    assert (await listed(own_server.admin, resource_id=straddling.id)).total_size == 1
    assert (await verified(own_server.admin, seal=True)).valid


@pytest.mark.parametrize(
    ("now", "keep", "before"),
    [
        ("2026-11-25", 0, "2026-11-01"),
        ("2026-11-25", 10, "2026-01-01"),
        ("2026-11-25", 11, "2025-12-01"),
        ("2026-01-31", 24, "2024-01-01"),
    ],
)
def test_months_are_kept_whole(now: str, keep: int, before: str) -> None:
    found = months_before(datetime.fromisoformat(now).replace(tzinfo=UTC), keep)
    assert found == datetime.fromisoformat(before).replace(tzinfo=UTC)


# --- what was there before


def _insert_before(engine: Engine, details: str, created_at: str) -> str:
    row = {"id": uuid4(), "details": details, "at": created_at}
    row["id"] = row["id"] if engine.dialect.name == "postgresql" else uuid4().hex
    statement = (
        "INSERT INTO audit_log (id, username, action, resource_type, resource_id, details, ip_address, user_agent,"
        " request_id, outcome, created_at)"
        " VALUES (:id, 'ann', 'team.create', 'team', 'x', :details, '', '', '', 'SUCCESS', :at)"
    )
    if engine.dialect.name == "postgresql":
        statement = statement.replace(":details", "cast(:details AS jsonb)").replace(":at", "cast(:at AS timestamptz)")
    with engine.begin() as connection:
        connection.execute(text(statement), row)
    return str(row["id"])


DETAILS = '{"z": [1, 2.5, {"b": null, "a": "\\u00e4\\n\\u001f\\"\\\\"}], "B": true, "changes": {}}'


async def test_rows_of_before_are_carried_over_in_order_and_can_be_sealed(
    engine_name: str, postgres: Postgres, tmp_path: Any, clock: MovableClock
) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}" if engine_name == "sqlite" else postgres.url(postgres.create_database())
    engine = write_engine(url, 1)
    upgrade(engine, "0007")
    times = ["2026-03-01 10:00:00.000000", "2025-12-31 23:59:59.000001", "1999-01-01 00:00:00.000000"]
    ids = [_insert_before(engine, DETAILS, moment) for moment in times]
    schema.migrate(engine)
    db = Database(url, clock=clock, connections=1)
    try:
        pruned = await retention.prune(db, datetime(2000, 1, 1, tzinfo=UTC), None, "tester")
        rows = await db.read(
            lambda tx: tx.rows(select(AuditEntry.id, AuditEntry.details).order_by(AuditEntry.position))
        )
        stored = await db.read(lambda tx: tx.scalar(text("SELECT details FROM audit_log WHERE username = 'ann'")))
    finally:
        db.close()
    assert pruned.last_block == 0  # they are in one block, with newer ones
    assert [row.id.hex for row in rows] == [each.replace("-", "") for each in reversed(ids)]
    assert stored == canonical(rows[0].details)
    assert rows[0].details["z"] == [1, 2.5, {"b": None, "a": 'ä\n\x1f"\\'}]
    if engine_name == "postgresql":
        assert {"audit_log_2025_12", "audit_log_2026_03"} <= set(inspect(engine).get_table_names())
    engine.dispose()
