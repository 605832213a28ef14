"""Leases: who carries a deployment out, for as long as they say that they do.

A lease is a promise to send heartbeats. The one who holds it has the highest fencing token; whoever comes with an older
one was taken over, and is refused before doing harm (Kleppmann, "How to do distributed locking", 2016). Calls that name
no lease are not fenced: people, and pipelines that hold none, work too.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from relman_server.catalog import logic as catalog
from relman_server.deployments import lease_store
from relman_server.deployments.inputs import Heartbeat, LeaseHeld
from relman_server.deployments.model import DeploymentStatus, Lease
from relman_server.deployments.store import deployment_id as id_of
from relman_server.kernel.db.transaction import Transaction
from relman_server.kernel.errors import Aborted, wrong_state
from relman_server.kernel.ids import new_id


def grant(tx: Transaction, deployment_id: UUID, ttl: timedelta) -> Lease:
    """Give the first lease of a locked deployment."""
    return _give(tx, Lease(deployment_id=deployment_id, fencing_token=0), ttl)


def take_over(tx: Transaction, deployment_id: UUID, ttl: timedelta) -> Lease:
    """Give the lease of a locked deployment to the caller, with a higher fencing token than anyone had before."""
    lease = lease_store.lock_lease(tx, deployment_id)
    return grant(tx, deployment_id, ttl) if lease is None else _give(tx, lease, ttl)


def _give(tx: Transaction, lease: Lease, ttl: timedelta) -> Lease:
    lease.id = new_id()
    lease.fencing_token += 1
    lease.ttl_seconds = int(ttl.total_seconds())
    lease.expires_at = tx.now + ttl
    tx.add(lease)
    return lease


def renew(tx: Transaction, heartbeat: Heartbeat) -> Lease:
    """Let a lease last for its whole time again.

    One that ran out while nobody noticed is renewed too: its holder lives, and that is all it is about.

    Raises NotFound, PermissionDenied, FailedPrecondition when the deployment is not in progress (any more), and Aborted
    WRITER_FENCED when someone took it over.
    """
    deployment_id = id_of(heartbeat.deployment)
    lease = lease_store.lock_lease(tx, deployment_id)
    found = lease_store.deployment_of(tx, deployment_id)
    catalog.require_team(tx.caller, found)
    if lease is None or (lease.id, lease.fencing_token) != (heartbeat.lease.id, heartbeat.lease.fencing_token):
        raise _fenced(lease, heartbeat.lease)
    if lease.expires_at is None or found.status != DeploymentStatus.IN_PROGRESS:
        message = f"The deployment is not in progress any more; it is {found.status}. Stop working on it."
        raise wrong_state(heartbeat.deployment, found.status, message)
    lease.expires_at = tx.now + timedelta(seconds=lease.ttl_seconds)
    tx.flush()
    return lease


def release(tx: Transaction, deployment_id: UUID) -> None:
    """Let the lease of a deployment that ends run for no time more; its holder may still write what is left to log."""
    lease_store.stop(tx, deployment_id)


def require(tx: Transaction, deployment_id: UUID, held: LeaseHeld | None) -> None:
    """Raise Aborted WRITER_FENCED unless the lease that a call names is the newest of the deployment.

    It stays so until the end of the transaction.
    """
    if held is not None:
        require_newest(newest(tx, [deployment_id]).get(deployment_id), held)


def newest(tx: Transaction, deployment_ids: Sequence[UUID]) -> Mapping[UUID, Lease]:
    """Return the leases of deployments, by deployment; nobody takes these over before the end of the transaction."""
    return {lease.deployment_id: lease for lease in lease_store.share_leases(tx, deployment_ids)}


def require_newest(lease: Lease | None, held: LeaseHeld) -> None:
    """Raise Aborted WRITER_FENCED unless the lease that a call names is its deployment's newest."""
    if lease is None or (lease.id, lease.fencing_token) != (held.id, held.fencing_token):
        raise _fenced(lease, held)


def _fenced(lease: Lease | None, held: LeaseHeld) -> Aborted:
    if lease is None:
        return Aborted("The deployment has no lease; start it with a lease_ttl.", reason="WRITER_FENCED")
    if lease.fencing_token <= held.fencing_token:
        return Aborted("The lease is not one that this deployment gave out.", reason="WRITER_FENCED")
    return Aborted(
        f"Someone took the deployment over: your fencing token is {held.fencing_token}, theirs {lease.fencing_token}."
        " Stop working on it.",
        reason="WRITER_FENCED",
        metadata={"fencing_token": str(lease.fencing_token)},
    )
