"""What decisions about deployments depend on, in one statement."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, or_, select
from sqlalchemy.orm import aliased

from relman_server.catalog.model import Service
from relman_server.deployments.gates import Facts
from relman_server.deployments.model import WAITING, Deployment, DeploymentStatus
from relman_server.environments import store as environments
from relman_server.environments.model import Environment
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.errors import NotFound
from relman_server.releases import store as releases
from relman_server.releases.model import Release
from relman_server.users.model import User


def facts_of(tx: Reading, deployment: UUID) -> Facts:
    """Return what the decision about a deployment depends on, in one statement."""
    ahead = aliased(Deployment)
    before = or_(
        ahead.created_at < Deployment.created_at,
        and_(ahead.created_at == Deployment.created_at, ahead.id < Deployment.id),
    )
    row = tx.row(
        _facts(_in_front(ahead, Deployment.service_id, Deployment.environment_id, before))
        .select_from(Deployment)
        .join(Release, Release.id == Deployment.release_id)
        .join(Service, Service.id == Deployment.service_id)
        .join(Environment, Environment.id == Deployment.environment_id)
        .outerjoin(User, User.id == Environment.locked_by)
        .where(Deployment.id == deployment)
    )
    assert row is not None
    return Facts(**row._mapping)


def facts_if_created(tx: Reading, release: str, environment: str) -> Facts:
    """Return what the decision about a deployment made now would depend on; raises NotFound."""
    ahead = aliased(Deployment)
    row = tx.row(
        _facts(_in_front(ahead, Release.service_id, Environment.id, None))
        .select_from(Release)
        .join(Service, Service.id == Release.service_id)
        .join(Environment, environments.named(environment))
        .outerjoin(User, User.id == Environment.locked_by)
        .where(releases.named(release))
    )
    if row is None:
        releases.get_release(tx, release)
        environments.get_environment(tx, environment)
        raise NotFound("release", release)
    return Facts(**row._mapping)


def _in_front(ahead: Any, service: Any, environment: Any, before: ColumnElement[bool] | None) -> Any:  # SQL expressions
    """Select the head of the queue before a deployment: the one in progress, else the oldest that waits."""
    waiting = ahead.status.in_(WAITING) if before is None else and_(ahead.status.in_(WAITING), before)
    return (
        select(ahead.id)
        .where(
            ahead.service_id == service,
            ahead.environment_id == environment,
            or_(ahead.status == DeploymentStatus.IN_PROGRESS, waiting),
        )
        # Text orders IN_PROGRESS before PENDING and READY.
        .order_by((ahead.status == DeploymentStatus.IN_PROGRESS).desc(), ahead.created_at, ahead.id)
        .limit(1)
        .scalar_subquery()
    )


def _facts(in_front: Any) -> Select[Any]:  # an SQL expression
    columns: list[Any] = [
        Release.id.label("release_id"),
        (Service.name + "@" + Release.version).label("release_name"),
        Release.status.label("release_status"),
        Release.quarantine_reason,
        Release.quarantined_at,
        Service.id.label("service_id"),
        Service.name.label("service_name"),
        Service.is_active.label("service_active"),
        Environment.id.label("environment_id"),
        Environment.name.label("environment_name"),
        Environment.is_active.label("environment_active"),
        Environment.locked_at,
        Environment.lock_reason,
        Environment.lock_expires_at,
        User.username.label("locked_by"),
        in_front.label("in_front"),
    ]
    return select(*columns)
