"""Asking for approvals: by the server, by people, again after a change, and no more.

Each approval that counts for something has a place: one of those that the environment asks for, or one beyond them.
Who asks again for what expired takes its place over, so a deployment never needs more approvals because of it.

As in `logic`, the deployment's row is locked by whoever calls.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from relman_server.approvals import store
from relman_server.approvals.approvers import read_people, spoken
from relman_server.approvals.inputs import MAX_REQUESTS, NewApproval
from relman_server.approvals.model import Approval, ApprovalStatus, Place
from relman_server.approvals.subject import Subject
from relman_server.kernel.db.transaction import Transaction
from relman_server.kernel.errors import (
    AlreadyExists,
    Condition,
    FailedPrecondition,
    InvalidInput,
    Violation,
    wrong_state,
)
from relman_server.users import store as users


def ask_for_required(tx: Transaction, subject: Subject) -> None:
    """Ask for as many approvals of a new deployment as its environment wants."""
    tx.add_all([_request(tx, subject, Place.REQUIRED) for _ in range(subject.required)])


def settle(tx: Transaction, subjects: Sequence[Subject]) -> None:
    """Ask for what is missing of what the environment wants now, and cancel requests that it wants no more."""
    counting = store.counting(tx, [subject.deployment_id for subject in subjects if subject.deployment_id])
    for subject in subjects:
        assert subject.deployment_id is not None
        required = [row for row in counting[subject.deployment_id] if row.place == Place.REQUIRED]
        tx.add_all([_request(tx, subject, Place.REQUIRED) for _ in range(subject.required - len(required))])
        unanswered = [row for row in reversed(required) if row.status != ApprovalStatus.APPROVED]
        for approval in unanswered[: max(0, len(required) - subject.required)]:
            approval.place = None
            if approval.waits(tx.now):
                approval.status = ApprovalStatus.CANCELLED


def ask(tx: Transaction, subject: Subject, new: NewApproval) -> Approval:
    """Ask for one more approval, or again for one that expired, as the caller wants it.

    Raises NotFound for an unknown approver, InvalidInput for one who cannot approve the deployment or a time that is
    over, AlreadyExists when they are asked already, and FailedPrecondition for too many requests.
    """
    assert subject.deployment_id is not None
    counting = store.counting(tx, [subject.deployment_id])[subject.deployment_id]
    approver_id = _approver(tx, subject, new, counting)
    place = _free_place(tx, subject, counting, approver_id)
    asked: dict[str, Any] = {"expires_at": new.expires_at} if new.expires_at else {}
    approval = _request(
        tx,
        subject,
        place,
        requested_by=tx.caller.user_id,
        approver_id=approver_id,
        by_name=approver_id is not None,
        notes=new.notes,
        **asked,
    )
    tx.add(approval)
    tx.audit("approval.create", approval)
    return approval


def withdraw(tx: Transaction, approval: Approval) -> None:
    """Take back a request that nobody has answered, in time or not.

    Raises FailedPrecondition when it was decided or is over otherwise, or when the environment asks for it.
    """
    if not (approval.place and (approval.waits(tx.now) or approval.expired(tx.now))):
        message = f"Only an approval that is waited for may be withdrawn; this one is {approval.status}."
        raise wrong_state(str(approval.id), approval.status, message)
    if approval.requested_by is None:
        message = "The environment asks for this approval: it cannot be withdrawn."
        raise FailedPrecondition(message, Condition("REQUIRED", str(approval.id), message))
    approval.place = None
    approval.status = ApprovalStatus.CANCELLED
    tx.audit("approval.delete", approval)


def void(tx: Transaction, subject: Subject) -> int:
    """Let approvals of what the deployment was before count no more, ask for them again, and return how many."""
    assert subject.deployment_id is not None
    counting = store.counting(tx, [subject.deployment_id])[subject.deployment_id]
    for approval in counting:
        if approval.waits(tx.now):
            # Another etag: nobody decides, unaware, on something else than they have read about.
            approval.deployment_revision = subject.revision
    outdated = [row for row in counting if row.status == ApprovalStatus.APPROVED and row.content != subject.content]
    required = [row for row in counting if row.place == Place.REQUIRED]
    # The environment may want fewer by now.
    unneeded = [row for row in required if row in outdated][: max(0, len(required) - subject.required)]
    tx.add_all([_ask_again(tx, subject, row) for row in outdated if row not in unneeded])
    for approval in outdated:
        approval.place = None
        approval.voided_at = tx.now
        tx.audit("approval.void", approval)
    return len(outdated)


def expire(tx: Transaction, deployments: Collection[UUID]) -> Counter[UUID]:
    """Mark requests that nobody answered in time; return how many of each deployment."""
    found: Counter[UUID] = Counter()
    for deployment_id, counting in store.counting(tx, deployments).items():
        for approval in counting:
            if approval.status == ApprovalStatus.PENDING and approval.expired(tx.now):
                approval.status = ApprovalStatus.EXPIRED
                tx.audit("approval.expire", approval)
                found[deployment_id] += 1
    return found


def _request(tx: Transaction, subject: Subject, place: str | None, **columns: Any) -> Approval:  # columns of Approval
    defaults: dict[str, Any] = {
        "requested_by": None,
        "approver_id": None,
        "by_name": False,
        "notes": "",
        "expires_at": tx.now + subject.ttl,
    }
    return Approval(
        deployment_id=subject.deployment_id,
        service_id=subject.service_id,
        environment_id=subject.environment_id,
        status=ApprovalStatus.PENDING,
        place=place,
        deployment_revision=subject.revision,
        content=None,
        decided_at=None,
        voided_at=None,
        **defaults | columns,
    )


def _ask_again(tx: Transaction, subject: Subject, approval: Approval) -> Approval:
    return _request(
        tx,
        subject,
        approval.place,
        requested_by=approval.requested_by,
        approver_id=approval.approver_id if approval.by_name else None,
        by_name=approval.by_name,
    )


def _approver(tx: Transaction, subject: Subject, new: NewApproval, counting: Sequence[Approval]) -> UUID | None:
    """Return who is asked by name, after a look at all that may be wrong with a request."""
    wrong = []
    if new.expires_at is not None and new.expires_at <= tx.now:
        wrong.append(Violation("expires_at", "must be in the future"))
    approver_id: UUID | None = users.get_user(tx, new.approver).id if new.approver else None
    if approver_id is not None:
        people = read_people(tx, [subject])
        if approver_id not in people.approvers(subject):
            who = spoken(people.team_names(subject))
            wrong.append(Violation("approver", f"must be one of the active {who}, and not the author"))
        if any(row.status == ApprovalStatus.APPROVED and row.approver_id == approver_id for row in counting):
            wrong.append(Violation("approver", "has approved this deployment already"))
    if wrong:
        raise InvalidInput(*wrong)
    if approver_id is not None and any(row.waits(tx.now) and row.approver_id == approver_id for row in counting):
        raise AlreadyExists("approval", f"{subject.deployment_id}/{new.approver}")
    return approver_id


def _free_place(
    tx: Transaction, subject: Subject, counting: Sequence[Approval], approver_id: UUID | None
) -> str | None:
    """Return the place of a request that expired, which has it no longer, else a new one.

    Who was asked by name beyond what the environment asks for is not replaced by anyone else.
    """
    required = [row for row in counting if row.place == Place.REQUIRED]
    same = [row for row in counting if row.by_name and row.approver_id == approver_id]
    of_anyone = [row for row in counting if not row.by_name]
    for lost in (*same, *required, *of_anyone):
        if lost.expired(tx.now):
            place, lost.place, lost.status = lost.place, None, ApprovalStatus.EXPIRED
            return place
    if len(required) < subject.required:
        return Place.REQUIRED
    if len(counting) >= MAX_REQUESTS:
        message = f"The deployment has {MAX_REQUESTS} requests for approval already."
        raise FailedPrecondition(message, Condition("TOO_MANY", str(subject.deployment_id), message))
    return Place.ADDITIONAL
