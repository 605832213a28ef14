"""Finding approvals: by state, deployment, approver, service and environment."""

from typing import Any

import grpc
import pytest

from relman_client.v1 import approval_pb2 as pb
from tests.approvals.steps import Scene, waiting, withdraw
from tests.factories import RunningServer, make_deployment, make_environment, refused


async def _ids(scene: Scene, **fields: Any) -> set[str]:
    """Return the ids of the scene's service's approvals that a filter finds."""
    request = pb.ListApprovalsRequest(service=scene.release.service_name, **fields)
    return {approval.id for approval in (await scene.author.approvals.ListApprovals(request)).approvals}


async def _all_kinds(server: RunningServer) -> tuple[Scene, dict[str, str]]:
    """Return a scene with an approval in each state that is reached without waiting, by state."""
    scene = await waiting(server, approvers=3, required=2)
    approved, pending = await scene.approvals()
    await scene.approve()
    cancelled = await scene.ask()
    await withdraw(scene.author, cancelled)
    kinds = {"APPROVED": approved.id, "PENDING": pending.id, "CANCELLED": cancelled.id}
    return scene, kinds


async def test_a_list_by_state_finds_those_in_it(server: RunningServer) -> None:
    scene, kinds = await _all_kinds(server)
    for state, approval in kinds.items():
        assert await _ids(scene, status=pb.ApprovalStatus.Value(f"APPROVAL_STATUS_{state}")) == {approval}, state
    assert await _ids(scene, status=pb.APPROVAL_STATUS_EXPIRED) == set()
    await scene.reject(scene.approvers[1])
    assert await _ids(scene, status=pb.APPROVAL_STATUS_REJECTED) == {kinds["PENDING"]}


async def test_a_list_by_approver_finds_who_is_asked_by_name_and_who_decided(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3, required=1)
    (decided,) = await scene.approvals()
    named = await scene.ask(approver=scene.approvers[1].username)
    await scene.approve(scene.approvers[0])
    assert await _ids(scene, approver=scene.approvers[0].username) == {decided.id}
    assert await _ids(scene, approver=f"{scene.approvers[1].username}@example.com") == {named.id}
    assert await _ids(scene, approver=str(scene.approvers[2].user_id)) == set()


async def test_a_list_by_deployment_service_or_environment_finds_theirs(server: RunningServer) -> None:
    scene = await waiting(server)
    there = await make_environment(server.admin, required_approvals=1, approver_teams=[scene.team])
    elsewhere = await make_deployment(scene.author, server.admin, release=scene.release.id, environment=there.name)
    await waiting(server)
    (here,) = await scene.approvals()
    everything = await _ids(scene)
    assert len(everything) == 2
    assert await _ids(scene, environment=scene.environment.name) == {here.id}
    assert await _ids(scene, deployment=elsewhere.id) == everything - {here.id}


@pytest.mark.parametrize("kind", ["deployment", "approver", "service", "environment"])
async def test_an_unknown_name_in_a_filter_is_not_found(server: RunningServer, kind: str) -> None:
    wanted: dict[str, Any] = {kind: "01890a5d-ac96-774b-bcce-b302099a8057"}
    refusal = await refused(server.admin.approvals.ListApprovals(pb.ListApprovalsRequest(**wanted)))
    assert refusal.code == grpc.StatusCode.NOT_FOUND
    assert refusal.resource.resource_type == {"approver": "user"}.get(kind, kind)


async def test_a_list_goes_on_page_by_page_in_every_order(server: RunningServer) -> None:
    scene = await waiting(server, required=5)
    await scene.approve()
    found: list[pb.Approval] = []
    for order in ("created_at", "created_at desc", "expires_at", "expires_at desc", "status", "status desc"):
        found, token = [], ""
        while token or not found:
            page = await scene.author.approvals.ListApprovals(
                pb.ListApprovalsRequest(deployment=scene.deployment.id, order_by=order, page_size=2, page_token=token)
            )
            assert page.total_size == 5
            found += page.approvals
            token = page.next_page_token
            if not token:
                break
        assert len({approval.id for approval in found}) == 5, order
    assert [approval.status for approval in found][-1] == pb.APPROVAL_STATUS_APPROVED
