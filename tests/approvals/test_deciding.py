"""Saying yes and no: what a decision answers, and what becomes of the deployment."""

import grpc
import pytest
from sqlalchemy import select

from relman_client.v1 import approval_pb2, deployment_pb2, stage_pb2
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading
from tests.approvals import steps
from tests.approvals.steps import APPROVE, REJECT, decide, waiting
from tests.deployments.steps import cancel, event_type, events_of, gates, get, stage_state
from tests.deployments.steps import state as deployment_state
from tests.factories import RunningServer, make_deployment, refused


async def test_the_last_approval_makes_it_ready_at_once(server: RunningServer) -> None:
    scene = await waiting(server, approvers=2, required=2)
    first = await scene.approve(notes="looks good")
    assert deployment_state(first) == "PENDING"
    assert (await scene.blocker()).message == f"Waiting for 1 of 2 approvals: team {scene.team}."
    second = await scene.approve(scene.approvers[1])
    assert (deployment_state(second), list(second.blockers)) == ("READY", [])
    assert await scene.states() == ["APPROVED", "APPROVED"]
    assert deployment_state(await scene.start()) == "IN_PROGRESS"


async def test_an_approval_says_who_gave_it_when_and_on_what(server: RunningServer) -> None:
    scene = await waiting(server)
    (asked,) = await scene.approvals()
    assert (asked.approver_id, asked.requested_by, asked.deployment_revision) == ("", "", 1)
    assert not asked.HasField("approved_at")
    await scene.change(labels={"build": "17"})
    await scene.change(production_impacted=True)
    await scene.approve(notes="looks good")
    (given,) = await scene.approvals()
    assert given.approver_id == str(scene.approvers[0].user_id)
    assert (given.notes, given.deployment_revision) == ("looks good", 3)
    assert given.approved_at == given.decided_at
    assert given.HasField("decided_at")
    assert given.etag != asked.etag


async def test_the_history_says_who_approved_and_what_that_changed(server: RunningServer) -> None:
    scene = await waiting(server, required=2)
    await scene.approve(notes="looks good")
    await scene.approve(scene.approvers[1])
    events = await events_of(scene.author, scene.deployment)
    assert [event_type(event) for event in events] == ["CREATED", "APPROVAL", "BLOCKED", "APPROVAL", "READY"]
    first, second = (caller.username for caller in scene.approvers)
    assert [event.message for event in events[1:]] == [
        f"Approved by {first}: looks good",
        f"It cannot start yet. Waiting for 1 of 2 approvals: team {scene.team}.",
        f"Approved by {second}.",
        "Every gate is open: it may start.",
    ]
    assert events[1].actor_id == str(scene.approvers[0].user_id)


async def test_a_rejection_ends_the_deployment_and_every_other_request(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3, required=3)
    await scene.approve()
    rejected = await scene.reject(scene.approvers[1], notes="not on a Friday")
    assert (deployment_state(rejected), rejected.failure_reason) == ("REJECTED", "not on a Friday")
    assert list(rejected.blockers) == []
    assert rejected.HasField("completed_at")
    assert not rejected.outcome
    assert await scene.states() == ["APPROVED", "REJECTED", "CANCELLED"]
    last = (await events_of(scene.author, scene.deployment))[-1]
    assert (event_type(last), last.message) == (
        "REJECTED",
        f"Rejected by {scene.approvers[1].username}: not on a Friday",
    )
    refusal = await refused(scene.start())
    assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "REJECTED")


async def test_who_waits_behind_a_rejected_deployment_moves_on(server: RunningServer) -> None:
    scene = await waiting(server)
    behind = await make_deployment(
        scene.author, server.admin, release=scene.release.id, environment=scene.environment.name
    )
    request = deployment_pb2.ApproveDeploymentRequest(deployment=behind.id)
    approved = await scene.approvers[0].deployments.ApproveDeployment(request)
    assert gates(approved) == ["QUEUE"], "approvals do not open other gates"
    await scene.reject()
    assert deployment_state(await get(scene.author, behind)) == "READY"


async def test_the_stages_of_a_rejected_deployment_are_cancelled(server: RunningServer) -> None:
    scene = await waiting(server)
    request = stage_pb2.CreateStageRequest(deployment=scene.deployment.id, name="build")
    await scene.author.stages.CreateStage(request)
    await scene.reject()
    wanted = stage_pb2.GetStageRequest(stage=f"{scene.deployment.id}/build")
    assert stage_state(await scene.author.stages.GetStage(wanted)) == "CANCELLED"


def _actions(tx: Reading, resource: str) -> list[str]:
    statement = select(AuditEntry.action).where(AuditEntry.resource_id == resource)
    return [row.action for row in tx.rows(statement.order_by(AuditEntry.created_at, AuditEntry.id))]


@pytest.mark.parametrize("by_id", [True, False], ids=["by id", "without the id"])
@pytest.mark.parametrize("decision", [APPROVE, REJECT], ids=["approve", "reject"])
async def test_a_decision_is_audited_for_the_approval_and_for_the_deployment(
    server: RunningServer, by_id: bool, decision: approval_pb2.Decision.ValueType
) -> None:
    scene = await waiting(server)
    (approval,) = await scene.approvals()
    if by_id:
        await decide(scene.approvers[0], approval, decision)
    elif decision == APPROVE:
        await scene.approve()
    else:
        await scene.reject()
    verb = "approve" if decision == APPROVE else "reject"
    assert await server.app.db.read(_actions, approval.id) == ["approval.decide"]
    assert await server.app.db.read(_actions, scene.deployment.id) == ["deployment.create", f"deployment.{verb}"]


async def test_a_decision_by_id_answers_that_request(server: RunningServer) -> None:
    scene = await waiting(server, required=2)
    _, second = await scene.approvals()
    decided = await decide(scene.approvers[0], second, notes="fine")
    assert (decided.id, steps.state(decided), decided.notes) == (second.id, "APPROVED", "fine")
    assert await scene.states() == ["PENDING", "APPROVED"]


async def test_the_request_that_names_somebody_is_answered_first(server: RunningServer) -> None:
    scene = await waiting(server)
    named = await scene.ask(approver=scene.approvers[1].username)
    await scene.approve(scene.approvers[1])
    assert {approval.id for approval in await scene.approvals(status=approval_pb2.APPROVAL_STATUS_APPROVED)} == {
        named.id
    }
    (left,) = await scene.approvals(status=approval_pb2.APPROVAL_STATUS_PENDING)
    refusal = await refused(decide(scene.approvers[1], left))
    assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "APPROVED")


async def test_who_is_asked_by_name_does_not_answer_another_request_instead(server: RunningServer) -> None:
    scene = await waiting(server)
    (of_anyone,) = await scene.approvals()
    await scene.ask(approver=scene.approvers[1].username)
    refusal = await refused(decide(scene.approvers[1], of_anyone))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.message == "Another approval of this deployment asks you by name: decide that one."


async def test_a_request_that_names_somebody_is_answered_by_nobody_else(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3)
    named = await scene.ask(approver=scene.approvers[1].username)
    refusal = await refused(decide(scene.approvers[2], named))
    assert refusal.code == grpc.StatusCode.PERMISSION_DENIED
    await scene.approve(scene.approvers[0])
    for call in (scene.approve(scene.approvers[2]), scene.reject(scene.approvers[2])):
        refusal = await refused(call)
        assert refusal.code == grpc.StatusCode.PERMISSION_DENIED
        assert refusal.message == "What is left to decide asks somebody else by name."


async def test_a_user_counts_once(server: RunningServer) -> None:
    scene = await waiting(server, required=2)
    await scene.approve()
    _, left = await scene.approvals()
    for call in (scene.approve(), scene.reject(), decide(scene.approvers[0], left)):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE")
        assert refusal.message == "You have approved this deployment already, and count once."
    assert await scene.state() == "PENDING"


async def test_what_has_every_approval_takes_no_more(server: RunningServer) -> None:
    scene = await waiting(server)
    await scene.approve()
    for call in (scene.approve(scene.approvers[1]), scene.reject(scene.approvers[1])):
        refusal = await refused(call)
        assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
        assert refusal.conditions[0][:2] == ("NO_REQUEST", scene.deployment.id)
    assert await scene.state() == "READY"


@pytest.mark.parametrize("by_id", [True, False], ids=["by id", "without the id"])
async def test_what_does_not_wait_is_not_decided_on(server: RunningServer, by_id: bool) -> None:
    scene = await waiting(server, approvers=3, required=2)
    await scene.approve()
    _, left = await scene.approvals()
    await cancel(scene.author, scene.deployment)
    refusal = await refused(decide(scene.approvers[1], left) if by_id else scene.approve(scene.approvers[1]))
    assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "CANCELLED")


async def test_a_decided_approval_is_not_decided_again(server: RunningServer) -> None:
    scene = await waiting(server, required=2)
    approval, _ = await scene.approvals()
    await decide(scene.approvers[0], approval)
    refusal = await refused(decide(scene.approvers[1], approval, REJECT))
    assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "APPROVED")


async def test_a_draft_is_not_approved_since_it_may_still_change(server: RunningServer) -> None:
    scene = await waiting(server, draft=True)
    (approval,) = await scene.approvals()
    for call in (scene.approve(), decide(scene.approvers[0], approval)):
        refusal = await refused(call)
        assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "DRAFT")
    assert deployment_state(await scene.reject()) == "REJECTED"


async def test_a_stale_etag_decides_nothing(server: RunningServer) -> None:
    scene = await waiting(server)
    (approval,) = await scene.approvals()
    await scene.change(labels={"build": "18"})
    for call in (scene.approve(etag=scene.deployment.etag), decide(scene.approvers[0], approval, etag=approval.etag)):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert await scene.states() == ["PENDING"]


async def test_the_notes_of_a_request_may_be_changed_without_a_decision(server: RunningServer) -> None:
    scene = await waiting(server)
    (approval,) = await scene.approvals()
    request = approval_pb2.UpdateApprovalRequest(approval=approval.id, notes="please look at the migration")
    updated = await scene.approvers[0].approvals.UpdateApproval(request)
    assert (steps.state(updated), updated.notes) == ("PENDING", "please look at the migration")
    assert (await refused(scene.author.approvals.UpdateApproval(request))).code == grpc.StatusCode.PERMISSION_DENIED
    own = await scene.ask()
    request.approval = own.id
    assert (await scene.author.approvals.UpdateApproval(request)).notes == "please look at the migration"
    await scene.approve()
    assert (await scene.approvals())[0].notes == "please look at the migration", "nothing was said with the decision"


async def test_unknown_approvals_and_deployments_are_not_found(server: RunningServer) -> None:
    scene = await waiting(server)
    missing = "01890a5d-ac96-774b-bcce-b302099a8057"
    api = scene.approvers[0]
    for call, kind in (
        (api.approvals.GetApproval(approval_pb2.GetApprovalRequest(approval=missing)), "approval"),
        (decide(api, approval_pb2.Approval(id=missing)), "approval"),
        (steps.withdraw(api, approval_pb2.Approval(id=missing)), "approval"),
        (api.approvals.CreateApproval(approval_pb2.CreateApprovalRequest(deployment=missing)), "deployment"),
        (api.deployments.ApproveDeployment(deployment_pb2.ApproveDeploymentRequest(deployment=missing)), "deployment"),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, kind)
