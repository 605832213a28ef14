"""The way through the environments: what has not succeeded, or not long enough, in the one before does not go on."""

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import environment_pb2, release_pb2
from tests.conftest import MovableClock
from tests.deployments import steps
from tests.deployments.steps import FAILED, check, event_type, events_of, gates, get, state
from tests.factories import Caller, RunningServer, make_deployment, make_environment, make_release, refused


async def _chain(admin: Caller, soak: timedelta = timedelta()) -> tuple[environment_pb2.Environment, ...]:
    """Create two environments; the second promotes from the first."""
    before = await make_environment(admin)
    soak_time = Duration()
    soak_time.FromTimedelta(soak)
    after = await make_environment(admin, promotes_from=before.name, soak_time=soak_time)
    return before, after


async def _deploy(
    admin: Caller, release: release_pb2.Release, environment: environment_pb2.Environment, **fields: object
) -> pb.Deployment:
    return await make_deployment(admin, admin, release=release.id, environment=environment.name, **fields)


async def _succeed(admin: Caller, release: release_pb2.Release, environment: environment_pb2.Environment) -> None:
    deployment = await _deploy(admin, release, environment)
    await steps.start(admin, deployment)
    await steps.complete(admin, deployment)


async def test_a_release_waits_for_its_success_in_the_environment_before(server: RunningServer) -> None:
    """Fails without the gate, and without the second look when the release succeeds there."""
    before, after = await _chain(server.admin)
    release = await make_release(server.admin)
    waiting = await _deploy(server.admin, release, after)
    assert (state(waiting), gates(waiting)) == ("PENDING", ["PROMOTION"])
    (blocker,) = waiting.blockers
    assert blocker.subject_id == before.id
    assert blocker.message == (
        f"{release.service_name}@{release.version} has not succeeded in {before.name} yet,"
        f" which {after.name} promotes from."
    )
    await _succeed(server.admin, release, before)
    assert state(await get(server.admin, waiting)) == "READY"
    assert event_type((await events_of(server.admin, waiting))[-1]) == "READY"


async def test_a_failure_in_the_environment_before_opens_nothing(server: RunningServer) -> None:
    before, after = await _chain(server.admin)
    release = await make_release(server.admin)
    waiting = await _deploy(server.admin, release, after)
    tried = await _deploy(server.admin, release, before)
    await steps.start(server.admin, tried)
    await steps.complete(server.admin, tried, FAILED)
    assert gates(await get(server.admin, waiting)) == ["PROMOTION"]


async def test_the_success_of_another_release_does_not_count(server: RunningServer) -> None:
    before, after = await _chain(server.admin)
    first = await make_release(server.admin)
    second = await make_release(server.admin, service=first.service_name)
    await _succeed(server.admin, first, before)
    assert gates(await _deploy(server.admin, second, after)) == ["PROMOTION"]


async def test_a_hotfix_goes_around_with_a_reason_only(server: RunningServer) -> None:
    _, after = await _chain(server.admin)
    hotfix = pb.DEPLOYMENT_KIND_HOTFIX
    release = await make_release(server.admin)
    held = await _deploy(server.admin, release, after, kind=hotfix)
    assert gates(held) == ["PROMOTION"]
    other = await make_release(server.admin)
    free = await _deploy(server.admin, other, after, kind=hotfix, hotfix_reason="customers cannot pay")
    assert state(free) == "READY"
    planned = await server.admin.deployments.UpdateDeployment(
        pb.UpdateDeploymentRequest(deployment=free.id, kind=pb.DEPLOYMENT_KIND_PLANNED)
    )
    assert (state(planned), gates(planned)) == ("PENDING", ["PROMOTION"]), "it is no hotfix any more"


async def test_a_release_must_have_run_long_enough_in_the_environment_before(
    own_server: RunningServer, clock: MovableClock
) -> None:
    before, after = await _chain(own_server.admin, soak=timedelta(minutes=10, seconds=30))
    release = await make_release(own_server.admin)
    await _succeed(own_server.admin, release, before)
    waiting = await _deploy(own_server.admin, release, after)
    assert gates(waiting) == ["SOAK"]
    (blocker,) = waiting.blockers
    assert "must have run in" in blocker.message
    assert "for 10 min 30 s" in blocker.message
    clock.advance(timedelta(minutes=10))
    assert (await refused(steps.start(own_server.admin, waiting))).reason == "BLOCKED"
    clock.advance(timedelta(seconds=31))
    assert blocker.until.ToDatetime() <= clock.now().replace(tzinfo=None)
    assert (await check(own_server.admin, waiting)).allowed
    await steps.start(own_server.admin, waiting)


async def test_a_second_success_does_not_begin_the_time_anew(own_server: RunningServer, clock: MovableClock) -> None:
    before, after = await _chain(own_server.admin, soak=timedelta(minutes=10))
    release = await make_release(own_server.admin)
    await _succeed(own_server.admin, release, before)
    clock.advance(timedelta(minutes=8))
    await _succeed(own_server.admin, release, before)
    clock.advance(timedelta(minutes=3))
    assert state(await _deploy(own_server.admin, release, after)) == "READY"


@pytest.mark.parametrize("field", ["promotes_from", "soak_time"])
async def test_a_rule_that_is_lifted_lets_those_who_waited_go(server: RunningServer, field: str) -> None:
    before, after = await _chain(server.admin, soak=timedelta(hours=1))
    release = await make_release(server.admin)
    if field == "soak_time":
        await _succeed(server.admin, release, before)
    waiting = await _deploy(server.admin, release, after)
    assert state(waiting) == "PENDING"
    request = environment_pb2.UpdateEnvironmentRequest(environment=after.name)
    request.update_mask.paths.append(field)
    await server.admin.environments.UpdateEnvironment(request)
    assert state(await get(server.admin, waiting)) == "READY"
