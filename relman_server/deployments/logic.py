"""Rules of deployments: their state machine.

PENDING (a gate is closed) and READY (none is) change into each other as gates do, and wait; a start makes IN_PROGRESS,
which ends SUCCEEDED or FAILED. Whatever has not ended can be CANCELLED. What has ended is history: it stays as it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from relman_server.approvals import requests
from relman_server.approvals.store import cancel_pending
from relman_server.catalog import logic as catalog
from relman_server.deployments import gates, queue, store
from relman_server.deployments.facts import facts_if_created, facts_of
from relman_server.deployments.history import DeploymentChanged, Happening, record, record_all
from relman_server.deployments.inputs import (
    Cancellation,
    Completion,
    DeploymentChange,
    LeaseHeld,
    Question,
    Start,
)
from relman_server.deployments.model import (
    ENDED,
    PASSED,
    WAITING,
    Deployment,
    DeploymentKind,
    DeploymentStatus,
    EventType,
    Outcome,
    StageStatus,
)
from relman_server.deployments.stage_store import stage_states, unfinished_stages
from relman_server.environments.model import EnvironmentType
from relman_server.kernel.db.audit import AuditOutcome
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import (
    Aborted,
    Condition,
    FailedPrecondition,
    InvalidInput,
    Unimplemented,
    Violation,
    wrong_state,
)
from relman_server.releases import logic as releases


class Blocked(FailedPrecondition):
    """Gates are closed: the deployment goes back to PENDING, in a transaction of its own, and the caller is told."""

    reason = "BLOCKED"

    def __init__(self, deployment_id: UUID, blockers: Sequence[gates.Blocker]) -> None:
        conditions = [Condition(blocker.kind, str(blocker.subject_id), blocker.message) for blocker in blockers]
        super().__init__(
            "It cannot start now. " + " ".join(blocker.message for blocker in blockers),
            *conditions,
            metadata={"state": DeploymentStatus.PENDING},
        )
        self.deployment_id = deployment_id


def update_deployment(tx: Transaction, change: DeploymentChange) -> Record:
    """Change labels and kind before the start, and the impact at any time.

    A deployment that is no HOTFIX any more remediates nothing. Setting everything to what it is changes nothing.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition for what may not change now.
    """
    wanted = change.wanted()
    early = sorted(wanted.keys() & {"labels", "kind"})
    if early:
        store.hold_surroundings(tx, store.deployment_id(change.deployment))
    _, deployment = lock(tx, change.deployment, change.etag)
    if early and deployment.status not in WAITING:
        fields = " and ".join(early)
        raise wrong(deployment, f"{fields} may change only before the start; this deployment is {deployment.status}.")
    if "kind" in wanted:
        wanted |= _kind(tx, deployment, wanted["kind"])
    changed = sorted(name for name, value in wanted.items() if getattr(deployment, name) != value)
    for name in changed:
        setattr(deployment, name, wanted[name])
    updated = Happening(deployment, EventType.UPDATED, f"Changed: {', '.join(changed)}.")
    if {"labels", "kind"} & set(changed):  # approvals were of something else, and a hotfix has another way to go
        queue.look_again(tx, [deployment], after=[updated, *_void_approvals(tx, deployment)])
    elif changed:
        record_all(tx, [updated])
    tx.audit("deployment.update", deployment)
    return store.get_deployment_by_id(tx, deployment.id)


def _void_approvals(tx: Transaction, deployment: Deployment) -> list[Happening]:
    subject = facts_of(tx, [deployment.id])[deployment.id].approvals.subject
    voided = requests.void(tx, replace(subject, revision=deployment.revision + 1))
    what = "1 approval counts" if voided == 1 else f"{voided} approvals count"
    message = f"{what} no longer: it was changed since."
    return [Happening(deployment, EventType.APPROVAL, message)] if voided else []


def _kind(tx: Reading, deployment: Deployment, said: DeploymentKind | None) -> dict[str, Any]:  # columns
    if said is None:
        raise InvalidInput(Violation("kind", "must be PLANNED or HOTFIX"))
    if deployment.kind == DeploymentKind.ROLLBACK:
        raise wrong(deployment, "The kind of a rollback's deployment cannot be changed.")
    if said is DeploymentKind.HOTFIX:
        return {"kind": said}
    kind = ordinary_kind(tx, deployment.service_id, deployment.environment_id, deployment.release_id)
    return {"kind": kind, "remediates": None, "hotfix_reason": ""}


def ordinary_kind(tx: Reading, service_id: UUID, environment_id: UUID, release_id: UUID) -> DeploymentKind:
    """Return REDEPLOY for a release that is what runs there now, else PLANNED."""
    running = store.running_release(tx, service_id, environment_id)
    return DeploymentKind.REDEPLOY if running == release_id else DeploymentKind.PLANNED


def delete_deployment(tx: Transaction, reference: str, etag: str) -> None:
    """Delete a deployment that has ended, with its stages, events and logs.

    Raises NotFound, Aborted for a stale etag, and FailedPrecondition for one that has not ended.
    """
    _, deployment = lock(tx, reference, etag)
    if deployment.status not in ENDED:
        raise wrong(deployment, f"Only a deployment that has ended may be deleted; this one is {deployment.status}.")
    tx.delete(deployment)
    tx.audit("deployment.delete", deployment)
    tx.emit(DeploymentChanged(deployment.id))  # who still watches it should know


def check_deployment(tx: Reading, question: Question) -> list[gates.Blocker]:
    """Return every closed gate of a deployment, or of one that would be made now; raises NotFound."""
    if question.deployment is None:
        assert question.release is not None
        assert question.environment is not None
        return gates.evaluate(facts_if_created(tx, question.release, question.environment), tx.now)
    deployment = store.get_deployment(tx, question.deployment)
    if deployment.status not in WAITING:
        raise wrong(deployment, f"Only a waiting deployment may be started; this one is {deployment.status}.")
    return _gates(tx, deployment.id)


def start_deployment(tx: Transaction, start: Start) -> Record:
    """Start a deployment when every gate is open, deciding again in this transaction.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, FailedPrecondition when it does not wait, and Blocked
    when a gate is closed.
    """
    if start.lease_ttl is not None or start.takeover or start.override is not None:
        raise Unimplemented("This server does not offer leases and overrides; start without them.")
    _, deployment = lock(tx, start.deployment, start.etag)
    if deployment.status not in WAITING:
        raise wrong(deployment, f"Only a waiting deployment may be started; this one is {deployment.status}.")
    blockers = _gates(tx, deployment.id)
    if blockers:
        raise Blocked(deployment.id, blockers)
    if deployment.kind in {DeploymentKind.PLANNED, DeploymentKind.REDEPLOY}:
        # While it was queued, others went before: what runs there may have changed.
        deployment.kind = ordinary_kind(tx, deployment.service_id, deployment.environment_id, deployment.release_id)
    deployment.status = DeploymentStatus.IN_PROGRESS
    deployment.blockers = []
    deployment.deployed_by = tx.caller.user_id
    deployment.deployed_at = tx.now
    # Two that start at the same instant both find their gates open; the index lets one of them through.
    tx.flush(conflict=Aborted("Another deployment of the service was started at the same moment; look again."))
    started = record(tx, deployment, EventType.STARTED, f"Started by {tx.caller.username}.")
    tx.audit("deployment.start", deployment)
    return started


def _gates(tx: Reading, deployment_id: UUID) -> list[gates.Blocker]:
    return gates.evaluate(facts_of(tx, [deployment_id])[deployment_id], tx.now)


def note_blocked(tx: Transaction, deployment_id: UUID) -> None:
    """Put down that a start was refused: what the gates say now, and who wanted to start."""
    found = store.lock_deployment(tx, deployment_id)
    deployment: Deployment = found.Deployment
    if deployment.status in WAITING:
        queue.look_again(tx, [deployment])
        tx.audit("deployment.start", deployment, outcome=AuditOutcome.FAILED)


def complete_deployment(tx: Transaction, completion: Completion) -> Record:
    """End a deployment.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when it is not in progress, or
    when it shall succeed while stages have not.
    """
    found, deployment = lock(tx, completion.deployment, completion.etag, with_queue=True)
    require_lease(completion.lease)
    if deployment.status != DeploymentStatus.IN_PROGRESS:
        raise wrong(deployment, f"Only a deployment in progress may be completed; this one is {deployment.status}.")
    if completion.outcome is Outcome.SUCCEEDED:
        _require_passed(deployment, stage_states(tx, deployment.id))
    else:
        _cancel_stages(tx, deployment)
    deployment.status = DeploymentStatus(completion.outcome)
    deployment.outcome = completion.outcome
    deployment.failure_reason = completion.failure_reason
    deployment.production_impacted |= completion.production_impacted  # users may have said so meanwhile
    deployment.completed_at = tx.now
    verb = completion.outcome.capitalize()
    message = f"{verb}: {completion.failure_reason}" if completion.failure_reason else f"{verb}."
    ended = record(tx, deployment, EventType(completion.outcome), message)
    tx.audit("deployment.complete", deployment)
    if found.environment_type == EnvironmentType.PRODUCTION:
        releases.deployed_to_production(tx, deployment.release_id, succeeded=completion.outcome is Outcome.SUCCEEDED)
    queue.move_on(tx, deployment, was_in_progress=True)
    if completion.outcome is Outcome.SUCCEEDED:
        queue.promoted(tx, deployment)
    return ended


def cancel_deployment(tx: Transaction, cancellation: Cancellation) -> Record:
    """Call a deployment off.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when it has ended.
    """
    _, deployment = lock(tx, cancellation.deployment, cancellation.etag, with_queue=True)
    if deployment.status in ENDED:
        raise wrong(deployment, f"It has ended and cannot be called off: it is {deployment.status}.")
    was_in_progress = deployment.status == DeploymentStatus.IN_PROGRESS
    cancelled = cancel(tx, deployment, cancellation.reason)
    tx.audit("deployment.cancel", deployment, reason=cancellation.reason)
    queue.move_on(tx, deployment, was_in_progress=was_in_progress)
    return cancelled


def cancel(tx: Transaction, deployment: Deployment, reason: str) -> Record:
    """Call a locked deployment off, whoever wants it; the one who calls audits it."""
    message = f"Cancelled: {reason}" if reason else "Cancelled."
    return call_off(tx, deployment, DeploymentStatus.CANCELLED, reason, message)


def call_off(tx: Transaction, deployment: Deployment, status: DeploymentStatus, reason: str, message: str) -> Record:
    """End a locked deployment that does not go on, with its stages and requests; the one who calls audits it."""
    _cancel_stages(tx, deployment)
    cancel_pending(tx, deployment.id)
    deployment.status = status
    deployment.failure_reason = reason
    deployment.blockers = []
    deployment.completed_at = tx.now
    return record(tx, deployment, EventType(status), message)


def _cancel_stages(tx: Transaction, deployment: Deployment) -> None:
    """End what has not ended of a deployment that is about to: its own last event comes after those of its stages."""
    stages = unfinished_stages(tx, deployment.id)
    for stage in stages:
        stage.status = StageStatus.CANCELLED
        stage.completed_at = tx.now
    if stages:
        ended = EventType.STAGE_ENDED
        record_all(tx, [Happening(deployment, ended, f"Stage {stage.name} cancelled.", stage) for stage in stages])


def _require_passed(deployment: Deployment, stages: Sequence[Record]) -> None:
    missing = [stage for stage in stages if stage.status not in PASSED]
    if missing:
        raise FailedPrecondition(
            f"It cannot succeed while stages have not: {some(missing)}.",
            *(stage_condition(stage) for stage in missing),
            metadata={"state": deployment.status},
        )


def some(stages: Sequence[Record]) -> str:
    """Return the first stages with their states, for a sentence."""
    named = ", ".join(f"{stage.name} ({stage.status})" for stage in stages[:10])
    return named if len(stages) <= 10 else f"{named} and {len(stages) - 10} more"


def stage_condition(stage: Record) -> Condition:
    """Return that a stage's state is in the way."""
    return Condition(stage.status, f"{stage.deployment_id}/{stage.name}", f"stage {stage.name} is {stage.status}")


def require_lease(lease: LeaseHeld | None) -> None:
    """Raise Aborted WRITER_FENCED unless the lease that a call names is held by its caller."""
    if lease is not None:
        raise Aborted("The deployment has no such lease.", reason="WRITER_FENCED")


def lock(tx: Transaction, reference: str, etag: str = "", *, with_queue: bool = False) -> tuple[Record, Deployment]:
    """Return a deployment for changing, with the row it was found in; `with_queue` as for `store.lock_deployment`.

    Raises NotFound, PermissionDenied for someone outside the service's team, and Aborted for a stale etag.
    """
    found = store.lock_deployment(tx, store.deployment_id(reference), with_queue=with_queue)
    catalog.require_team(tx.caller, found)
    deployment: Deployment = found.Deployment
    tx.match_etag(deployment, etag)
    return found, deployment


def wrong(deployment: Any, message: str) -> FailedPrecondition:  # a Deployment, or a row with its columns
    """Return the refusal of what the state of a deployment forbids."""
    return wrong_state(str(deployment.id), deployment.status, message)
