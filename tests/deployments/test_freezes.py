"""The gate FREEZE: closed while a window of a deploy policy is open, and everyone who watches is told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import policy_pb2
from tests.conftest import MovableClock
from tests.deployments import steps
from tests.deployments.steps import state
from tests.factories import RunningServer, make_deployment, make_environment, make_release, refused, unique
from tests.statements import statements

HOUR = timedelta(hours=1)
EVERY_DAY = [day for day in policy_pb2.DayOfWeek.values() if day]


def _window(start: datetime, end: datetime) -> policy_pb2.OneTimeWindow:
    window = policy_pb2.OneTimeWindow(start=Timestamp(), end=Timestamp())
    window.start.FromDatetime(start)
    window.end.FromDatetime(end)
    return window


async def _freeze(server: RunningServer, begins: timedelta, ends: timedelta, **fields: Any) -> policy_pb2.DeployPolicy:
    """Create a policy with one window, so long from now."""
    now = server.app.clock.now()
    fields.setdefault("one_time_windows", [_window(now + begins, now + ends)])
    request = policy_pb2.CreateDeployPolicyRequest(name=unique("freeze"), **fields)
    policy: policy_pb2.DeployPolicy = await server.admin.policies.CreateDeployPolicy(request)
    return policy


async def _pass(server: RunningServer, clock: MovableClock, span: timedelta) -> None:
    clock.advance(span)
    await server.app.reconciler.tick()
    server.admin = await server.user(is_admin=True)  # the token of before has expired


async def test_nothing_starts_while_a_freeze_holds(own_server: RunningServer) -> None:
    policy = await _freeze(own_server, -HOUR, HOUR)
    deployment = await make_deployment(own_server.admin, own_server.admin)
    (blocker,) = deployment.blockers
    assert (blocker.kind, blocker.subject_id) == (pb.BLOCKER_KIND_FREEZE, policy.id)
    assert blocker.until == policy.one_time_windows[0].end
    assert policy.name in blocker.message
    assert "until" in blocker.message
    refusal = await refused(steps.start(own_server.admin, deployment))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BLOCKED")
    assert [kind for kind, _, _ in refusal.conditions] == ["FREEZE"]


async def test_it_holds_for_what_the_policy_names(own_server: RunningServer) -> None:
    frozen, free = await make_environment(own_server.admin), await make_environment(own_server.admin)
    release, other = await make_release(own_server.admin), await make_release(own_server.admin)
    await _freeze(own_server, -HOUR, HOUR, environments=[frozen.name], services=[release.service_name])
    for which, where, gates in (
        (release, frozen, ["FREEZE"]),
        (release, free, []),
        (other, frozen, []),
    ):
        question = pb.CheckDeploymentRequest(release=which.id, environment=where.name)
        assert steps.gates(await own_server.admin.deployments.CheckDeployment(question)) == gates


async def test_who_watches_is_told_when_a_freeze_begins_and_when_it_ends(
    own_server: RunningServer, clock: MovableClock
) -> None:
    """Fails when only open windows say when to look again: nobody calls here."""
    await _freeze(own_server, HOUR, 2 * HOUR)
    deployment = await make_deployment(own_server.admin, own_server.admin)
    assert state(deployment) == "READY"
    await _pass(own_server, clock, HOUR + timedelta(seconds=1))
    frozen = await steps.get(own_server.admin, deployment)
    assert (state(frozen), steps.gates(frozen)) == ("PENDING", ["FREEZE"])
    await _pass(own_server, clock, HOUR)
    assert state(await steps.get(own_server.admin, deployment)) == "READY"
    events = [steps.event_type(event) for event in await steps.events_of(own_server.admin, deployment)]
    assert events == ["CREATED", "BLOCKED", "READY"]


async def test_a_start_decides_by_the_time_and_not_by_what_was_stored(
    own_server: RunningServer, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting while a freeze begins: the deployment is still READY in its row, since no tick came."""
    monkeypatch.setattr(own_server.app.reconciler, "tick", _no_tick)
    await _freeze(own_server, timedelta(minutes=5), HOUR)
    deployment = await make_deployment(own_server.admin, own_server.admin)
    clock.advance(timedelta(minutes=5))
    assert state(await steps.get(own_server.admin, deployment)) == "READY"
    assert (await refused(steps.start(own_server.admin, deployment))).reason == "BLOCKED"
    assert state(await steps.get(own_server.admin, deployment)) == "PENDING"


async def _no_tick() -> None:
    """Take the reconciler out."""


async def test_a_change_of_policies_is_seen_at_once(own_server: RunningServer) -> None:
    """Fails when PoliciesChanged is not subscribed."""
    deployment = await make_deployment(own_server.admin, own_server.admin)
    policies = own_server.admin.policies

    async def now() -> str:
        return state(await steps.get(own_server.admin, deployment))

    policy = await _freeze(own_server, -HOUR, HOUR)
    assert await now() == "PENDING"
    update = policy_pb2.UpdateDeployPolicyRequest
    await policies.UpdateDeployPolicy(update(deploy_policy=policy.name, is_active=False))
    assert await now() == "READY"
    await policies.UpdateDeployPolicy(update(deploy_policy=policy.name, is_active=True))
    assert await now() == "PENDING"
    await policies.DeleteDeployPolicy(policy_pb2.DeleteDeployPolicyRequest(deploy_policy=policy.name))
    assert await now() == "READY"


async def test_a_freeze_that_goes_on_for_good_says_so(own_server: RunningServer) -> None:
    always = policy_pb2.WeeklyWindow(days=EVERY_DAY, start="00:00", end="24:00")
    await _freeze(own_server, HOUR, HOUR, one_time_windows=[], weekly_windows=[always])
    deployment = await make_deployment(own_server.admin, own_server.admin)
    (blocker,) = deployment.blockers
    assert not blocker.HasField("until")
    assert "does not end by itself" in blocker.message


async def test_freezes_are_passed_by_an_override(own_server: RunningServer) -> None:
    await _freeze(own_server, -HOUR, HOUR)
    deployment = await make_deployment(own_server.admin, own_server.admin)
    override = pb.GateOverride(reason="the shop is down", kinds=[pb.BLOCKER_KIND_FREEZE])
    assert state(await steps.start(own_server.admin, deployment, override=override)) == "IN_PROGRESS"


@pytest.mark.parametrize(
    ("before", "ends"),
    [
        # Clocks go forward on March 28, so that the night is an hour shorter; back on October 31, so it is longer.
        (datetime(2027, 3, 27, 22, 0, tzinfo=UTC), datetime(2027, 3, 28, 4, 0, tzinfo=UTC)),
        (datetime(2027, 10, 30, 21, 0, tzinfo=UTC), datetime(2027, 10, 31, 5, 0, tzinfo=UTC)),
    ],
)
async def test_a_freeze_across_a_change_of_clocks(
    own_server: RunningServer, clock: MovableClock, before: datetime, ends: datetime
) -> None:
    """Six in the morning of Berlin is told by Berlin's clocks."""
    clock.advance(before - clock.now())
    own_server.admin = await own_server.user(is_admin=True)
    nights = policy_pb2.WeeklyWindow(days=EVERY_DAY, start="22:00", end="06:00", time_zone="Europe/Berlin")
    await _freeze(own_server, HOUR, HOUR, one_time_windows=[], weekly_windows=[nights])
    deployment = await make_deployment(own_server.admin, own_server.admin)
    (blocker,) = deployment.blockers
    assert blocker.until.ToDatetime(UTC) == ends
    await _pass(own_server, clock, ends - timedelta(seconds=30) - clock.now())
    assert state(await steps.get(own_server.admin, deployment)) == "PENDING"
    await _pass(own_server, clock, timedelta(seconds=31))
    assert state(await steps.get(own_server.admin, deployment)) == "READY"


async def test_50_policies_cost_no_more_statements_than_one(own_server: RunningServer) -> None:
    release, environment = await make_release(own_server.admin), await make_environment(own_server.admin)
    question = pb.CheckDeploymentRequest(release=release.id, environment=environment.name)
    for _ in range(50):
        await _freeze(own_server, -HOUR, HOUR)
    with statements(own_server.app.db) as seen:
        check = await own_server.admin.deployments.CheckDeployment(question)
    assert len(check.blockers) == 50
    assert len(seen) <= 3
