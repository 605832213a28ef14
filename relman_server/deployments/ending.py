"""How deployments end: completed, called off, or failed by the server; and what that means for those that wait."""

from collections.abc import Sequence
from uuid import UUID

from relman_server.approvals.store import cancel_pending
from relman_server.deployments import leases, queue, store
from relman_server.deployments.history import DeploymentMoved, Happening, record, record_all
from relman_server.deployments.inputs import Cancellation, Completion
from relman_server.deployments.logic import lock, wrong
from relman_server.deployments.model import (
    ENDED,
    PASSED,
    Deployment,
    DeploymentKind,
    DeploymentStatus,
    EventType,
    Outcome,
    StageStatus,
)
from relman_server.deployments.stage_store import stage_states, unfinished_stages
from relman_server.environments.model import EnvironmentType
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import Condition, FailedPrecondition
from relman_server.kernel.ids import parse_id
from relman_server.releases import logic as releases


def complete_deployment(tx: Transaction, completion: Completion) -> Record:
    """End a deployment.

    Raises NotFound, PermissionDenied, Aborted for a stale etag or a lease that was taken over, and FailedPrecondition
    when it is not in progress, or when it shall succeed while stages have not.
    """
    found, deployment = lock(tx, completion.deployment, completion.etag, with_queue=True)
    leases.require(tx, deployment.id, completion.lease)
    if deployment.status != DeploymentStatus.IN_PROGRESS:
        raise wrong(deployment, f"Only a deployment in progress may be completed; this one is {deployment.status}.")
    if completion.outcome is Outcome.SUCCEEDED:
        _require_passed(deployment, stage_states(tx, deployment.id))
    deployment.production_impacted |= completion.production_impacted  # users may have said so meanwhile
    verb = completion.outcome.capitalize()
    message = f"{verb}: {completion.failure_reason}" if completion.failure_reason else f"{verb}."
    return _end(tx, found, completion.outcome, completion.failure_reason, message)


def fail(tx: Transaction, found: Record, reason: str, message: str) -> Record:
    """Fail a deployment in progress that nobody completed in time.

    Args:
        tx: The transaction.
        found: As `store.lock_deployment` returns it, locked with its queue.
        reason: STAGE_TIMEOUT or LOST.
        message: A sentence for a person.
    """
    return _end(tx, found, Outcome.FAILED, reason, message)


def _end(tx: Transaction, found: Record, outcome: Outcome, reason: str, message: str) -> Record:
    deployment: Deployment = found.Deployment
    if outcome is Outcome.FAILED:
        _cancel_stages(tx, deployment)
    leases.release(tx, deployment.id)
    deployment.status = DeploymentStatus(outcome)
    deployment.outcome = outcome
    deployment.failure_reason = reason
    deployment.completed_at = tx.now
    if deployment.kind == DeploymentKind.HOTFIX and deployment.remediates is None:
        deployment.remediates = _labelled(tx, deployment)
    ended = record(tx, deployment, EventType(outcome), message)
    tx.audit("deployment.complete", deployment)
    tx.emit(DeploymentMoved(deployment))
    if found.environment_type == EnvironmentType.PRODUCTION:
        releases.deployed_to_production(tx, deployment.release_id, succeeded=outcome is Outcome.SUCCEEDED)
    queue.move_on(tx, deployment, was_in_progress=True)
    if outcome is Outcome.SUCCEEDED:
        queue.promoted(tx, deployment)
    return ended


def _labelled(tx: Transaction, hotfix: Deployment) -> UUID | None:
    """Return the deployment that a hotfix repairs when only its label `remediates` names it: one of its service."""
    named = parse_id(hotfix.labels.get("remediates", ""))
    found = store.deployments_by_id(tx, [named]).get(named) if named else None
    return found.id if found and found.service_id == hotfix.service_id and found.id != hotfix.id else None


def cancel_deployment(tx: Transaction, cancellation: Cancellation) -> Record:
    """Call a deployment off.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when it has ended.
    """
    _, deployment = lock(tx, cancellation.deployment, cancellation.etag, with_queue=True)
    if deployment.status in ENDED:
        raise wrong(deployment, f"It has ended and cannot be called off: it is {deployment.status}.")
    return cancel_locked(tx, deployment, cancellation.reason)


def cancel_locked(tx: Transaction, deployment: Deployment, reason: str) -> Record:
    """Call off a deployment that is locked with its queue, and has not ended."""
    was_in_progress = deployment.status == DeploymentStatus.IN_PROGRESS
    cancelled = cancel(tx, deployment, reason)
    tx.audit("deployment.cancel", deployment, reason=reason)
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
    if deployment.status == DeploymentStatus.IN_PROGRESS:
        leases.release(tx, deployment.id)
    deployment.status = status
    deployment.failure_reason = reason
    deployment.blockers = []
    deployment.look_again_at = None
    deployment.completed_at = tx.now
    ended = record(tx, deployment, EventType(status), message)
    tx.emit(DeploymentMoved(deployment))
    return ended


def undo(tx: Transaction, deployment_id: UUID, rollback_id: UUID, reason: str) -> Record:
    """Note of a deployment that ended that it was rolled back; return it. Its outcome stays."""
    deployment: Deployment = store.lock_deployment(tx, deployment_id).Deployment
    deployment.status = DeploymentStatus.ROLLED_BACK
    deployment.rolled_back_by = rollback_id
    undone = record(tx, deployment, EventType.ROLLED_BACK, f"Rolled back: {reason}" if reason else "Rolled back.")
    tx.audit("deployment.roll_back", deployment, rollback=str(rollback_id))
    queue.promoted(tx, deployment)  # for those to be promoted from there, it has not succeeded any more
    return undone


def _cancel_stages(tx: Transaction, deployment: Deployment) -> None:
    """End what has not ended of a deployment that is about to: its own last event comes after those of its stages."""
    stages = unfinished_stages(tx, deployment.id)
    for stage in stages:
        stage.status = StageStatus.CANCELLED
        stage.completed_at = tx.now
        stage.due_at = None
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
