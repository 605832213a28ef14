"""Numbers that pipelines measure."""

import math
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from relman_client.v1 import analytics_pb2 as pb
from relman_client.v1 import deployment_pb2
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading
from tests.factories import RunningServer, make_deployment, make_environment, make_release, refused

Value = pb.DeploymentMetricValue


async def record(
    server: RunningServer, deployment: str, *metrics: pb.DeploymentMetricValue
) -> list[pb.DeploymentMetric]:
    request = pb.RecordDeploymentMetricsRequest(deployment=deployment, metrics=metrics)
    answer = await server.admin.analytics.RecordDeploymentMetrics(request)
    return list(answer.deployment_metrics)


async def listed(server: RunningServer, **fields: Any) -> pb.ListDeploymentMetricsResponse:
    found: pb.ListDeploymentMetricsResponse = await server.admin.analytics.ListDeploymentMetrics(
        pb.ListDeploymentMetricsRequest(**fields)
    )
    return found


async def a_deployment(server: RunningServer, **fields: Any) -> deployment_pb2.Deployment:
    return await make_deployment(server.admin, server.admin, **fields)


async def test_numbers_are_answered_as_they_were_given_in_their_order(server: RunningServer) -> None:
    deployment = await a_deployment(server)
    given = [
        Value(metric_name="build/duration", metric_value=48.25, unit="s"),
        Value(metric_name="Image.size", metric_value=2.5e8, unit="B"),
        Value(metric_name="tests"),
    ]
    made = await record(server, deployment.id, *given)
    assert [(each.metric_name, each.metric_value, each.unit) for each in made] == [
        ("build/duration", 48.25, "s"),
        ("Image.size", 2.5e8, "B"),
        ("tests", 0.0, ""),
    ]
    found = await listed(server, deployment=deployment.id, order_by="metric_value")
    assert [each.metric_name for each in found.deployment_metrics] == ["tests", "build/duration", "Image.size"]
    assert {each.id for each in found.deployment_metrics} == {each.id for each in made}


async def test_a_number_of_the_same_name_is_replaced(server: RunningServer) -> None:
    deployment = await a_deployment(server)
    (first,) = await record(server, deployment.id, Value(metric_name="tests", metric_value=10))
    more = (Value(metric_name="lint", metric_value=1), Value(metric_name="tests", metric_value=12, unit="n"))
    _, second = await record(server, deployment.id, *more)
    assert (second.id, second.created_at, second.metric_value, second.unit) == (first.id, first.created_at, 12, "n")
    assert second.updated_at.ToNanoseconds() > first.updated_at.ToNanoseconds()
    assert (await listed(server, deployment=deployment.id)).total_size == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
async def test_what_is_no_number_is_refused_and_nothing_is_recorded(server: RunningServer, value: float) -> None:
    deployment = await a_deployment(server)
    good, bad = Value(metric_name="good", metric_value=1), Value(metric_name="bad", metric_value=value)
    refusal = await refused(record(server, deployment.id, good, bad))
    assert set(refusal.violations) == {"metrics[1].metric_value"}
    assert "finite" in refusal.violations["metrics[1].metric_value"]
    assert (await listed(server, deployment=deployment.id)).total_size == 0


@pytest.mark.parametrize("name", ["", "a b", "x" * 101, "größe", "a\n", "=1+1", "<b>"])
async def test_a_name_is_of_letters_digits_and_a_few_signs(server: RunningServer, name: str) -> None:
    deployment = await a_deployment(server)
    refusal = await refused(record(server, deployment.id, Value(metric_name=name, metric_value=1)))
    assert set(refusal.violations) == {"metrics[0].metric_name"}


async def test_names_come_once_and_there_are_at_most_1000(server: RunningServer) -> None:
    deployment = await a_deployment(server)
    many = [Value(metric_name=f"m{number}", metric_value=number) for number in range(1001)]
    for wrong in ([many[0], many[0]], many, []):
        assert set((await refused(record(server, deployment.id, *wrong))).violations) == {"metrics"}
    assert len(await record(server, deployment.id, *many[:1000])) == 1000


async def test_percentiles_are_exact_and_of_each_release(server: RunningServer) -> None:
    first = await make_release(server.admin)
    second = await make_release(server.admin, service=first.service_name)
    place = (await make_environment(server.admin)).name
    for release, values in ((first, (1.0, 2.0, 4.0)), (second, (10.0,))):
        for value in values:
            deployment = await a_deployment(server, release=release.id, environment=place, supersede=True)
            await record(server, deployment.id, Value(metric_name="build", metric_value=value, unit="s"))
    found = await listed(server, service=first.service_name, with_percentiles=True, page_size=1)
    assert (len(found.deployment_metrics), found.total_size) == (1, 4)
    newest, oldest = found.percentiles
    assert (newest.release_version, newest.count, newest.p50, newest.p99) == (second.version, 1, 10.0, 10.0)
    assert (oldest.release_id, oldest.service_name, oldest.unit) == (first.id, first.service_name, "s")
    assert (oldest.count, oldest.minimum, oldest.p50, oldest.maximum) == (3, 1.0, 2.0, 4.0)
    assert (oldest.p90, oldest.p99) == (2 + 2 * (0.9 * 2 - 1), 2 + 2 * (0.99 * 2 - 1))
    assert not (await listed(server, service=first.service_name)).percentiles


async def test_numbers_are_found_by_release_service_environment_and_name(server: RunningServer) -> None:
    deployment = await a_deployment(server)
    await record(server, deployment.id, Value(metric_name="a", metric_value=1), Value(metric_name="b", metric_value=2))
    release = f"{deployment.service_name}@{deployment.release_version}"
    by = {"service": deployment.service_name}
    for filters in (by, {"release": release}, {"environment": deployment.environment_name}):
        assert (await listed(server, **filters)).total_size == 2, filters
    assert (await listed(server, **by, metric_name="b")).total_size == 1
    for unknown in ({"service": "ghosts"}, {"environment": "ghosts"}, {"release": "ghosts@1.0.0"}):
        assert (await refused(listed(server, **unknown))).code == grpc.StatusCode.NOT_FOUND


async def test_only_those_who_work_on_the_service_record(server: RunningServer) -> None:
    deployment, ann = await a_deployment(server), await server.user()
    request = pb.RecordDeploymentMetricsRequest(deployment=deployment.id, metrics=[Value(metric_name="a")])
    assert (await refused(ann.analytics.RecordDeploymentMetrics(request))).code == grpc.StatusCode.PERMISSION_DENIED


async def test_the_audit_log_says_what_was_recorded(server: RunningServer) -> None:
    deployment = await a_deployment(server)
    await record(server, deployment.id, Value(metric_name="tests", metric_value=7))
    (entry,) = await server.app.db.read(_audited, deployment.id)
    assert (entry.action, entry.details["metrics"]) == ("deployment_metric.record", {"tests": 7.0})


def _audited(tx: Reading, deployment_id: str) -> list[Any]:
    entries = select(AuditEntry.action, AuditEntry.details).where(AuditEntry.resource_id == deployment_id)
    return list(tx.rows(entries.where(AuditEntry.action == "deployment_metric.record")))
