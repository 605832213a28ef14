"""The reconciler: one look when nothing is due, and whatever is due gets done."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, literal, select

from relman_server.deployments.model import Deployment
from relman_server.kernel.db import Transaction
from relman_server.kernel.db.model import UtcDateTime
from relman_server.kernel.errors import Unavailable
from relman_server.kernel.reconciler import Duty, Reconciler
from tests.conftest import MovableClock
from tests.factories import RunningServer

NEVER = select(func.min(Deployment.look_again_at))


def _at(when: datetime) -> Any:
    return select(literal(when, UtcDateTime()))


class Work:
    """Something to do a number of times."""

    def __init__(self, times: int = 1, error: Exception | None = None) -> None:
        self.left = times
        self.done = 0
        self.error = error

    def __call__(self, _: Transaction) -> bool:
        if self.error:
            raise self.error
        self.done += 1
        self.left -= 1
        return self.left > 0


async def test_a_tick_is_one_statement_by_indexes_when_nothing_is_due(own_server: RunningServer) -> None:
    """Counted on every connection, so whatever else ran would be seen."""
    db, seen = own_server.app.db, list[tuple[str, Any]]()

    def before(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if "due" in statement or "lease" in statement:
            seen.append((statement, parameters))

    for engine in (db.reads, db.writes):
        event.listen(engine, "before_cursor_execute", before)
    await own_server.app.reconciler.tick()
    for engine in (db.reads, db.writes):
        event.remove(engine, "before_cursor_execute", before)
    statements = {statement for statement, _ in seen}
    assert len(statements) == 1
    assert "FOR UPDATE" not in statements.pop()
    with db.reads.connect() as connection:
        explain = "explain query plan " if db.engine == "sqlite" else "explain "
        if db.engine == "postgresql":
            connection.exec_driver_sql("set enable_seqscan = off")  # the tables are empty here
        plan = str(connection.exec_driver_sql(explain + seen[0][0], seen[0][1]).all())
        if db.engine == "postgresql":
            connection.exec_driver_sql("reset enable_seqscan")
    for index in (
        "ix_pipeline_stage_due_at",
        "ix_deployment_lease_expires_at",
        "ix_deployment_look_again_at",
        "ix_approval_due",
    ):
        assert index in plan


async def test_what_is_due_is_done_until_nothing_is_left(own_server: RunningServer, clock: MovableClock) -> None:
    work, later = Work(3), Work()
    duties = [Duty("now", _at(clock.now()), work), Duty("later", _at(clock.now() + timedelta(hours=1)), later)]
    await Reconciler(own_server.app.db, clock, duties).tick()
    assert (work.done, later.done) == (3, 0)


@pytest.mark.parametrize("error", [Unavailable("the database is away"), RuntimeError("a mistake")])
async def test_a_duty_that_fails_does_not_keep_others_from_being_done(
    own_server: RunningServer, clock: MovableClock, error: Exception
) -> None:
    work = Work()
    duties = [Duty("fails", _at(clock.now()), Work(error=error)), Duty("works", _at(clock.now()), work)]
    await Reconciler(own_server.app.db, clock, duties).tick()
    assert work.done == 1


async def test_patience_begins_anew_after_a_break(own_server: RunningServer, clock: MovableClock) -> None:
    work = Work(100)
    reconciler = Reconciler(
        own_server.app.db, clock, [Duty("patient", _at(clock.now()), work, patience=timedelta(seconds=10))]
    )
    for _ in range(3):
        clock.advance(timedelta(seconds=3))
        await reconciler.tick()
    assert work.done == 0
    clock.advance(timedelta(seconds=60))  # nobody could reach the server
    await reconciler.tick()
    assert work.done == 0
    for _ in range(4):
        clock.advance(timedelta(seconds=3))
        await reconciler.tick()
    assert work.done > 0
