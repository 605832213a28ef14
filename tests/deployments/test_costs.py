"""What calls cost: statements, whatever the history, and indexes for the places that are looked up."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import Connection, text

from relman_client.v1 import catalog_pb2, environment_pb2, stage_pb2
from relman_client.v1 import deployment_pb2 as pb
from relman_server.kernel.db import Database
from tests.deployments import steps
from tests.deployments.steps import deploy, make_in, queue
from tests.factories import RunningServer, make_environment, make_release
from tests.statements import executed, statements

SERVICES = 12
HISTORY = 400


async def _cost(server: RunningServer, call: Awaitable[Any]) -> int:
    with statements(server.app.db) as seen:
        await call
    return len(seen)


async def test_a_deployment_is_one_statement_and_a_list_two_at_most(server: RunningServer) -> None:
    deployment = await make_in(server, "READY")
    api = server.admin.deployments
    assert await _cost(server, steps.get(server.admin, deployment)) == 1
    for fields, cost in (
        ({"service": deployment.service_name}, 1),
        ({"environment": deployment.environment_name, "status": pb.DEPLOYMENT_STATUS_READY}, 1),
        ({"page_size": 1}, 2),
        ({"service": deployment.service_name, "status": pb.DEPLOYMENT_STATUS_FAILED}, 2),
        (
            {
                "service": deployment.service_name,
                "environment": deployment.environment_name,
                "release": deployment.release_id,
                "status": pb.DEPLOYMENT_STATUS_FAILED,
            },
            2,
        ),
    ):
        request = pb.ListDeploymentsRequest(**fields)
        assert await _cost(server, api.ListDeployments(request)) <= cost
    assert await _cost(server, api.ListDeploymentEvents(pb.ListDeploymentEventsRequest(deployment=deployment.id))) == 1


async def test_starting_and_checking_cost_the_same_whatever_came_before(server: RunningServer) -> None:
    release, environment = await make_release(server.admin), await make_environment(server.admin)
    costs = []
    for rounds in (0, 5):
        for _ in range(rounds):
            await deploy(server, release.id, environment.name)
        deployment = await make_in(server, "READY", release=release.id, environment=environment.name)
        costs.append(
            (
                await _cost(server, steps.check(server.admin, deployment)),
                await _cost(server, steps.start(server.admin, deployment, lease_ttl=Duration(seconds=60))),
            )
        )
        await steps.cancel(server.admin, deployment)
    assert costs[0] == costs[1]
    assert costs[0][0] == 3  # the deployment, what is in rows, and the freezes
    assert costs[0][1] <= 8


async def test_a_long_queue_moves_on_in_few_statements(server: RunningServer) -> None:
    """Of those who wait, each that changed is one UPDATE; everything else is done once for all of them."""
    waiting = await queue(server, 8)
    assert await _cost(server, steps.cancel(server.admin, waiting[0])) <= 13 + 7
    longer = await queue(server, 4)
    assert await _cost(server, steps.cancel(server.admin, longer[0])) <= 13 + 3


async def test_a_report_of_progress_does_not_read_the_other_stages(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS", stages=["build", *(f"stage-{number}" for number in range(50))])
    stage = f"{deployment.id}/build"
    await server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=stage))
    report = stage_pb2.ReportStageProgressRequest(stage=stage, progress_percent=1)
    with statements(server.app.db) as seen:
        await server.admin.stages.ReportStageProgress(report)
    assert len(seen) <= 7


def _fill(connection: Connection) -> None:
    """Copy every deployment many times, as a history of successes that happened a second after each other."""
    table = connection.dialect.identifier_preparer
    columns = [row[0] for row in connection.execute(text("select * from deployment limit 0")).cursor.description]
    fresh = {"id": "{id}", "created_at": "{at}", "completed_at": "{at}"}
    fresh |= dict.fromkeys(("status", "outcome"), "'SUCCEEDED'")
    chosen = ", ".join(fresh.get(name, table.quote(name)) for name in columns)
    if connection.dialect.name == "sqlite":
        numbers = f"with recursive n(i) as (select 1 union all select i + 1 from n where i < {HISTORY}) "
        row_id, at = "lower(hex(randomblob(16)))", "datetime('2020-01-01', i || ' seconds') || '.000000'"
        source = "deployment, n"
    else:
        numbers, source = "", f"deployment, generate_series(1, {HISTORY}) i"
        row_id, at = "gen_random_uuid()", "timestamptz '2020-01-01Z' + i * interval '1 second'"
    names = ", ".join(table.quote(name) for name in columns)
    chosen = chosen.format(id=row_id, at=at)
    connection.exec_driver_sql(f"insert into deployment ({names}) {numbers} select {chosen} from {source}")
    connection.exec_driver_sql("analyze")


def _plans(db: Database, call: list[tuple[str, Any]]) -> str:
    """Return what the database says of how it carries the statements out."""
    found = []
    with db.reads.connect() as connection:
        explain = "explain query plan " if db.engine == "sqlite" else "explain "
        for statement, parameters in call:
            rows = connection.exec_driver_sql(explain + statement, parameters)
            found += [" ".join(str(column) for column in row) for row in rows]
    return "\n".join(found)


async def _explained(server: RunningServer, call: Awaitable[Any]) -> str:
    """Return the plans of the selects of deployments that a call makes."""
    db = server.app.db
    seen: list[tuple[str, Any]] = []

    def note(statement: str, parameters: Any) -> None:
        if re.match(r"(?is)select .*\bfrom\b.*\bdeployment\b", statement):
            seen.append((statement, parameters))

    with executed(db, note):
        await call
    assert seen
    return _plans(db, seen)


@pytest.fixture
async def deployment(own_server: RunningServer) -> pb.Deployment:
    """A deployment that is ready, of one of several services with long histories."""
    found = [await make_in(own_server, "READY") for _ in range(SERVICES)]
    with own_server.app.db.writes.begin() as connection:
        _fill(connection)
    return found[SERVICES // 2]


Look = Callable[[RunningServer, pb.Deployment], Awaitable[Any]]
LOOKS: dict[str, tuple[Look, list[str]]] = {
    "the newest of a service": (
        lambda server, found: server.admin.deployments.ListDeployments(
            pb.ListDeploymentsRequest(service=found.service_name, page_size=10)
        ),
        ["ix_deployment_service_id_created_at_id"],
    ),
    "the newest of an environment": (
        lambda server, found: server.admin.deployments.ListDeployments(
            pb.ListDeploymentsRequest(environment=found.environment_name, page_size=10)
        ),
        ["ix_deployment_environment_id_created_at_id"],
    ),
    "those that ended last": (
        lambda server, _: server.admin.deployments.ListDeployments(
            pb.ListDeploymentsRequest(order_by="completed_at desc", page_size=10)
        ),
        ["ix_deployment_ended"],
    ),
    "the queue": (
        lambda server, found: steps.check(server.admin, found),
        ["ix_deployment_waiting"],
    ),
    "what runs in an environment": (
        lambda server, found: server.admin.environments.GetEnvironmentStatus(
            environment_pb2.GetEnvironmentStatusRequest(environment=found.environment_name)
        ),
        ["ix_deployment_running"],
    ),
    "what runs of a service": (
        lambda server, found: server.admin.catalog.GetServiceHealth(
            catalog_pb2.GetServiceHealthRequest(service=found.service_name)
        ),
        ["ix_deployment_running", "ix_deployment_outcome"],
    ),
    "who waits for a change of the release": (
        steps.hold_for_a_moment,
        ["ix_deployment_waiting"],
    ),
}


async def test_looks_find_their_place_by_an_index(own_server: RunningServer, deployment: pb.Deployment) -> None:
    for name, (look, indexes) in LOOKS.items():
        plan = await _explained(own_server, look(own_server, deployment))
        for index in indexes:
            assert index in plan, (name, plan)
        if name != "those that ended last":  # without a filter the count looks at every row, up to 10,000
            assert "Seq Scan on deployment" not in plan, (name, plan)
        assert not re.search(r"SCAN deployment\w*( |$)(?!USING)", plan), (name, plan)
