"""Stages among each other: names, orders, turns, and what the deployment's end does to them."""

from typing import Any
from uuid import uuid4

import grpc
import pytest

from relman_client.v1 import deployment_pb2
from relman_client.v1 import stage_pb2 as pb
from relman_client.v1.deployment_pb2 import Deployment
from tests.deployments import steps
from tests.deployments.steps import FAILED, SUCCEEDED, event_type, events_of, make_in, stage_state
from tests.factories import RunningServer, make_deployment, refused


async def _add(server: RunningServer, deployment: Deployment, name: str, **fields: Any) -> pb.PipelineStage:
    return await server.admin.stages.CreateStage(pb.CreateStageRequest(deployment=deployment.id, name=name, **fields))


async def _start(server: RunningServer, deployment: Deployment, name: str) -> pb.PipelineStage:
    return await server.admin.stages.StartStage(pb.StartStageRequest(stage=f"{deployment.id}/{name}"))


async def _end(server: RunningServer, deployment: Deployment, name: str, outcome: Any = SUCCEEDED) -> pb.PipelineStage:
    await _start(server, deployment, name)
    return await server.admin.stages.CompleteStage(
        pb.CompleteStageRequest(stage=f"{deployment.id}/{name}", outcome=outcome)
    )


async def _move(server: RunningServer, deployment: Deployment, name: str, order: int) -> pb.PipelineStage:
    return await server.admin.stages.UpdateStage(pb.UpdateStageRequest(stage=f"{deployment.id}/{name}", order=order))


async def _names(server: RunningServer, deployment: Deployment) -> list[tuple[str, int]]:
    listed = await server.admin.stages.ListStages(pb.ListStagesRequest(deployment=deployment.id))
    return [(stage.name, stage.order) for stage in listed.stages]


async def test_a_stage_comes_after_the_last_one_unless_it_says_where(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin, stages=["build"])
    await _add(server, deployment, "deploy", order=10)
    await _add(server, deployment, "verify")
    await _add(server, deployment, "test", order=5)
    assert await _names(server, deployment) == [("build", 1), ("test", 5), ("deploy", 10), ("verify", 11)]


async def test_names_and_orders_are_given_once(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin, stages=["build", "test"])
    for call in (
        _add(server, deployment, "build"),
        server.admin.stages.UpdateStage(pb.UpdateStageRequest(stage=f"{deployment.id}/test", name="build")),
    ):
        refusal = await refused(call)
        assert refusal.code == grpc.StatusCode.ALREADY_EXISTS
        assert refusal.resource.resource_name == f"{deployment.id}/build"
    for call in (_add(server, deployment, "deploy", order=1), _move(server, deployment, "test", 1)):
        refusal = await refused(call)
        assert refusal.code == grpc.StatusCode.ALREADY_EXISTS
        assert refusal.resource.resource_name == f"{deployment.id}/build (order 1)"


async def test_another_deployment_may_have_the_same_names(server: RunningServer) -> None:
    for _ in range(2):
        deployment = await make_deployment(server.admin, server.admin, stages=["build"])
        await _add(server, deployment, "test")


async def test_a_stage_starts_when_all_before_it_have_passed(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS", stages=["build", "test", "deploy"])
    refusal = await refused(_start(server, deployment, "deploy"))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert [condition[:2] for condition in refusal.conditions] == [
        ("PENDING", f"{deployment.id}/build"),
        ("PENDING", f"{deployment.id}/test"),
    ]
    assert "build (PENDING), test (PENDING)" in refusal.message
    await _end(server, deployment, "build")
    await server.admin.stages.SkipStage(pb.SkipStageRequest(stage=f"{deployment.id}/test"))
    assert stage_state(await _start(server, deployment, "deploy")) == "RUNNING"


@pytest.mark.parametrize("outcome", ["running", "failed"])
async def test_one_that_runs_or_failed_holds_those_behind_it(server: RunningServer, outcome: str) -> None:
    deployment = await make_in(server, "IN_PROGRESS", stages=["build", "test"])
    if outcome == "failed":
        await _end(server, deployment, "build", FAILED)
    else:
        await _start(server, deployment, "build")
    refusal = await refused(_start(server, deployment, "test"))
    assert [condition[0] for condition in refusal.conditions] == [outcome.upper()]


async def test_nothing_is_put_before_a_stage_that_was_started(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    for name, order in (("build", 10), ("test", 20)):
        await _add(server, deployment, name, order=order)
    await _start(server, deployment, "build")
    for call in (_add(server, deployment, "lint", order=5), _move(server, deployment, "test", 5)):
        refusal = await refused(call)
        assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
        assert "order 10" in refusal.message
    await _add(server, deployment, "lint", order=15)
    assert await _names(server, deployment) == [("build", 10), ("lint", 15), ("test", 20)]


async def test_a_stage_is_put_before_one_that_was_left_out(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    await _add(server, deployment, "build", order=10)
    await server.admin.stages.SkipStage(pb.SkipStageRequest(stage=f"{deployment.id}/build"))
    await _add(server, deployment, "lint", order=5)
    assert stage_state(await _end(server, deployment, "lint")) == "SUCCEEDED"


async def test_a_deployment_has_at_most_a_hundred_stages(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin, stages=[f"stage-{number}" for number in range(100)])
    refusal = await refused(_add(server, deployment, "one-more"))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "100" in refusal.message


async def test_what_has_ended_gets_no_more_stages(server: RunningServer) -> None:
    for before in ("SUCCEEDED", "FAILED", "CANCELLED", "REJECTED", "ROLLED_BACK"):
        deployment = await make_in(server, before)
        refusal = await refused(_add(server, deployment, "build"))
        assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, before)


async def test_a_success_names_every_stage_that_has_not_passed(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS", stages=["build", "test", "deploy", "verify"])
    await _end(server, deployment, "build")
    await _end(server, deployment, "test", FAILED)
    refusal = await refused(steps.complete(server.admin, deployment))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert [condition[:2] for condition in refusal.conditions] == [
        ("FAILED", f"{deployment.id}/test"),
        ("PENDING", f"{deployment.id}/deploy"),
        ("PENDING", f"{deployment.id}/verify"),
    ]


@pytest.mark.parametrize("end", ["fail", "cancel"])
async def test_the_end_of_a_deployment_cancels_what_has_not_ended_and_tells_it(server: RunningServer, end: str) -> None:
    deployment = await make_in(server, "IN_PROGRESS", stages=["build", "test", "deploy"])
    await _end(server, deployment, "build")
    await _start(server, deployment, "test")
    if end == "fail":
        await steps.complete(server.admin, deployment, FAILED)
    else:
        await steps.cancel(server.admin, deployment)
    stages = await server.admin.deployments.GetDeploymentStages(
        deployment_pb2.GetDeploymentStagesRequest(deployment=deployment.id)
    )
    assert [stage_state(stage) for stage in stages.stages] == ["SUCCEEDED", "CANCELLED", "CANCELLED"]
    events = (await events_of(server.admin, deployment))[-3:]
    assert [event_type(event) for event in events] == [
        "STAGE_ENDED",
        "STAGE_ENDED",
        "FAILED" if end == "fail" else "CANCELLED",
    ]
    assert [event.stage for event in events[:2]] == list(stages.stages[1:])
    # A watch ends at the first event of a deployment that has ended: those of its stages come before.
    assert [steps.state(event.deployment) for event in events[:2]] == ["IN_PROGRESS"] * 2


async def test_stages_are_listed_by_state_in_pages(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS", stages=["build", "test", "deploy"])
    await _end(server, deployment, "build")
    pending = pb.STAGE_STATUS_PENDING
    first = await server.admin.stages.ListStages(
        pb.ListStagesRequest(deployment=deployment.id, status=pending, page_size=1)
    )
    second = await server.admin.stages.ListStages(
        pb.ListStagesRequest(deployment=deployment.id, status=pending, page_size=1, page_token=first.next_page_token)
    )
    assert [stage.name for stage in (*first.stages, *second.stages)] == ["test", "deploy"]
    assert (second.total_size, second.next_page_token) == (2, "")


async def test_stages_of_an_unknown_deployment_are_not_found(server: RunningServer) -> None:
    unknown = "0190a1b2-0000-7000-8000-000000000000"
    for call in (
        server.admin.stages.ListStages(pb.ListStagesRequest(deployment=unknown)),
        server.admin.deployments.GetDeploymentStages(deployment_pb2.GetDeploymentStagesRequest(deployment=unknown)),
        server.admin.stages.CreateStage(pb.CreateStageRequest(deployment=unknown, name="build")),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "deployment")


async def test_a_deployment_is_returned_with_its_stages_when_asked(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin, stages=["build", "test"])
    found = await server.admin.deployments.GetDeployment(
        deployment_pb2.GetDeploymentRequest(deployment=deployment.id, view=deployment_pb2.DEPLOYMENT_VIEW_WITH_STAGES)
    )
    assert [stage.name for stage in found.stages] == ["build", "test"]
    found.ClearField("stages")
    assert found == deployment


async def test_asking_for_deployments_that_do_not_exist_takes_no_connection_away(server: RunningServer) -> None:
    """Fails when a snapshot that finds nothing leaves its transaction open: after a few there are no connections."""
    wanted = deployment_pb2.GetDeploymentRequest(
        deployment=str(uuid4()), view=deployment_pb2.DEPLOYMENT_VIEW_WITH_STAGES
    )
    for _ in range(10):
        refusal = await refused(server.admin.deployments.GetDeployment(wanted))
        assert refusal.code == grpc.StatusCode.NOT_FOUND
    listed = await server.admin.deployments.ListDeployments(deployment_pb2.ListDeploymentsRequest())
    assert listed.page == 1
