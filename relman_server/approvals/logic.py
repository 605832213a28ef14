"""Rules of decisions: who answers which request, and what an answer puts down.

Whoever calls these functions holds the lock of the deployment's row: so no two people answer one request, and nobody
starts a deployment while an approval of it is given or taken back.
"""

from relman_server.approvals import store
from relman_server.approvals.approvers import require_approver
from relman_server.approvals.model import Approval, ApprovalStatus, Decision
from relman_server.approvals.subject import Subject
from relman_server.kernel.db.transaction import Transaction
from relman_server.kernel.errors import Condition, FailedPrecondition, PermissionDenied, wrong_state


def request_of_caller(tx: Transaction, subject: Subject) -> Approval:
    """Return the request that the caller's decision answers: the one that names them, else the oldest that asks anyone.

    Raises PermissionDenied for who may not decide, and FailedPrecondition when nothing is left for them to decide.
    """
    counting = _counting_for_caller(tx, subject)
    mine = _open_to_caller(tx, counting)
    if mine:
        return mine[0]
    if any(approval.waits(tx.now) for approval in counting):
        raise PermissionDenied("What is left to decide asks somebody else by name.")
    for approval in counting:
        _refuse_expired(tx, approval)
    nothing = (
        "No request for approval is open: it has those it needs, or somebody has to ask again with CreateApproval."
    )
    raise FailedPrecondition(nothing, Condition("NO_REQUEST", str(subject.deployment_id), nothing))


def require_answerable(tx: Transaction, subject: Subject, approval: Approval) -> None:
    """Raise unless the caller may answer this request.

    Raises PermissionDenied for who may not decide, or who is not the one it asks by name, and FailedPrecondition when
    it was decided or expired, when the caller has decided before, and when another request asks them by name.
    """
    counting = _counting_for_caller(tx, subject)
    require_pending(tx, approval)
    if approval.approver_id not in {None, tx.caller.user_id}:
        raise PermissionDenied("This approval asks somebody else by name.")
    if approval not in _open_to_caller(tx, counting):
        message = "Another approval of this deployment asks you by name: decide that one."
        raise FailedPrecondition(message, Condition("ASKED_BY_NAME", str(subject.deployment_id), message))


def require_pending(tx: Transaction, approval: Approval) -> None:
    """Raise FailedPrecondition unless an approval waits for an answer, and its time is not over."""
    _refuse_expired(tx, approval)
    if approval.status != ApprovalStatus.PENDING:
        message = f"Only a pending approval may be changed; this one is {approval.status}."
        raise wrong_state(str(approval.id), approval.status, message)


def decide(tx: Transaction, subject: Subject, approval: Approval, decision: Decision, notes: str) -> None:
    """Put down what the caller says to a request that they may answer."""
    approved = decision is Decision.APPROVE
    approval.status = ApprovalStatus.APPROVED if approved else ApprovalStatus.REJECTED
    approval.approver_id = tx.caller.user_id
    approval.notes = notes or approval.notes
    approval.deployment_revision = subject.revision
    approval.content = subject.content
    approval.decided_at = tx.now
    tx.audit("approval.decide", approval)


def annotate(tx: Transaction, subject: Subject, approval: Approval, notes: str) -> None:
    """Change the notes of a request, as the one who asked or one who may answer.

    Raises PermissionDenied, and FailedPrecondition when it was decided or expired.
    """
    if approval.requested_by != tx.caller.user_id:
        require_approver(tx, subject)
    require_pending(tx, approval)
    approval.notes = notes
    tx.audit("approval.decide", approval)


def _counting_for_caller(tx: Transaction, subject: Subject) -> list[Approval]:
    """Return the approvals that count, for a caller who may decide and has not."""
    require_approver(tx, subject)
    assert subject.deployment_id is not None
    counting = store.counting(tx, [subject.deployment_id])[subject.deployment_id]
    for approval in counting:
        if approval.status == ApprovalStatus.APPROVED and approval.approver_id == tx.caller.user_id:
            message = "You have approved this deployment already, and count once."
            raise wrong_state(str(approval.id), approval.status, message)
    return counting


def _open_to_caller(tx: Transaction, counting: list[Approval]) -> list[Approval]:
    waiting = [approval for approval in counting if approval.waits(tx.now)]
    by_name = [approval for approval in waiting if approval.approver_id == tx.caller.user_id]
    return by_name or [approval for approval in waiting if approval.approver_id is None]


def _refuse_expired(tx: Transaction, approval: Approval) -> None:
    if approval.expired(tx.now):
        since = f"{approval.expires_at:%Y-%m-%d %H:%M} UTC"
        message = f"The request for approval expired at {since}: ask again with CreateApproval."
        raise wrong_state(str(approval.id), ApprovalStatus.EXPIRED, message)
