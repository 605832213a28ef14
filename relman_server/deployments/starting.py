"""Starting a deployment: the decision, in the transaction that starts it; and taking one over that is in progress."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from relman_server.catalog import logic as catalog
from relman_server.deployments import gates, leases, queue, store
from relman_server.deployments.facts import facts_of
from relman_server.deployments.history import DeploymentMoved, record
from relman_server.deployments.inputs import Override, Start
from relman_server.deployments.logic import lock, wrong
from relman_server.deployments.model import WAITING, Deployment, DeploymentKind, DeploymentStatus, EventType, Lease
from relman_server.kernel.db.audit import AuditOutcome
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import Aborted, Condition, FailedPrecondition, PermissionDenied

DEFAULT_TTL = timedelta(seconds=60)  # of a lease that is taken over without saying how long it shall last


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


def start_deployment(tx: Transaction, start: Start) -> tuple[Record, Lease | None]:
    """Start a deployment when every gate is open, deciding again in this transaction, or take over its lease.

    Returns the deployment, and the lease of whoever asked for one.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, FailedPrecondition when it does not wait, and Blocked
    when a gate is closed and not passed by an override.
    """
    found, deployment = lock(tx, start.deployment, start.etag)
    if start.takeover and deployment.status == DeploymentStatus.IN_PROGRESS:
        return _take_over(tx, deployment, start.lease_ttl or DEFAULT_TTL)
    if deployment.status not in WAITING:
        raise wrong(deployment, _not_waiting(deployment))
    if start.override is not None:
        _require_override(tx, found)
    facts = facts_of(tx, [deployment.id])[deployment.id]
    passed = _pass_gates(deployment, gates.evaluate(facts, tx.now), start.override)
    if deployment.kind in {DeploymentKind.PLANNED, DeploymentKind.REDEPLOY}:
        # While it was queued, others went before: what runs there may have changed.
        deployment.kind = facts.ordinary_kind
    deployment.status = DeploymentStatus.IN_PROGRESS
    deployment.blockers = []
    deployment.look_again_at = None
    deployment.deployed_by = tx.caller.user_id
    deployment.deployed_at = tx.now
    # Two that start at the same instant both find their gates open; the index lets one of them through.
    second = Aborted("Another deployment of the service was started at the same moment; look again.")
    started = record(tx, deployment, EventType.STARTED, _sentence(tx, passed, start.override), conflict=second)
    ttl = start.lease_ttl or (DEFAULT_TTL if start.takeover else None)
    lease = leases.grant(tx, deployment.id, ttl) if ttl else None
    tx.audit("deployment.start", deployment, **_overridden(passed, start.override))
    tx.emit(DeploymentMoved(deployment))
    return started, lease


def _require_override(tx: Transaction, found: Record) -> None:
    permissions = tx.caller.permissions
    if permissions is not None and "deployments.override" not in permissions:
        raise PermissionDenied("This token does not carry the permission deployments.override.")
    catalog.require_maintainer(tx.caller, found)


def _not_waiting(deployment: Deployment) -> str:
    message = f"Only a waiting deployment may be started; this one is {deployment.status}."
    if deployment.status == DeploymentStatus.IN_PROGRESS:
        return f"{message} With takeover, its pipeline goes on in your hands."
    return message


def _pass_gates(
    deployment: Deployment, blockers: Sequence[gates.Blocker], override: Override | None
) -> Sequence[gates.Blocker]:
    """Return the closed gates, all of which the override passes; raise Blocked when one is closed that it does not."""
    kinds = override.kinds if override else ()
    if any(blocker.kind not in kinds for blocker in blockers):
        raise Blocked(deployment.id, blockers)
    return blockers


def _sentence(tx: Transaction, passed: Sequence[gates.Blocker], override: Override | None) -> str:
    if not passed or override is None:
        return f"Started by {tx.caller.username}."
    kinds = ", ".join(dict.fromkeys(blocker.kind for blocker in passed))
    return f"Started by {tx.caller.username} in spite of {kinds}: {override.reason}"


def _overridden(passed: Sequence[gates.Blocker], override: Override | None) -> dict[str, Any]:  # JSON
    """Return what the audit log keeps of an override: why, and every gate that was closed."""
    if not passed or override is None:
        return {}
    return {"reason": override.reason, "overridden": [f"{blocker.kind}: {blocker.message}" for blocker in passed]}


def _take_over(tx: Transaction, deployment: Deployment, ttl: timedelta) -> tuple[Record, Lease | None]:
    lease = leases.take_over(tx, deployment.id, ttl)
    message = f"{tx.caller.username} took the pipeline over (fencing token {lease.fencing_token})."
    taken = record(tx, deployment, EventType.LEASE, message)
    tx.audit("deployment.start", deployment, takeover=True, fencing_token=lease.fencing_token)
    return taken, lease


def note_blocked(tx: Transaction, deployment_id: UUID) -> None:
    """Put down that a start was refused: what the gates say now, and who wanted to start."""
    found = store.lock_deployment(tx, deployment_id)
    deployment: Deployment = found.Deployment
    if deployment.status in WAITING:
        queue.look_again(tx, [deployment])
        tx.audit("deployment.start", deployment, outcome=AuditOutcome.FAILED)
