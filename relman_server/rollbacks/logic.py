"""Rules of rollbacks: what can be undone, by going back to what, and what becomes of what was undone."""

from uuid import UUID

from relman_server.deployments import creation, ending
from relman_server.deployments import logic as deployments
from relman_server.deployments import store as deployment_store
from relman_server.deployments.history import DeploymentMoved, record
from relman_server.deployments.model import Deployment, DeploymentKind, DeploymentStatus, EventType
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import Aborted, InvalidInput, Violation, wrong_state
from relman_server.kernel.ids import new_id
from relman_server.releases import logic as releases
from relman_server.releases import store as release_store
from relman_server.rollbacks import store
from relman_server.rollbacks.inputs import Cancellation, NewRollback
from relman_server.rollbacks.model import OPEN, Rollback, RollbackStatus

UNDOABLE = (DeploymentStatus.SUCCEEDED, DeploymentStatus.FAILED)

UNSUCCESSFUL = (RollbackStatus.FAILED, RollbackStatus.CANCELLED)

_STATUS = {
    DeploymentStatus.IN_PROGRESS: RollbackStatus.IN_PROGRESS,
    DeploymentStatus.SUCCEEDED: RollbackStatus.SUCCEEDED,
    DeploymentStatus.FAILED: RollbackStatus.FAILED,
    DeploymentStatus.REJECTED: RollbackStatus.FAILED,
    DeploymentStatus.CANCELLED: RollbackStatus.CANCELLED,
}


def create_rollback(tx: Transaction, new: NewRollback) -> Record:
    """Undo a deployment: record a rollback, and the deployment that goes back.

    Raises NotFound, PermissionDenied for someone outside the service's team, InvalidInput for a target that never
    succeeded there, FailedPrecondition for a deployment that cannot be undone or when there is nothing to go back to,
    and Aborted DEPLOYMENT_CHANGED when another deployment was started than the caller knows of.
    """
    found, undone = deployments.lock(tx, str(new.deployment), with_queue=True)
    _require_undoable(tx, undone)
    if new.expected_current_deployment is not None:
        _require_current(tx, undone, new.expected_current_deployment)
    target, example = _target(tx, found, undone, new.target_release)
    rollback = Rollback(
        id=new_id(),
        deployment_id=undone.id,
        target_release_id=target,
        service_id=undone.service_id,
        environment_id=undone.environment_id,
        reason=new.reason,
        quarantine=new.quarantine,
        status=RollbackStatus.PENDING,
        initiated_by=tx.caller.user_id,
        completed_at=None,
    )
    made = creation.roll_back(tx, undone, target, example, rollback.id)
    rollback.rollback_deployment_id = made.id
    tx.add(rollback)
    tx.audit("rollback.create", rollback)
    created = store.get_rollback_by_id(tx, rollback.id)
    to = f"to {created.target_release_version} was asked for by {tx.caller.username}"
    record(tx, undone, EventType.ROLLBACK, f"A rollback {to}: {new.reason}" if new.reason else f"A rollback {to}.")
    return created


def _require_undoable(tx: Transaction, undone: Deployment) -> None:
    if undone.status not in UNDOABLE:
        hint = " Cancel it instead." if undone.status == DeploymentStatus.IN_PROGRESS else ""
        message = f"Only a deployment that succeeded or failed can be rolled back; this one is {undone.status}.{hint}"
        raise deployments.wrong(undone, message)
    other = store.open_rollback(tx, undone.id)
    if other is not None:
        raise deployments.wrong(undone, f"It is being rolled back already, by the rollback {other}.")


def _require_current(tx: Transaction, undone: Deployment, expected: UUID) -> None:
    """Raise Aborted when something was started there since what the caller believes to be the newest."""
    known = undone if expected == undone.id else _known(tx, undone, expected)
    newer = store.newer_deployment(tx, known, but=undone.id)
    if newer is not None:
        raise Aborted(
            f"Another deployment, of {newer.release_version}, was started there since: look again, and decide again.",
            reason="DEPLOYMENT_CHANGED",
            metadata={"current_deployment": str(newer.id)},
        )


def _known(tx: Transaction, undone: Deployment, expected: UUID) -> Deployment:
    known: Deployment = deployment_store.lock_deployment(tx, expected).Deployment
    there = (known.service_id, known.environment_id) == (undone.service_id, undone.environment_id)
    if not there or known.deployed_at is None:
        description = "must be a deployment of the same service to the same environment that was started"
        raise InvalidInput(Violation("expected_current_deployment", description))
    return known


def _target(tx: Transaction, found: Record, undone: Deployment, named: str | None) -> tuple[UUID, UUID]:
    """Return the release to go back to, and a deployment by which it succeeded there."""
    if named is None:
        earlier = store.earlier_success(tx, undone)
        if earlier is None:
            message = (
                f"Nothing to go back to: no other release of {found.service_name} that may be deployed succeeded in"
                f" {found.environment_name} before, without being rolled back."
            )
            raise wrong_state(str(undone.id), undone.status, message)
        return earlier.release_id, earlier.deployment_id
    release = release_store.get_release(tx, named)
    if release.service_id != undone.service_id:
        raise InvalidInput(Violation("target_release", f"must be a release of {found.service_name}"))
    if release.id == undone.release_id:
        raise InvalidInput(Violation("target_release", "must not be the release that is undone"))
    success = store.success_of(tx, release.id, undone.environment_id)
    if success is None:
        raise InvalidInput(Violation("target_release", f"must have succeeded in {found.environment_name} before"))
    return release.id, success


def cancel_rollback(tx: Transaction, cancellation: Cancellation) -> Record:
    """Call a rollback off, and the deployment it made.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when it has ended.
    """
    wanted = store.get_rollback(tx, cancellation.rollback)
    _, made = deployments.lock(tx, str(wanted.rollback_deployment_id), with_queue=True)
    rollback = store.made_by(tx, made.id)
    assert rollback is not None
    tx.match_etag(rollback, cancellation.etag)
    if rollback.status not in OPEN:
        message = f"It has ended and cannot be called off: it is {rollback.status}."
        raise wrong_state(str(rollback.id), rollback.status, message)
    tx.audit("rollback.cancel", rollback, reason=cancellation.reason)
    ending.cancel_locked(tx, made, cancellation.reason)
    return store.get_rollback_by_id(tx, rollback.id)


def deployment_moved(tx: Transaction, moved: DeploymentMoved) -> None:
    """Let a rollback follow the deployment it made; when that succeeded, the other one is undone."""
    if moved.deployment.kind != DeploymentKind.ROLLBACK:
        return
    rollback = store.made_by(tx, moved.deployment.id)
    status = _STATUS[DeploymentStatus(moved.deployment.status)]
    assert rollback is not None
    rollback.status = status
    if status not in OPEN:
        rollback.completed_at = tx.now
    tx.audit(f"rollback.{status.lower()}", rollback)
    if status in UNSUCCESSFUL:
        failed = tx.lock(Deployment, rollback.deployment_id)  # perhaps by nobody: the reconciler has no role
        assert failed is not None
        record(tx, failed, EventType.ROLLBACK, f"Its rollback has ended, {status}.")
    if status is RollbackStatus.SUCCEEDED:
        undone = ending.undo(tx, rollback.deployment_id, rollback.id, rollback.reason)
        if rollback.quarantine:
            _hold(tx, rollback, undone)


def _hold(tx: Transaction, rollback: Rollback, undone: Record) -> None:
    because = f": {rollback.reason}" if rollback.reason else "."
    reason = f"Rolled back from {undone.environment_name}{because}"
    releases.hold(tx, undone.release_id, reason[:1000], by=rollback.initiated_by)
