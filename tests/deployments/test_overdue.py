"""What the server does by itself when a time has come, whether or not anyone is connected."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from relman_client.v1 import common_pb2, release_pb2, stage_pb2
from relman_client.v1 import deployment_pb2 as pb
from relman_server import settings
from relman_server.app import App
from relman_server.deployments import ending, overdue
from relman_server.kernel.db import Reading
from relman_server.kernel.errors import Unavailable
from tests.conftest import MovableClock
from tests.deployments import steps
from tests.deployments.steps import stage_state, state
from tests.factories import RunningServer, make_deployment, make_environment, make_release

BUILD = stage_pb2.StageSpec(name="build", timeout_seconds=60)


async def _running(server: RunningServer, **fields: Any) -> pb.Deployment:
    """Return a deployment whose first stage runs and may do so for a minute; another stage follows."""
    deployment = await make_deployment(server.admin, server.admin, stages=[BUILD, "test"], **fields)
    await steps.start(server.admin, deployment)
    await server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=f"{deployment.id}/build"))
    return deployment


async def _stages(server: RunningServer, deployment: pb.Deployment) -> list[str]:
    found = await server.admin.stages.ListStages(stage_pb2.ListStagesRequest(deployment=deployment.id))
    return [stage_state(stage) for stage in found.stages]


async def _until(server: RunningServer, deployment: pb.Deployment, wanted: list[str]) -> None:
    """Tick until the stages are as wanted: a tick does nothing while the server's own is at it."""
    for _ in range(100):
        if await _stages(server, deployment) == wanted:
            return
        await server.app.reconciler.tick()
        await asyncio.sleep(0.05)
    raise AssertionError(await _stages(server, deployment))


async def test_a_stage_that_takes_too_long_fails_its_deployment(own_server: RunningServer, clock: MovableClock) -> None:
    deployment = await _running(own_server)
    clock.advance(timedelta(seconds=58))
    await own_server.app.reconciler.tick()
    assert await _stages(own_server, deployment) == ["RUNNING", "PENDING"]
    clock.advance(timedelta(seconds=2))
    await _until(own_server, deployment, ["TIMED_OUT", "CANCELLED"])
    failed = await steps.get(own_server.admin, deployment)
    assert (state(failed), failed.failure_reason, failed.outcome) == ("FAILED", "STAGE_TIMEOUT", steps.FAILED)
    events = await steps.events_of(own_server.admin, deployment)
    assert [steps.event_type(event) for event in events[-3:]] == ["STAGE_ENDED", "STAGE_ENDED", "FAILED"]
    assert events[-1].message == "Stage build took longer than its 60 s."


async def test_it_happens_without_anyone_asking(own_server: RunningServer, clock: MovableClock) -> None:
    """Fails when nobody runs the reconciler."""
    deployment = await _running(own_server)
    clock.advance(timedelta(seconds=61))
    for _ in range(100):
        if state(await steps.get(own_server.admin, deployment)) == "FAILED":
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the stage goes on")


async def test_a_stage_without_a_timeout_may_take_any_time(own_server: RunningServer, clock: MovableClock) -> None:
    deployment = await make_deployment(own_server.admin, own_server.admin, stages=["build"])
    await steps.start(own_server.admin, deployment)
    await own_server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=f"{deployment.id}/build"))
    clock.advance(timedelta(minutes=10))
    await own_server.app.reconciler.tick()
    assert await _stages(own_server, deployment) == ["RUNNING"]


async def test_a_stage_that_ended_in_time_stays_as_it_ended(own_server: RunningServer, clock: MovableClock) -> None:
    deployment = await _running(own_server)
    await own_server.admin.stages.CompleteStage(
        stage_pb2.CompleteStageRequest(stage=f"{deployment.id}/build", outcome=common_pb2.OUTCOME_SUCCEEDED)
    )
    clock.advance(timedelta(minutes=10))
    await own_server.app.reconciler.tick()
    assert await _stages(own_server, deployment) == ["SUCCEEDED", "PENDING"]


async def test_another_attempt_has_its_whole_time(own_server: RunningServer, clock: MovableClock) -> None:
    deployment = await _running(own_server)
    stage = f"{deployment.id}/build"
    clock.advance(timedelta(seconds=50))
    await own_server.admin.stages.CompleteStage(
        stage_pb2.CompleteStageRequest(stage=stage, outcome=common_pb2.OUTCOME_FAILED)
    )
    await own_server.admin.stages.RetryStage(stage_pb2.RetryStageRequest(stage=stage))
    await own_server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=stage))
    clock.advance(timedelta(seconds=50))
    await own_server.app.reconciler.tick()
    assert await _stages(own_server, deployment) == ["RUNNING", "PENDING"]
    clock.advance(timedelta(seconds=11))
    await _until(own_server, deployment, ["TIMED_OUT", "CANCELLED"])


async def test_a_timeout_in_production_is_a_failed_release(own_server: RunningServer, clock: MovableClock) -> None:
    production = await make_environment(own_server.admin, environment_type=steps.PRODUCTION)
    deployment = await _running(own_server, environment=production.name)
    clock.advance(timedelta(seconds=61))
    await own_server.app.reconciler.tick()
    assert await steps.release_state(own_server.admin, deployment.release_id) == "FAILED"


async def test_the_next_in_the_queue_is_ready(own_server: RunningServer, clock: MovableClock) -> None:
    first = await _running(own_server)
    second = await make_deployment(
        own_server.admin, own_server.admin, release=first.release_id, environment=first.environment_name
    )
    clock.advance(timedelta(seconds=61))
    await own_server.app.reconciler.tick()
    assert state(await steps.get(own_server.admin, second)) == "READY"


async def test_many_at_once_are_all_timed_out_by_one_tick(own_server: RunningServer, clock: MovableClock) -> None:
    running = [await _running(own_server) for _ in range(5)]
    clock.advance(timedelta(seconds=61))
    await own_server.app.reconciler.tick()
    assert {state(await steps.get(own_server.admin, deployment)) for deployment in running} == {"FAILED"}


async def test_a_timeout_fires_after_a_restart(
    own_server: RunningServer, clock: MovableClock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    deployment = await _running(own_server)
    clock.advance(timedelta(hours=2))
    other = _another(own_server, clock, tmp_path_factory)
    try:
        await other.reconciler.tick()
    finally:
        other.close()
    own_server.admin = await own_server.user(is_admin=True)
    assert (await steps.get(own_server.admin, deployment)).failure_reason == "STAGE_TIMEOUT"


def _another(server: RunningServer, clock: MovableClock, folders: pytest.TempPathFactory) -> App:
    """Return another server of the same database."""
    chosen = settings.build(
        {
            "listen": "127.0.0.1:0",
            "data_dir": folders.mktemp("other"),
            "database_url": server.app.settings.url,
            "database_connections": 4,
        }
    )
    return App(chosen, clock)


async def test_two_servers_time_a_stage_out_once(
    own_server: RunningServer, clock: MovableClock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    running = [await _running(own_server) for _ in range(4)]
    clock.advance(timedelta(seconds=61))
    other = _another(own_server, clock, tmp_path_factory)
    try:
        await asyncio.gather(*(app.reconciler.tick() for app in (own_server.app, other, own_server.app, other)))
    finally:
        other.close()
    for deployment in running:
        await _until(own_server, deployment, ["TIMED_OUT", "CANCELLED"])
        ends = [steps.event_type(event) for event in await steps.events_of(own_server.admin, deployment)]
        assert ends.count("FAILED") == 1


async def test_one_that_dies_in_the_middle_leaves_it_to_the_next(
    own_server: RunningServer, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage is timed out and the deployment failed in one transaction: a death in between leaves neither."""
    deployment = await _running(own_server)
    clock.advance(timedelta(seconds=61))

    def dies(*_: object) -> None:
        raise Unavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(ending, "fail", dies)
        await own_server.app.reconciler.tick()
        assert await _stages(own_server, deployment) == ["RUNNING", "PENDING"]
    await _until(own_server, deployment, ["TIMED_OUT", "CANCELLED"])


async def test_a_clock_that_jumps_back_and_forth_ends_nothing_too_early(
    own_server: RunningServer, clock: MovableClock
) -> None:
    deployment = await _running(own_server)
    for jump in (timedelta(seconds=-3600), timedelta(seconds=3630), timedelta(seconds=-20)):
        clock.advance(jump)
        await own_server.app.reconciler.tick()
        assert await _stages(own_server, deployment) == ["RUNNING", "PENDING"]
    clock.advance(timedelta(seconds=55))
    await _until(own_server, deployment, ["TIMED_OUT", "CANCELLED"])


async def test_a_lock_that_expires_lets_those_go_that_waited(own_server: RunningServer, clock: MovableClock) -> None:
    """Fails when only callers look at gates: nobody calls here."""
    deployment = await make_deployment(own_server.admin, own_server.admin)
    await steps.lock(own_server, deployment.environment_name, ttl=Duration(seconds=300))
    assert state(await steps.get(own_server.admin, deployment)) == "PENDING"
    clock.advance(timedelta(minutes=4))
    await own_server.app.reconciler.tick()
    assert state(await steps.get(own_server.admin, deployment)) == "PENDING"
    clock.advance(timedelta(minutes=1, seconds=1))
    await own_server.app.reconciler.tick()
    assert state(await steps.get(own_server.admin, deployment)) == "READY"
    assert steps.event_type((await steps.events_of(own_server.admin, deployment))[-1]) == "READY"


async def test_a_release_that_soaked_long_enough_may_go_on(own_server: RunningServer, clock: MovableClock) -> None:
    first = await make_environment(own_server.admin)
    second = await make_environment(own_server.admin, promotes_from=first.name, soak_time=Duration(seconds=600))
    release = await make_release(own_server.admin)
    await steps.deploy(own_server, release.id, first.name)
    promoted = await own_server.admin.releases.PromoteRelease(release_pb2.PromoteReleaseRequest(release=release.id))
    assert (promoted.environment_name, steps.gates(promoted)) == (second.name, ["SOAK"])
    clock.advance(timedelta(seconds=601))
    await own_server.app.reconciler.tick()
    assert state(await steps.get(own_server.admin, promoted)) == "READY"


async def test_nothing_is_due_for_what_has_ended(own_server: RunningServer) -> None:
    """Whatever stands in the columns that ticks look at would be found again every second, for good."""
    deployment = await _running(own_server)
    await own_server.admin.deployments.StartDeployment(
        pb.StartDeploymentRequest(deployment=deployment.id, takeover=True)
    )
    await steps.cancel(own_server.admin, deployment)
    waiting = await make_deployment(own_server.admin, own_server.admin)
    await steps.lock(own_server, waiting.environment_name, ttl=Duration(seconds=300))
    await steps.cancel(own_server.admin, waiting)
    for due in (overdue.STAGES_DUE, overdue.LEASES_DUE, overdue.DECISIONS_DUE):
        assert await own_server.app.db.read(Reading.scalar, due) is None
