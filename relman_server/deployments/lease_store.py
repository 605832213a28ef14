"""Queries of leases."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select, update

from relman_server.catalog.model import Service
from relman_server.deployments.model import Deployment, Lease
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.teams import store as teams


def lock_lease(tx: Transaction, deployment_id: UUID) -> Lease | None:
    """Return the lease of a deployment for changing; None when it never had one."""
    return next(iter(tx.entities(_lease(deployment_id).with_for_update())), None)


def share_leases(tx: Transaction, deployment_ids: Sequence[UUID]) -> Sequence[Lease]:
    """Return the leases of deployments, which nobody takes over before the end of the transaction."""
    return tx.entities(
        select(Lease)
        .where(Lease.deployment_id.in_(deployment_ids))
        .order_by(Lease.deployment_id)
        .with_for_update(read=True)
    )


def _lease(deployment_id: UUID) -> Select[Any]:
    return select(Lease).where(Lease.deployment_id == deployment_id)


def deployment_of(tx: Transaction, deployment_id: UUID) -> Record:
    """Return `status` of a deployment, and service_name, owner_id and `caller_role`; raises NotFound."""
    role = teams.caller_role(tx.caller.user_id, Service.team_id)
    found = tx.row(
        select(Deployment.status, Service.name.label("service_name"), Service.owner_id, role)
        .join(Service, Service.id == Deployment.service_id)
        .where(Deployment.id == deployment_id)
    )
    if found is None:
        raise NotFound("deployment", str(deployment_id))
    return found


def stop(tx: Transaction, deployment_id: UUID) -> None:
    """Let the lease of a deployment, if it has one, never run out."""
    tx.execute(
        update(Lease).where(Lease.deployment_id == deployment_id, Lease.expires_at.is_not(None)).values(expires_at=None)
    )
