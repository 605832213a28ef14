"""The golden cases of the definitions, by RPC: what a team does, and which figures come of it."""

from datetime import UTC, timedelta

import pytest

from relman_client.v1 import analytics_pb2 as pb
from relman_client.v1 import deployment_pb2, incident_pb2
from tests.analytics.steps import HOTFIX, STAGING, Delivery, band, change, seconds
from tests.factories import make_environment


async def test_two_incidents_of_one_of_four_deployments_are_one_failure(delivery: Delivery) -> None:
    made = [await delivery.deploy() for _ in range(4)]
    for _ in range(2):
        await delivery.incident(deployment=made[1].id)
    rate = (await delivery.summary()).change_failure_rate
    assert (rate.value, rate.sample_size, band(rate)) == (0.25, 4, "LOW")
    assert list(rate.contributing_deployment_ids) == [made[1].id]


async def test_time_to_restore_runs_from_the_end_of_the_deployment_to_the_end_of_the_incident(
    delivery: Delivery,
) -> None:
    failed = await delivery.deploy()
    delivery.wait(minutes=20)
    incident = await delivery.incident(deployment=failed.id)
    delivery.wait(minutes=40)
    await delivery.resolve(incident)
    restore = (await delivery.summary()).time_to_restore
    assert restore.value == pytest.approx(3600, abs=20)
    assert (restore.mean, restore.sample_size, restore.excluded) == (restore.value, 1, 0)
    assert list(restore.contributing_deployment_ids) == [failed.id]


async def test_a_rollback_ends_a_failure_and_is_no_deployment_of_its_own(delivery: Delivery) -> None:
    await delivery.deploy()
    delivery.wait(hours=3)
    bad = await delivery.deploy()
    delivery.wait(minutes=30)
    back = await delivery.undo(bad)
    found = await delivery.summary()
    assert found.deployment_frequency.sample_size == 2
    assert (found.change_failure_rate.value, found.change_failure_rate.sample_size) == (0.5, 2)
    assert found.time_to_restore.value == pytest.approx(seconds(bad, back), abs=1e-6)
    assert (found.rework_rate.value, found.rework_rate.sample_size) == (1 / 3, 3)
    assert list(found.rework_rate.contributing_deployment_ids) == [back.id]


async def test_a_hotfix_that_is_bad_itself_ends_nothing(delivery: Delivery) -> None:
    bad = await delivery.deploy()
    worse = await delivery.hotfix(bad)
    good = await delivery.hotfix(worse)
    restore = (await delivery.summary()).time_to_restore
    both = [seconds(bad, good), seconds(worse, good)]
    assert restore.value == pytest.approx(sum(both) / 2, abs=1e-6)
    assert restore.sample_size == 2


async def test_staging_alone_is_no_delivery(delivery: Delivery) -> None:
    staging = await Delivery(delivery.server, delivery.clock).prepare(STAGING)
    await staging.deploy()
    found = await staging.summary()
    assert (found.deployment_frequency.HasField("value"), found.deployment_frequency.value) == (True, 0.0)
    for name in ("lead_time_for_changes", "change_failure_rate", "time_to_restore", "rework_rate"):
        metric = getattr(found, name)
        assert (metric.HasField("value"), metric.band, bool(metric.reason)) == (False, 0, True), name
    there = await staging.summary(environment_types=[STAGING])
    assert there.deployment_frequency.sample_size == 1


async def test_a_failure_counts_when_users_felt_it_and_else_only_for_the_pipeline(delivery: Delivery) -> None:
    await delivery.deploy(fails=True)
    await delivery.deploy(fails=True, impacted=True)
    good = await delivery.deploy()
    found = await delivery.summary()
    assert (found.change_failure_rate.value, found.change_failure_rate.sample_size) == (0.5, 2)
    assert (found.deployment_failure_rate.value, found.deployment_failure_rate.sample_size) == (1 / 3, 3)
    assert list(found.deployment_frequency.contributing_deployment_ids) == [good.id]


async def test_what_never_ran_counts_nowhere(delivery: Delivery) -> None:
    release = await delivery.release()
    request = deployment_pb2.CreateDeploymentRequest(release=release.id, environment=delivery.place)
    waiting = await delivery.admin.deployments.CreateDeployment(request)
    await delivery.admin.deployments.CancelDeployment(
        deployment_pb2.CancelDeploymentRequest(deployment=waiting.id, reason="no")
    )
    found = await delivery.summary()
    assert found.deployment_failure_rate.sample_size == found.change_failure_rate.sample_size == 0


async def test_a_label_names_what_a_hotfix_repairs(delivery: Delivery) -> None:
    bad = await delivery.deploy()
    fix = await delivery.deploy(kind=HOTFIX, labels={"remediates": bad.id})
    assert fix.remediates == bad.id
    assert list((await delivery.summary()).change_failure_rate.contributing_deployment_ids) == [bad.id]
    for unknown in ("nothing", "01890a5d-ac96-774b-bcce-b302099a8057"):
        assert (await delivery.deploy(kind=HOTFIX, labels={"remediates": unknown})).remediates == ""


async def test_lead_time_is_of_changes_counted_once_after_the_first_deployment(delivery: Delivery) -> None:
    now = delivery.now
    old, new = change(1, now - timedelta(days=9)), change(2, now - timedelta(hours=10))
    await delivery.deploy(await delivery.release([old]))
    second = await delivery.deploy(await delivery.release([old, new]))
    await delivery.deploy(await delivery.release([new]))
    lead = (await delivery.summary()).lead_time_for_changes
    took = second.completed_at.ToDatetime() - new.committed_at.ToDatetime()
    assert lead.value == lead.p90 == pytest.approx(took.total_seconds(), abs=1e-6)
    assert (lead.sample_size, lead.basis, band(lead)) == (1, "changes", "ELITE")
    assert list(lead.contributing_deployment_ids) == [second.id]


async def test_changes_from_the_future_are_left_out_and_counted(delivery: Delivery) -> None:
    await delivery.deploy()
    await delivery.deploy(await delivery.release([change(1, delivery.now + timedelta(days=2))]))
    lead = (await delivery.summary()).lead_time_for_changes
    assert (lead.HasField("value"), lead.excluded, lead.sample_size) == (False, 1, 0)
    assert "committed after" in lead.reason


async def test_lead_time_falls_back_to_the_commit_and_then_to_the_release(delivery: Delivery) -> None:
    staging = await make_environment(delivery.admin, environment_type=STAGING)
    made = delivery.now - timedelta(days=3)
    await delivery.deploy()
    await delivery.deploy(await delivery.release([change(5, made)]), environment=staging.name)
    known = await delivery.deploy(await delivery.release(git_commit=f"{5:040x}"))
    lead = (await delivery.summary()).lead_time_for_changes
    assert (lead.basis, lead.sample_size) == ("git_commit", 1)
    took = known.completed_at.ToDatetime(tzinfo=UTC) - made
    assert lead.value == pytest.approx(took.total_seconds(), abs=1e-6)
    release = await delivery.release(git_commit="abcdef1")
    delivery.wait(hours=2)
    late = await delivery.deploy(release)
    lead = (await delivery.summary()).lead_time_for_changes
    assert (lead.basis, lead.sample_size) == ("mixed", 2)
    assert late.id in lead.contributing_deployment_ids


async def test_with_the_deployment_that_brought_it_a_change_is_deleted_to_the_next_one(delivery: Delivery) -> None:
    await delivery.deploy()
    release = await delivery.release([change(1, delivery.now - timedelta(hours=1))])
    first = await delivery.deploy(release)
    again = await delivery.deploy(release)
    assert list((await delivery.summary()).lead_time_for_changes.contributing_deployment_ids) == [first.id]
    delete = deployment_pb2.DeleteDeploymentRequest(deployment=first.id)
    await delivery.admin.deployments.DeleteDeployment(delete)
    assert list((await delivery.summary()).lead_time_for_changes.contributing_deployment_ids) == [again.id]


async def test_an_incident_speaks_against_the_deployment_that_it_is_linked_to_now(delivery: Delivery) -> None:
    suspected, guilty = await delivery.deploy(), await delivery.deploy()
    incident = await delivery.incident(deployment=suspected.id)
    for named, failed in ((guilty.id, [guilty.id]), ("", [])):
        change = incident_pb2.UpdateIncidentRequest(incident=incident.id, deployment=named)
        await delivery.admin.incidents.UpdateIncident(change)
        rate = (await delivery.summary()).change_failure_rate
        assert list(rate.contributing_deployment_ids) == failed


async def test_a_hotfix_that_is_deleted_speaks_against_nothing(delivery: Delivery) -> None:
    repaired = await delivery.deploy()
    hotfix = await delivery.hotfix(repaired)
    await delivery.deploy()
    assert list((await delivery.summary()).change_failure_rate.contributing_deployment_ids) == [repaired.id]
    delete = deployment_pb2.DeleteDeploymentRequest(deployment=hotfix.id)
    await delivery.admin.deployments.DeleteDeployment(delete)
    assert (await delivery.summary()).change_failure_rate.value == 0


async def test_what_is_not_over_is_left_out_with_its_age(delivery: Delivery) -> None:
    failed = await delivery.deploy()
    await delivery.incident(deployment=failed.id)
    await delivery.deploy(fails=True, impacted=True)
    delivery.wait(hours=5)
    restore = (await delivery.summary()).time_to_restore
    assert (restore.HasField("value"), restore.excluded, restore.open_failures) == (False, 2, 2)
    age = delivery.now.replace(tzinfo=None) - failed.completed_at.ToDatetime()
    assert restore.oldest_open_age.ToTimedelta().total_seconds() == pytest.approx(age.total_seconds(), abs=20)
    assert restore.reason


async def test_incidents_that_nobody_linked_are_counted_beside_the_rates(delivery: Delivery) -> None:
    await delivery.deploy()
    await delivery.incident()
    found = await delivery.summary()
    assert (found.unlinked_incidents, found.change_failure_rate.value) == (1, 0.0)


async def test_days_before_the_first_deployment_do_not_count(delivery: Delivery) -> None:
    delivery.wait(days=1)
    await delivery.deploy()
    delivery.wait(days=2)
    await delivery.deploy()
    frequency = (await delivery.summary()).deployment_frequency
    assert frequency.value == pytest.approx(2 / 3)
    assert (frequency.unit, band(frequency)) == ("per_day", "UNSPECIFIED")
    assert "4 whole weeks" in frequency.reason


async def test_all_services_together_have_the_deployments_of_each(delivery: Delivery) -> None:
    other = await Delivery(delivery.server, delivery.clock).prepare()
    made = {(await each.deploy()).id for each in (delivery, other)}
    asked = delivery.question()
    del asked["services"]
    found = await delivery.admin.analytics.GetMetricsSummary(pb.GetMetricsSummaryRequest(**asked))
    assert made <= set(found.deployment_frequency.contributing_deployment_ids)
    rows = await delivery.admin.analytics.GetMetricsByService(pb.GetMetricsByServiceRequest(**asked))
    sizes = {row.service_name: row.metrics.deployment_frequency.sample_size for row in rows.rows}
    assert (sizes[delivery.service], sizes[other.service]) == (1, 1)
    assert sum(sizes.values()) == found.deployment_frequency.sample_size
