"""Approving: what people say about a deployment, and what becomes of it.

The rules of approvals are in the folder `approvals`, which knows no deployment. Here the deployment is locked before
they are asked, and looked at again afterwards, in the same transaction: so approving and starting cannot race.
"""

from uuid import UUID

from sqlalchemy import select

from relman_server.approvals import logic as decisions
from relman_server.approvals import requests
from relman_server.approvals import store as approvals
from relman_server.approvals.inputs import ApprovalChange, ListApprovals, NewApproval
from relman_server.approvals.model import Approval, Decision
from relman_server.catalog import logic as catalog
from relman_server.deployments import queue, store
from relman_server.deployments.ending import call_off
from relman_server.deployments.facts import facts_of
from relman_server.deployments.gates import Facts
from relman_server.deployments.history import Happening
from relman_server.deployments.inputs import Verdict
from relman_server.deployments.logic import lock, wrong
from relman_server.deployments.model import WAITING, Deployment, DeploymentStatus, EventType
from relman_server.environments.logic import EnvironmentChanged
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import wrong_state
from relman_server.kernel.paging import Listed
from relman_server.releases.model import ReleaseStatus
from relman_server.teams.logic import TeamChanged
from relman_server.users.logic import RightsChanged

BATCH = 100


def approve_deployment(tx: Transaction, verdict: Verdict) -> Record:
    """Approve a deployment as the caller, who need not know which request that answers.

    Raises NotFound, PermissionDenied for who may not, Aborted for a stale etag, and FailedPrecondition when the
    deployment does not wait, its release is a draft, or nothing is left for the caller to decide.
    """
    return _answer(tx, verdict, Decision.APPROVE)


def reject_deployment(tx: Transaction, verdict: Verdict) -> Record:
    """Reject a deployment as the caller, which ends it; raises as `approve_deployment` does, but for drafts."""
    return _answer(tx, verdict, Decision.REJECT)


def _answer(tx: Transaction, verdict: Verdict, decision: Decision) -> Record:
    deployment, facts = _lock(tx, store.deployment_id(verdict.deployment), decision)
    tx.match_etag(deployment, verdict.etag)
    _require_waiting(deployment)
    approval = decisions.request_of_caller(tx, facts.approvals.subject)
    _decide(tx, deployment, facts, approval, decision, verdict.notes)
    return store.get_deployment_by_id(tx, deployment.id)


def decide_approval(tx: Transaction, change: ApprovalChange) -> Record:
    """Decide an approval as the caller, or change its notes.

    Raises NotFound, PermissionDenied for who may not, Aborted for a stale etag, and FailedPrecondition when it is not
    pending any more, the release is a draft, or the caller has decided on the deployment before.
    """
    deployment, facts = _lock(tx, approvals.deployment_of(tx, change.approval), change.decision)
    approval = _locked(tx, change.approval)
    tx.match_etag(approval, change.etag)
    subject = facts.approvals.subject
    if change.decision is not None:
        decisions.require_answerable(tx, subject, approval)
        _decide(tx, deployment, facts, approval, change.decision, change.notes)
    else:
        decisions.annotate(tx, subject, approval, change.notes)
    return approvals.get_approval_by_id(tx, approval.id)


def request_approval(tx: Transaction, new: NewApproval) -> Record:
    """Ask for one more approval of a deployment, or again for one that expired.

    Raises NotFound, PermissionDenied for someone outside the service's team, and FailedPrecondition when the deployment
    does not wait; and as `requests.ask`.
    """
    _, deployment = lock(tx, new.deployment)
    _require_waiting(deployment)
    subject = facts_of(tx, [deployment.id])[deployment.id].approvals.subject
    approval = requests.ask(tx, subject, new)
    asked = f"{new.approver} was" if new.approver else "The approvers were"
    _look_again(tx, deployment, f"{asked} asked by {tx.caller.username} to approve.")
    return approvals.get_approval_by_id(tx, approval.id)


def withdraw_approval(tx: Transaction, reference: str, etag: str) -> None:
    """Take back a request that nobody has answered.

    Raises NotFound, PermissionDenied for who neither asked nor maintains the service, Aborted for a stale etag, and
    FailedPrecondition when it was decided or is over otherwise, or when the environment asks for it.
    """
    found = store.lock_deployment(tx, approvals.deployment_of(tx, reference))
    approval = _locked(tx, reference)
    if approval.requested_by != tx.caller.user_id:
        catalog.require_maintainer(tx.caller, found)
    tx.match_etag(approval, etag)
    requests.withdraw(tx, approval)
    _look_again(tx, found.Deployment, f"A request for approval was withdrawn by {tx.caller.username}.")


def list_approvals(tx: Reading, wanted: ListApprovals) -> Listed:
    """Return a page of approvals; raises NotFound for an unknown deployment, approver, service or environment."""
    listed = approvals.list_approvals(tx, wanted)
    if wanted.deployment and not listed.rows:
        store.get_deployment_by_id(tx, wanted.deployment)
    return listed


def environment_changed(tx: Transaction, changed: EnvironmentChanged) -> None:
    """Ask for as many approvals as an environment wants now; then the deployments are looked at again."""
    waiting = store.waiting_deployments(tx, Deployment.environment_id == changed.environment_id)
    if waiting:
        facts = facts_of(tx, [deployment.id for deployment in waiting])
        requests.settle(tx, [facts[deployment.id].approvals.subject for deployment in waiting])


def people_changed(tx: Transaction, _: TeamChanged | RightsChanged) -> None:
    """Look again at what waits for approvals: perhaps there are others who can give them, or nobody is any more."""
    queue.look_again(tx, store.waiting_deployments(tx, approvals.is_asked_for(Deployment.id)))


def expire_due(tx: Transaction, limit: int = BATCH) -> int:
    """Mark requests that nobody answered in time; return of how many deployments, at most `limit`, 0 when none is left.

    Deployments that somebody else has locked are left for the next time.
    """
    due = approvals.due_deployments(tx.now, limit)
    deployments = tx.entities(
        select(Deployment)
        .where(Deployment.id.in_(due))
        .order_by(Deployment.created_at, Deployment.id)
        .with_for_update(of=Deployment, key_share=True, skip_locked=True)
    )
    expired = requests.expire(tx, [deployment.id for deployment in deployments])
    waiting = [deployment for deployment in deployments if deployment.status in WAITING]
    said = [Happening(row, EventType.APPROVAL, _expired(expired[row.id])) for row in waiting if expired[row.id]]
    queue.look_again(tx, waiting, after=said)
    return len(deployments)


def _expired(number: int) -> str:
    return "A request for approval expired." if number == 1 else f"{number} requests for approval expired."


def _lock(tx: Transaction, deployment_id: UUID, decision: Decision | None) -> tuple[Deployment, Facts]:
    """Return a deployment for deciding on it, with its queue, which a rejection leaves, and what is known of it."""
    if decision is Decision.REJECT:
        store.hold_surroundings(tx, deployment_id)
    deployment: Deployment = store.lock_deployment(tx, deployment_id, with_queue=True).Deployment
    return deployment, facts_of(tx, [deployment_id])[deployment_id]


def _locked(tx: Transaction, reference: str) -> Approval:
    """Return an approval for changing; its deployment is locked, and that protects it, too."""
    (approval,) = tx.entities(select(Approval).where(Approval.id == approvals.approval_id(reference)))
    assert isinstance(approval, Approval)
    return approval


def _require_waiting(deployment: Deployment) -> None:
    if deployment.status not in WAITING:
        raise wrong(deployment, f"Only a waiting deployment may be decided on; this one is {deployment.status}.")


def _decide(
    tx: Transaction, deployment: Deployment, facts: Facts, approval: Approval, decision: Decision, notes: str
) -> None:
    if decision is Decision.APPROVE and facts.release_status == ReleaseStatus.DRAFT:
        message = f"{facts.release_name} is a draft, which may still change: publish it before it is approved."
        raise wrong_state(facts.release_name, facts.release_status, message)
    decisions.decide(tx, facts.approvals.subject, approval, decision, notes)
    said = f"by {tx.caller.username}{f': {notes}' if notes else '.'}"
    if decision is Decision.REJECT:
        call_off(tx, deployment, DeploymentStatus.REJECTED, notes, f"Rejected {said}")
        tx.audit("deployment.reject", deployment, approval=str(approval.id), notes=notes)
        queue.move_on(tx, deployment, was_in_progress=False)
    else:
        _look_again(tx, deployment, f"Approved {said}")
        tx.audit("deployment.approve", deployment, approval=str(approval.id), notes=notes)


def _look_again(tx: Transaction, deployment: Deployment, said: str) -> None:
    queue.look_again(tx, [deployment], after=[Happening(deployment, EventType.APPROVAL, said)])
