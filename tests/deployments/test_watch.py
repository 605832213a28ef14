"""Watching: the state now, then every event once, in order, from wherever the watcher stood."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from sqlalchemy import event

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import stage_pb2
from relman_server.deployments import watch as watching
from tests.deployments import steps
from tests.deployments.steps import event_type, events_of, make_in
from tests.factories import Caller, RunningServer, make_deployment, refused


def _watch(caller: Caller, deployment: pb.Deployment, **fields: Any) -> Any:  # a call to iterate
    return caller.deployments.WatchDeployment(pb.WatchDeploymentRequest(deployment=deployment.id, **fields))


async def _begun(call: Any) -> tuple[pb.DeploymentEvent, AsyncIterator[pb.DeploymentEvent]]:
    """Return the snapshot, and what comes after it."""
    events = aiter(call)
    return await anext(events), events


async def _report(server: RunningServer, deployment: pb.Deployment, percent: int) -> None:
    await server.admin.stages.ReportStageProgress(
        stage_pb2.ReportStageProgressRequest(stage=f"{deployment.id}/build", progress_percent=percent)
    )


async def _building(server: RunningServer) -> pb.Deployment:
    """Return a deployment in progress whose stage runs; revision 3."""
    deployment = await make_in(server, "IN_PROGRESS", stages=["build"])
    await server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=f"{deployment.id}/build"))
    return deployment


async def test_a_watch_of_what_has_ended_is_its_state_and_nothing_more(server: RunningServer) -> None:
    deployment = await make_in(server, "SUCCEEDED")
    events = [event async for event in _watch(server.admin, deployment)]
    assert [(event_type(event), event.revision, event.cursor) for event in events] == [("SNAPSHOT", 3, "3")]
    assert events[0].deployment == deployment


async def test_a_watch_resumes_with_exactly_what_came_after(server: RunningServer) -> None:
    deployment = await make_in(server, "SUCCEEDED")
    history = await events_of(server.admin, deployment)
    for after in range(4):
        snapshot, *replayed = [event async for event in _watch(server.admin, deployment, after_revision=after)]
        assert replayed == history[after:]
        assert (event_type(snapshot), snapshot.deployment) == ("SNAPSHOT", deployment)


async def test_who_breaks_off_after_the_snapshot_of_a_resumed_watch_loses_nothing(server: RunningServer) -> None:
    """The snapshot shows the newest state, but its cursor is where the watcher stood: the events are yet to come."""
    deployment = await make_in(server, "IN_PROGRESS")
    call = _watch(server.admin, deployment, after_revision=1)
    snapshot, _ = await _begun(call)
    call.cancel()
    assert (snapshot.revision, snapshot.cursor) == (2, "1")
    await steps.cancel(server.admin, deployment)
    resumed = [event async for event in _watch(server.admin, deployment, after_revision=int(snapshot.cursor))]
    assert [event.revision for event in resumed[1:]] == [2, 3]


async def test_a_long_history_is_replayed_to_its_end(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BATCH", 2)
    deployment = await make_in(server, "FAILED")
    for impacted in (True, False):  # goes on after the event that ends it
        await server.admin.deployments.UpdateDeployment(
            pb.UpdateDeploymentRequest(deployment=deployment.id, production_impacted=impacted)
        )
    events = [event async for event in _watch(server.admin, deployment, after_revision=1)]
    assert [event.revision for event in events[1:]] == [2, 3, 4, 5]


async def test_a_revision_that_is_yet_to_come_is_unknown(server: RunningServer) -> None:
    deployment = await make_in(server, "READY")
    for after in (2, 2**62):
        refusal = await refused(_watch(server.admin, deployment, after_revision=after))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_UNKNOWN")
    refusal = await refused(_watch(server.admin, deployment, after_revision=-1))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"after_revision"})


async def test_a_watch_of_what_is_unknown_is_not_found(server: RunningServer) -> None:
    unknown = pb.Deployment(id="0190a1b2-0000-7000-8000-000000000000")
    refusal = await refused(_watch(server.admin, unknown))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "deployment")


async def test_a_watch_that_is_kept_open_goes_on_after_the_end(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    call = _watch(server.admin, deployment, keep_open=True)
    _, events = await _begun(call)
    await steps.complete(server.admin, deployment, steps.FAILED)
    assert event_type(await anext(events)) == "FAILED"
    await server.admin.deployments.UpdateDeployment(
        pb.UpdateDeploymentRequest(deployment=deployment.id, production_impacted=True)
    )
    assert event_type(await anext(events)) == "UPDATED"
    call.cancel()


async def test_a_deletion_ends_a_watch_at_once(server: RunningServer) -> None:
    deployment = await make_in(server, "CANCELLED")
    call = _watch(server.admin, deployment, keep_open=True)
    await _begun(call)
    await server.admin.deployments.DeleteDeployment(pb.DeleteDeploymentRequest(deployment=deployment.id))
    refusal = await asyncio.wait_for(refused(call), timeout=5)
    assert (refusal.code, refusal.resource.resource_name) == (grpc.StatusCode.NOT_FOUND, deployment.id)


async def test_a_watch_of_nothing_new_beats(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "HEARTBEAT", 0.05)
    deployment = await make_in(server, "IN_PROGRESS")
    call = _watch(server.admin, deployment, after_revision=2)
    _, events = await _begun(call)
    for _ in range(3):
        beat = await anext(events)
        assert (event_type(beat), beat.revision, beat.cursor) == ("HEARTBEAT", 2, "2")
        assert not beat.HasField("deployment")
    await steps.cancel(server.admin, deployment)
    assert "CANCELLED" in [event_type(event) async for event in events]


async def test_many_watchers_each_get_everything(server: RunningServer) -> None:
    deployment = await _building(server)
    begun = [await _begun(_watch(server.admin, deployment)) for _ in range(20)]
    for percent in (25, 50, 75):
        await _report(server, deployment, percent)
    await steps.cancel(server.admin, deployment)
    seen = await asyncio.gather(*(_revisions(events) for _, events in begun))
    assert seen == [[4, 5, 6, 7, 8]] * 20


async def test_what_is_new_is_read_once_for_all_who_watch(server: RunningServer) -> None:
    """Fails when each watcher looks, or reads events, by itself."""
    deployment, db, seen = await _building(server), server.app.db, list[str]()
    begun = [await _begun(_watch(server.admin, deployment)) for _ in range(20)]

    def before(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM deployment_event" in statement:
            seen.append(statement)

    event.listen(db.reads, "before_cursor_execute", before)
    await _report(server, deployment, 50)
    for _, events in begun:
        assert (await anext(events)).stage.progress_percent == 50
    event.remove(db.reads, "before_cursor_execute", before)
    assert len(seen) == 1
    await steps.cancel(server.admin, deployment)
    for _, events in begun:
        await _revisions(events)


async def _revisions(events: AsyncIterator[pb.DeploymentEvent]) -> list[int]:
    return [event.revision async for event in events if event_type(event) != "HEARTBEAT"]


async def test_no_event_is_lost_or_repeated_when_writes_race_the_beginning_of_a_watch(server: RunningServer) -> None:
    """Without listening before reading, or with the newest revision read apart from the snapshot, this loses some."""
    deployment = await _building(server)

    async def watch() -> list[int]:
        snapshot, events = await _begun(_watch(server.admin, deployment))
        return [snapshot.revision, *await _revisions(events)]

    async def write() -> None:
        for percent in range(30):
            await _report(server, deployment, percent)
        await steps.cancel(server.admin, deployment)

    async def many() -> list[list[int]]:
        watches = []
        for _ in range(30):
            watches.append(asyncio.create_task(watch()))
            await asyncio.sleep(0.005)
        return await asyncio.gather(*watches)

    seen, _ = await asyncio.gather(many(), write())
    last = len(await events_of(server.admin, deployment))
    for revisions in seen:
        assert revisions == list(range(revisions[0], last + 1))


async def test_one_who_stops_reading_does_not_hold_up_the_others(server: RunningServer) -> None:
    deployment = await _building(server)
    asleep = _watch(server.admin, deployment, keep_open=True)
    awake = _watch(server.admin, deployment)
    await asleep.read()
    _, events = await _begun(awake)
    output = "x" * 60_000
    for attempt in range(10):  # more than the windows of a stream hold
        await server.admin.stages.CompleteStage(
            stage_pb2.CompleteStageRequest(stage=f"{deployment.id}/build", outcome=steps.FAILED, output=output)
        )
        await server.admin.stages.RetryStage(stage_pb2.RetryStageRequest(stage=f"{deployment.id}/build"))
        await server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=f"{deployment.id}/build"))
        for kind in ("STAGE_ENDED", "STAGE_RETRIED", "STAGE_STARTED"):
            event = await asyncio.wait_for(anext(events), timeout=5)
            assert event_type(event) == kind, attempt
    await steps.cancel(server.admin, deployment)
    assert len([event async for event in events]) == 2
    late = await asleep.read()
    assert late.revision == 4
    asleep.cancel()


async def test_a_stage_in_the_history_does_not_carry_its_earlier_attempts(server: RunningServer) -> None:
    """Each report of progress would repeat the output of every attempt before."""
    deployment = await make_deployment(server.admin, server.admin, stages=["build"])
    await steps.start(server.admin, deployment)
    stage = f"{deployment.id}/build"
    await server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=stage))
    await server.admin.stages.CompleteStage(
        stage_pb2.CompleteStageRequest(stage=stage, outcome=steps.FAILED, output="what went wrong")
    )
    await server.admin.stages.RetryStage(stage_pb2.RetryStageRequest(stage=stage))
    events = await events_of(server.admin, deployment)
    assert [event.stage.output for event in events[3:]] == ["what went wrong", ""]
    assert not events[-1].stage.earlier_attempts
