"""What happens at the same instant: nobody starts what was not approved as it is, and no request is answered twice."""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from relman_client.v1 import deployment_pb2, environment_pb2, stage_pb2
from tests.approvals.steps import Scene, waiting
from tests.deployments.steps import cancel, event_type, events_of
from tests.factories import Refusal, RunningServer, make_deployment

pytestmark = pytest.mark.usefixtures("no_deadlock")


async def _at_once(*calls: Awaitable[Any]) -> list[str]:
    """Return how each call ended: "OK", or the reason of the refusal."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [_reason(result) for result in results]


def _reason(result: object) -> str:
    if isinstance(result, grpc.aio.AioRpcError):
        return Refusal(result).reason
    assert not isinstance(result, BaseException), result
    return "OK"


async def test_of_two_who_answer_the_only_request_one_does(server: RunningServer) -> None:
    for _ in range(5):
        scene = await waiting(server)
        ends = await _at_once(scene.approve(scene.approvers[0]), scene.approve(scene.approvers[1]))
        assert sorted(ends) == ["INVALID_STATE", "OK"]
        assert (await scene.state(), await scene.states()) == ("READY", ["APPROVED"])


async def test_two_who_approve_at_once_both_count(server: RunningServer) -> None:
    for _ in range(5):
        scene = await waiting(server, required=2)
        ends = await _at_once(scene.approve(scene.approvers[0]), scene.approve(scene.approvers[1]))
        assert (ends, await scene.state()) == (["OK", "OK"], "READY")


async def test_who_approves_many_times_at_once_counts_once(server: RunningServer) -> None:
    scene = await waiting(server, required=3)
    ends = await _at_once(*(scene.approve() for _ in range(6)))
    assert Counter(ends) == {"OK": 1, "INVALID_STATE": 5}
    assert await scene.states() == ["APPROVED", "PENDING", "PENDING"]


async def test_of_a_yes_and_a_no_at_once_the_one_request_takes_one(server: RunningServer) -> None:
    for _ in range(5):
        scene = await waiting(server)
        await _at_once(scene.approve(scene.approvers[0]), scene.reject(scene.approvers[1]))
        assert (await scene.state(), await scene.states()) in [("READY", ["APPROVED"]), ("REJECTED", ["REJECTED"])]


async def test_an_approval_and_the_end_of_its_deployment_at_once_agree(server: RunningServer) -> None:
    for _ in range(5):
        scene = await waiting(server)
        ends = await _at_once(scene.approve(), cancel(scene.author, scene.deployment))
        assert ends[1] == "OK"
        assert (await scene.state(), await scene.states()) == (
            "CANCELLED",
            ["APPROVED" if ends[0] == "OK" else "CANCELLED"],
        )


async def test_asking_while_the_environment_changes_ends_in_step_with_it(server: RunningServer) -> None:
    for _ in range(5):
        scene = await waiting(server, approvers=3)
        rules = environment_pb2.UpdateEnvironmentRequest(environment=scene.environment.name, required_approvals=2)
        ends = await _at_once(
            scene.ask(),
            server.admin.environments.UpdateEnvironment(rules),
            make_deployment(scene.author, server.admin, release=scene.release.id, environment=scene.environment.name),
            scene.approve(),
        )
        assert ends == ["OK"] * 4
        assert (await scene.blocker()).message == f"Waiting for 2 of 3 approvals: team {scene.team}."


async def test_nobody_waits_in_a_circle_for_who_changes_the_environment(server: RunningServer) -> None:
    for _ in range(8):
        scene = await waiting(server, approvers=3)
        for stage in ("build", "deploy"):
            request = stage_pb2.CreateStageRequest(deployment=scene.deployment.id, name=stage)
            await scene.author.stages.CreateStage(request)
        rules = environment_pb2.UpdateEnvironmentRequest(environment=scene.environment.name, required_approvals=2)
        await _at_once(
            scene.ask(),
            server.admin.environments.UpdateEnvironment(rules),
            make_deployment(scene.author, server.admin, release=scene.release.id, environment=scene.environment.name),
            scene.change(labels={"build": "18"}),
            scene.approve(),
            scene.reject(scene.approvers[1]),
        )
        # Who comes when the approvals are complete, before the environment wants another, has nothing to reject.
        assert await scene.state() in {"REJECTED", "PENDING"}


LABELS = 4
# Each change of labels races approvals and starts; `make model RACES=1000` has many more.
ROUNDS = int(os.environ.get("RELMAN_RACES", "12")) // LABELS


async def _race(scene: Scene) -> Counter[str]:
    """Let people approve, edit and start one deployment, all at once and again and again; return how starts ended."""
    starts: Counter[str] = Counter()

    async def approve(who: int) -> None:
        for _ in range(LABELS):
            await _at_once(scene.approve(scene.approvers[who]))

    async def edit() -> None:
        for build in range(LABELS):
            await _at_once(scene.change(labels={"build": str(build)}))

    async def start() -> None:
        for _ in range(2 * LABELS):
            (end,) = await _at_once(scene.start())
            starts[end] += 1

    await asyncio.gather(approve(0), approve(1), edit(), start(), start())
    return starts


def _approved_when_started(events: list[deployment_pb2.DeploymentEvent]) -> set[str] | None:
    """Return, by the history, who had approved what was then started; None when it was not started."""
    labels: dict[str, str] = {}
    approved: set[str] = set()
    for event in events:
        now = dict(event.deployment.labels)
        if event_type(event) == "STARTED":
            assert now == labels
            return approved
        if now != labels:
            labels, approved = now, set()
        if event.message.startswith("Approved by "):
            approved.add(event.actor_id)
    return None


@pytest.mark.timeout(60 + 2 * ROUNDS)
@pytest.mark.parametrize("required", [1, 2])
async def test_nobody_starts_what_was_approved_as_something_else(server: RunningServer, required: int) -> None:
    scene = await waiting(server, required=required)
    starts: Counter[str] = Counter()
    for _ in range(ROUNDS):
        starts += await _race(scene)
        approved = _approved_when_started(await events_of(scene.author, scene.deployment))
        assert approved is None or len(approved) >= required
        await cancel(scene.author, scene.deployment)
        scene.deployment = await make_deployment(
            scene.author, server.admin, release=scene.release.id, environment=scene.environment.name
        )
    assert starts["BLOCKED"] > 0 or ROUNDS < 10  # a few rounds may all go well
    assert set(starts) <= {"OK", "BLOCKED", "INVALID_STATE"}
