"""What the environment asks for: opened with a deployment, kept in step with the rules, closed with its end."""

from uuid import UUID

import pytest

from relman_client.v1 import approval_pb2, deployment_pb2, release_pb2
from relman_server.deployments.facts import facts_of
from relman_server.kernel.db.transaction import Transaction
from tests.approvals import steps
from tests.approvals.steps import waiting
from tests.deployments.steps import SUCCEEDED, cancel, gates, lock, retry, set_columns
from tests.deployments.steps import state as deployment_state
from tests.factories import RunningServer, make_deployment, make_environment, refused


async def test_a_deployment_comes_with_as_many_requests_as_its_environment_asks_for(server: RunningServer) -> None:
    scene = await waiting(server, required=3)
    approvals = await scene.approvals()
    assert [steps.state(approval) for approval in approvals] == ["PENDING"] * 3
    for approval in approvals:
        assert (approval.requested_by, approval.approver_id, approval.deployment_revision) == ("", "", 1)
        assert approval.deployment_id == scene.deployment.id
        days = (approval.expires_at.ToDatetime() - approval.created_at.ToDatetime()).days
        assert days == 7, "the environment's approval_ttl"


async def test_where_none_is_asked_for_there_is_none(server: RunningServer) -> None:
    scene = await waiting(server, required=0)
    assert await scene.approvals() == []
    assert deployment_state(scene.deployment) == "READY"


async def test_a_dry_run_says_what_it_would_wait_for_and_asks_nobody(server: RunningServer) -> None:
    scene = await waiting(server)
    request = approval_pb2.ListApprovalsRequest(environment=scene.environment.name)
    before = await scene.author.approvals.ListApprovals(request)
    tried = await make_deployment(
        scene.author,
        server.admin,
        release=scene.release.id,
        environment=scene.environment.name,
        validate_only=True,
    )
    assert gates(tried) == ["APPROVAL", "QUEUE"]
    assert await scene.author.approvals.ListApprovals(request) == before


async def test_a_promoted_and_a_retried_deployment_are_approved_anew(server: RunningServer) -> None:
    scene = await waiting(server)
    await scene.approve()
    await scene.start()
    done = deployment_pb2.CompleteDeploymentRequest(deployment=scene.deployment.id, outcome=SUCCEEDED)
    await scene.author.deployments.CompleteDeployment(done)
    await make_environment(
        server.admin,
        required_approvals=1,
        approver_teams=[scene.team],
        promotes_from=scene.environment.name,
    )
    promoted = await scene.author.releases.PromoteRelease(release_pb2.PromoteReleaseRequest(release=scene.release.id))
    assert gates(promoted) == ["APPROVAL"]
    await cancel(scene.author, promoted)
    assert gates(await retry(scene.author, promoted)) == ["APPROVAL"]


def _needed(tx: Transaction, deployment: str) -> int:
    """Return how many approvals a deployment would need if it were a rollback's."""
    set_columns(tx, deployment, {"kind": "ROLLBACK"})
    return facts_of(tx, [UUID(deployment)])[UUID(deployment)].approvals.needed


@pytest.mark.parametrize(("asks", "needed"), [(False, 0), (True, 2)])
async def test_a_rollback_needs_approvals_where_the_environment_says_so(
    server: RunningServer, asks: bool, needed: int
) -> None:
    scene = await waiting(server, required=2, rollbacks_need_approval=asks)
    assert await server.app.db.write(_needed, scene.deployment.id) == needed


async def test_requests_follow_the_environment(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3, required=1)
    await scene.change_environment(required_approvals=3)
    assert await scene.states() == ["PENDING"] * 3
    assert (await scene.blocker()).message == f"Waiting for 3 of 3 approvals: team {scene.team}."
    await scene.approve()
    await scene.change_environment(required_approvals=2)
    assert await scene.states() == ["APPROVED", "PENDING", "CANCELLED"]
    await scene.change_environment(required_approvals=1)
    assert await scene.states() == ["APPROVED", "CANCELLED", "CANCELLED"]
    assert await scene.state() == "READY"


async def test_a_ready_deployment_waits_again_when_more_is_asked_for(server: RunningServer) -> None:
    scene = await waiting(server)
    await scene.approve()
    await scene.change_environment(required_approvals=2)
    assert (await scene.blocker()).message == f"Waiting for 1 of 2 approvals: team {scene.team}."
    assert deployment_state(await scene.approve(scene.approvers[1])) == "READY"


async def test_a_lock_of_the_environment_opens_no_more_requests(server: RunningServer) -> None:
    scene = await waiting(server, required=2)
    await scene.approve()
    await lock(server, scene.environment.name)
    assert await scene.states() == ["APPROVED", "PENDING"]


async def test_what_ends_while_it_waits_ends_its_requests(server: RunningServer) -> None:
    scene = await waiting(server, required=2)
    await scene.approve()
    await cancel(scene.author, scene.deployment)
    assert await scene.states() == ["APPROVED", "CANCELLED"]


async def test_what_is_superseded_ends_its_requests(server: RunningServer) -> None:
    scene = await waiting(server)
    await make_deployment(
        scene.author, server.admin, release=scene.release.id, environment=scene.environment.name, supersede=True
    )
    assert await scene.state() == "CANCELLED"
    assert await scene.states() == ["CANCELLED"]


async def test_a_deleted_deployment_takes_its_approvals_with_it(server: RunningServer) -> None:
    scene = await waiting(server)
    (approval,) = await scene.approvals()
    await cancel(scene.author, scene.deployment)
    await server.admin.deployments.DeleteDeployment(
        deployment_pb2.DeleteDeploymentRequest(deployment=scene.deployment.id)
    )
    request = approval_pb2.GetApprovalRequest(approval=approval.id)
    refusal = await refused(scene.author.approvals.GetApproval(request))
    assert refusal.resource.resource_type == "approval"
