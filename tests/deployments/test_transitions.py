"""The state machine: every transition from every state is made, or refused with the state in the details."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from relman_client.v1 import deployment_pb2 as pb
from tests.deployments import steps
from tests.deployments.steps import FAILED, STATES, SUCCEEDED, make_in, state
from tests.factories import Caller, RunningServer, refused

Transition = Callable[[Caller, pb.Deployment], Awaitable[Any]]  # of answers of different RPCs

TRANSITIONS: dict[str, tuple[Transition, dict[str, str]]] = {
    # What it does, and from which states to which. A PENDING one is blocked, which is told apart below.
    "start": (steps.start, {"READY": "IN_PROGRESS"}),
    "succeed": (lambda caller, found: steps.complete(caller, found, SUCCEEDED), {"IN_PROGRESS": "SUCCEEDED"}),
    "fail": (lambda caller, found: steps.complete(caller, found, FAILED), {"IN_PROGRESS": "FAILED"}),
    "cancel": (steps.cancel, dict.fromkeys(("PENDING", "READY", "IN_PROGRESS"), "CANCELLED")),
}


@pytest.mark.parametrize("name", TRANSITIONS)
async def test_a_transition_is_made_from_its_states_and_refused_from_all_others(
    server: RunningServer, name: str
) -> None:
    make, allowed = TRANSITIONS[name]
    for before in STATES:
        deployment = await make_in(server, before)
        if before in allowed:
            assert state(await make(server.admin, deployment)) == allowed[before]
            continue
        refusal = await refused(make(server.admin, deployment))
        assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION, before
        assert refusal.info.metadata["state"] == before
        if (name, before) == ("start", "PENDING"):
            assert refusal.reason == "BLOCKED"
        else:
            assert refusal.reason == "INVALID_STATE"
            assert refusal.conditions[0][:2] == (before, deployment.id)
            assert before in refusal.message
        assert (await steps.get(server.admin, deployment)).status == deployment.status


async def test_a_check_is_refused_once_it_does_not_wait_any_more(server: RunningServer) -> None:
    for before in STATES:
        deployment = await make_in(server, before)
        if before in {"PENDING", "READY"}:
            assert (await steps.check(server.admin, deployment)).allowed == (before == "READY")
            continue
        refusal = await refused(steps.check(server.admin, deployment))
        assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, before)


async def test_only_failed_and_cancelled_ones_are_tried_again_and_stay_as_they_are(server: RunningServer) -> None:
    for before in STATES:
        deployment = await make_in(server, before)
        if before in {"FAILED", "CANCELLED"}:
            again = await steps.retry(server.admin, deployment)
            assert (state(again), again.retry_of) == ("READY", deployment.id)
        else:
            refusal = await refused(steps.retry(server.admin, deployment))
            assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, before)
        assert await steps.get(server.admin, deployment) == deployment


async def test_only_what_has_ended_is_deleted(server: RunningServer) -> None:
    for before in STATES:
        deployment = await make_in(server, before)
        delete = server.admin.deployments.DeleteDeployment(pb.DeleteDeploymentRequest(deployment=deployment.id))
        if before in {"PENDING", "READY", "IN_PROGRESS"}:
            refusal = await refused(delete)
            assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, before)
        else:
            await delete
            assert (await refused(steps.get(server.admin, deployment))).code == grpc.StatusCode.NOT_FOUND


async def test_completing_twice_is_refused_also_with_the_same_outcome(server: RunningServer) -> None:
    deployment = await make_in(server, "SUCCEEDED")
    for outcome in (SUCCEEDED, FAILED):
        refusal = await refused(steps.complete(server.admin, deployment, outcome))
        assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "SUCCEEDED")


async def test_a_success_has_neither_reason_nor_impact(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    for field in ({"failure_reason": "no"}, {"production_impacted": True}):
        refusal = await refused(steps.complete(server.admin, deployment, SUCCEEDED, **field))
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"outcome"})


async def test_a_failure_keeps_its_reason_and_its_impact(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    ended = await steps.complete(server.admin, deployment, FAILED, failure_reason="no disk", production_impacted=True)
    assert (ended.failure_reason, ended.production_impacted, ended.outcome) == ("no disk", True, FAILED)
    assert ended.HasField("completed_at")


async def test_an_impact_that_was_said_meanwhile_is_not_forgotten_at_the_end(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    await server.admin.deployments.UpdateDeployment(
        pb.UpdateDeploymentRequest(deployment=deployment.id, production_impacted=True)
    )
    assert (await steps.complete(server.admin, deployment, FAILED)).production_impacted


async def test_a_stale_etag_stops_every_transition(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    for call in (
        steps.start(server.admin, deployment, etag="0-stale"),
        steps.complete(server.admin, deployment, etag="0-stale"),
        steps.cancel(server.admin, deployment, etag="0-stale"),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    await steps.complete(server.admin, deployment, etag=deployment.etag)


async def test_an_unknown_deployment_is_not_found_and_a_wrong_id_is_refused(server: RunningServer) -> None:
    unknown = pb.Deployment(id="0190a1b2-0000-7000-8000-000000000000")
    wrong = pb.Deployment(id="checkout")
    for call in (steps.get, steps.start, steps.complete, steps.cancel, steps.retry, steps.check):
        refusal = await refused(call(server.admin, unknown))
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "deployment")
        refusal = await refused(call(server.admin, wrong))
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"deployment"})
