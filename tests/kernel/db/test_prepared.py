"""Prepared selects answer as SQLAlchemy does, and fail as it does."""

import asyncio
from types import ModuleType
from uuid import UUID

import pytest
from sqlalchemy import bindparam, column, func, select, text
from sqlalchemy.exc import DBAPIError

from relman_client.v1 import catalog_pb2
from relman_server.catalog import store as catalog
from relman_server.catalog.model import Service
from relman_server.deployments import store as deployments
from relman_server.environments import store as environments
from relman_server.kernel.db import Database
from relman_server.kernel.db.prepared import ByReference, Prepared
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.errors import NotFound
from relman_server.releases import store as releases
from tests.conftest import MovableClock
from tests.factories import RunningServer, make_deployment, make_service

NOBODY = "00000000-0000-0000-0000-000000000000"


def _of_references(module: ModuleType) -> list[Prepared]:
    found = vars(module).values()
    both = [each for each in found if isinstance(each, ByReference)]
    return [each for each in found if isinstance(each, Prepared)] + [each.by_id for each in both]


async def test_values_are_those_that_sqlalchemy_reads(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin)
    service = await server.admin.catalog.GetService(catalog_pb2.GetServiceRequest(service=deployment.service_name))
    rows = {
        deployments: {"id": deployment.id},
        releases: {"id": deployment.release_id, "service": service.id},
        catalog: {"reference": service.id, "caller": NOBODY},
        environments: {"reference": deployment.environment_id},
    }

    def compare(tx: Reading) -> None:
        for module, named in rows.items():
            values = {"now": tx.now} | {name: UUID(value) for name, value in named.items()}
            for select_ in _of_references(module):
                wanted = {
                    key: values[key] for key, value in select_.statement.compile().params.items() if value is None
                }
                (ours,) = tx.rows(select_, wanted)
                (theirs,) = tx.rows(select_.statement, wanted)
                assert ours._asdict() == theirs._asdict(), module.__name__
                assert [type(value) for value in ours] == [type(value) for value in theirs], module.__name__

    await server.app.db.read(compare)


async def test_what_is_pending_in_a_transaction_is_found(server: RunningServer) -> None:
    """Fails when a transaction runs them past its session."""
    made = await make_service(server.admin, name="checkout")
    changed = await server.admin.catalog.UpdateService(
        catalog_pb2.UpdateServiceRequest(service=made.id, description="pays")
    )
    assert changed.description == "pays"


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
async def test_connections_that_were_cut_while_idle_are_replaced(server: RunningServer) -> None:
    """Fails when a dead connection is not laid aside together with all that are as old."""
    made = await make_service(server.admin)
    wanted = catalog_pb2.GetServiceRequest(service=made.id)
    await asyncio.gather(*(server.admin.catalog.GetService(wanted) for _ in range(40)))
    with server.app.db.writes.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        )
    answers = await asyncio.gather(*(server.admin.catalog.GetService(wanted) for _ in range(40)))
    assert {answer.id for answer in answers} == {made.id}


@pytest.mark.filterwarnings("error")
async def test_a_snapshot_of_nothing_else_ends_as_others_do(server: RunningServer) -> None:
    """Fails when a transaction is begun that SQLAlchemy does not know of: its connection would be lost."""
    made = await make_service(server.admin)
    db = server.app.db
    for reference in (made.id, made.name, made.id):
        assert (await db.snapshot(catalog.get_service, reference)).name == made.name
        with pytest.raises(NotFound):
            await db.snapshot(catalog.get_service, "nowhere")
    assert (await db.read(catalog.get_service, made.id)).name == made.name
    assert db.connections_in_use == 0


async def test_a_failure_is_sqlalchemys_and_does_not_show_values(server: RunningServer) -> None:
    broken = Prepared(lambda: select(column("nowhere")).where(column("nowhere") == bindparam("value")))
    with server.app.db.reads.connect() as connection, pytest.raises(DBAPIError) as caught:
        broken.rows(connection, {"value": "hunter2"})
    assert "nowhere" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert not caught.value.connection_invalidated


async def test_what_is_prepared_outlives_a_snapshot(database_url: str, clock: MovableClock) -> None:
    """Fails when snapshots are rolled back: psycopg forgets then what it has prepared, also for other reads."""
    db = Database(database_url, clock=clock, connections=1)
    if db.engine != "postgresql":
        pytest.skip("SQLite's driver keeps them whatever happens")
    known = Prepared(lambda: select(func.count().label("known")).select_from(Service))
    try:
        for _ in range(10):  # the driver prepares what it has seen a few times
            await db.snapshot(lambda tx: tx.rows(known, {}))
        prepared = await db.read(lambda tx: tx.scalar(text("SELECT count(*) FROM pg_prepared_statements")))
    finally:
        db.close()
    assert prepared == 1
