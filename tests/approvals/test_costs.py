"""What approvals cost: statements, whatever came before, and nothing where none are asked for."""

from collections.abc import Awaitable
from typing import Any

from relman_client.v1 import approval_pb2 as pb
from tests.approvals.steps import Scene, waiting
from tests.deployments import steps
from tests.deployments.steps import make_in
from tests.factories import RunningServer
from tests.statements import statements


async def _cost(server: RunningServer, call: Awaitable[Any]) -> int:
    with statements(server.app.db) as seen:
        await call
    return len(seen)


async def _with_a_past(server: RunningServer, changes: int) -> Scene:
    """Return a scene whose approvals were voided several times."""
    scene = await waiting(server, approvers=3, required=2)
    for build in range(changes):
        await scene.approve(scene.approvers[0])
        await scene.change(labels={"build": str(build)})
    return scene


async def test_a_check_costs_one_statement_more_while_approvals_are_missing(server: RunningServer) -> None:
    ready = await make_in(server, "READY")
    plain = await _cost(server, steps.check(server.admin, ready))
    for changes in (0, 5):
        scene = await _with_a_past(server, changes)
        assert await _cost(server, steps.check(scene.author, scene.deployment)) == plain + 1
        await scene.approve(scene.approvers[0])
        await scene.approve(scene.approvers[1])
        assert await _cost(server, steps.check(scene.author, scene.deployment)) == plain


async def test_a_start_costs_the_same_with_approvals_and_without(server: RunningServer) -> None:
    plain = await _cost(server, steps.start(server.admin, await make_in(server, "READY")))
    for changes in (0, 5):
        scene = await _with_a_past(server, changes)
        await scene.approve(scene.approvers[0])
        await scene.approve(scene.approvers[1])
        assert await _cost(server, scene.start()) == plain


async def test_an_approval_is_one_statement_and_a_list_two_at_most(server: RunningServer) -> None:
    scene = await waiting(server, required=2)
    api = scene.author.approvals
    approval = (await scene.approvals())[0]
    assert await _cost(server, api.GetApproval(pb.GetApprovalRequest(approval=approval.id))) == 1
    for fields in (
        {"deployment": scene.deployment.id},
        {"service": scene.release.service_name, "environment": scene.environment.name, "page_size": 1},
        {"status": pb.APPROVAL_STATUS_PENDING, "page_size": 1},
    ):
        request = pb.ListApprovalsRequest(**fields)
        assert await _cost(server, api.ListApprovals(request)) <= 2


async def test_a_decision_costs_the_same_whatever_came_before(server: RunningServer) -> None:
    costs = [await _cost(server, (await _with_a_past(server, changes)).approve()) for changes in (0, 5)]
    assert costs[0] == costs[1]
    assert costs[0] <= 18
