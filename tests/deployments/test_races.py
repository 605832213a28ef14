"""What happens at the same instant."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

import grpc
import pytest
from sqlalchemy.exc import IntegrityError

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import stage_pb2
from tests.deployments import steps
from tests.deployments.steps import events_of, gates, get, make_in, queue, state
from tests.factories import Refusal, RunningServer, make_deployment, make_environment, make_release, make_service


def _refusals(results: list[object]) -> list[Refusal]:
    return [Refusal(result) for result in results if isinstance(result, grpc.aio.AioRpcError)]


async def test_of_many_who_start_the_same_deployment_one_does(server: RunningServer) -> None:
    deployment = await make_in(server, "READY")
    results = await asyncio.gather(*(steps.start(server.admin, deployment) for _ in range(8)), return_exceptions=True)
    refusals = _refusals(list(results))
    assert len(refusals) == 7
    assert {refusal.info.metadata["state"] for refusal in refusals} == {"IN_PROGRESS"}
    assert [steps.event_type(event) for event in await events_of(server.admin, deployment)] == ["CREATED", "STARTED"]


async def test_of_two_that_both_believe_to_be_next_one_starts(server: RunningServer) -> None:
    first, second = await queue(server, 2)
    for deployment in (first, second):
        await server.app.db.write(
            steps.set_columns,
            deployment.id,
            {"status": "READY", "blockers": [], "created_at": datetime(2020, 1, 1, tzinfo=UTC)},
        )
    results = await asyncio.gather(
        steps.start(server.admin, first), steps.start(server.admin, second), return_exceptions=True
    )
    (refusal,) = _refusals(list(results))
    assert (refusal.code, refusal.reason) in {
        (grpc.StatusCode.FAILED_PRECONDITION, "BLOCKED"),
        (grpc.StatusCode.ABORTED, "CONFLICT"),
    }
    states = sorted([state(await get(server.admin, first)), state(await get(server.admin, second))])
    assert states[0] == "IN_PROGRESS"
    assert states[1] in {"PENDING", "READY"}


async def test_the_database_itself_refuses_a_second_in_progress(server: RunningServer) -> None:
    first, second = await queue(server, 2)
    await steps.start(server.admin, first)
    with pytest.raises(IntegrityError):
        await server.app.db.write(steps.set_columns, second.id, {"status": "IN_PROGRESS"})


@pytest.mark.usefixtures("no_deadlock")
async def test_of_many_created_at_once_one_is_ready(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    releases = [await make_release(server.admin, service=service.name) for _ in range(8)]
    created = await asyncio.gather(
        *(
            make_deployment(server.admin, server.admin, release=release.id, environment=environment.name)
            for release in releases
        )
    )
    found = sorted([await get(server.admin, deployment) for deployment in created], key=_place)
    assert [state(deployment) for deployment in found] == ["READY"] + ["PENDING"] * 7


def _place(deployment: pb.Deployment) -> tuple[int, str]:
    return deployment.created_at.ToNanoseconds(), deployment.id


@pytest.mark.usefixtures("no_deadlock")
async def test_one_created_while_the_one_before_ends_does_not_wait_for_it(server: RunningServer) -> None:
    service = await make_service(server.admin)
    for _ in range(10):
        environment = await make_environment(server.admin)
        release = await make_release(server.admin, service=service.name)
        first = await make_deployment(server.admin, server.admin, release=release.id, environment=environment.name)
        await steps.start(server.admin, first)
        _, second = await asyncio.gather(
            steps.complete(server.admin, first),
            make_deployment(server.admin, server.admin, release=release.id, environment=environment.name),
        )
        assert state(await get(server.admin, second)) == "READY"


@pytest.mark.usefixtures("no_deadlock")
async def test_one_created_while_its_environment_is_locked_waits(server: RunningServer) -> None:
    for _ in range(10):
        environment = await make_environment(server.admin)
        release = await make_release(server.admin)
        _, deployment = await asyncio.gather(
            steps.lock(server, environment.name),
            make_deployment(server.admin, server.admin, release=release.id, environment=environment.name),
        )
        assert gates(await get(server.admin, deployment)) == ["LOCK"]


@pytest.mark.usefixtures("no_deadlock")
async def test_a_queue_is_cancelled_all_at_once_without_a_deadlock(server: RunningServer) -> None:
    for _ in range(3):
        waiting = await queue(server, 8)
        await steps.start(server.admin, waiting[0])
        await asyncio.gather(
            steps.complete(server.admin, waiting[0]),
            *(steps.cancel(server.admin, deployment) for deployment in reversed(waiting[2:])),
            steps.lock(server, waiting[0].environment_name),
        )
        assert gates(await get(server.admin, waiting[1])) == ["LOCK"]


@pytest.mark.usefixtures("no_deadlock")
async def test_a_busy_queue_ends_with_everything_done_in_order(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    release = await make_release(server.admin, service=service.name)

    async def pipeline() -> str:
        deployment = await make_deployment(server.admin, server.admin, release=release.id, environment=environment.name)
        watch = server.admin.deployments.WatchDeployment(pb.WatchDeploymentRequest(deployment=deployment.id))
        async for event in watch:
            if state(event.deployment) == "READY":
                await steps.start(server.admin, deployment)
                await steps.complete(server.admin, deployment)
        return state(await get(server.admin, deployment))

    assert await asyncio.gather(*(pipeline() for _ in range(8))) == ["SUCCEEDED"] * 8
    listed = await server.admin.deployments.ListDeployments(
        pb.ListDeploymentsRequest(environment=environment.name, order_by="created_at")
    )
    started = [deployment.deployed_at.ToNanoseconds() for deployment in listed.deployments]
    assert started == sorted(started)


async def test_many_progress_reports_at_once_leave_no_gap_in_the_history(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin, stages=["build"])
    await steps.start(server.admin, deployment)
    stage = f"{deployment.id}/build"
    await server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=stage))
    await asyncio.gather(
        *(
            server.admin.stages.ReportStageProgress(
                stage_pb2.ReportStageProgressRequest(stage=stage, progress_percent=percent)
            )
            for percent in range(1, 41)
        )
    )
    events = await events_of(server.admin, deployment)
    assert Counter(steps.event_type(event) for event in events)["STAGE_PROGRESS"] == 40
    assert events[-1].revision == (await get(server.admin, deployment)).revision
    assert len({event.stage.progress_percent for event in events[3:]}) == 40


async def test_stages_of_one_deployment_and_its_end_at_once_agree(server: RunningServer) -> None:
    for _ in range(5):
        deployment = await make_deployment(server.admin, server.admin, stages=["build"])
        await steps.start(server.admin, deployment)
        stage = f"{deployment.id}/build"
        await server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=stage))
        results = await asyncio.gather(
            server.admin.stages.CompleteStage(stage_pb2.CompleteStageRequest(stage=stage, outcome=steps.SUCCEEDED)),
            steps.complete(server.admin, deployment, steps.FAILED),
            return_exceptions=True,
        )
        found = await server.admin.stages.GetStage(stage_pb2.GetStageRequest(stage=stage))
        assert steps.stage_state(found) == ("CANCELLED" if _refusals(list(results)) else "SUCCEEDED")
        assert [event.revision for event in await events_of(server.admin, deployment)][-1] == 5
