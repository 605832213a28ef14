"""Queries of rollbacks."""

from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select

from relman_server.catalog import store as catalog
from relman_server.catalog.model import Service
from relman_server.deployments.model import Deployment, DeploymentStatus, Outcome, Stage, has_succeeded
from relman_server.environments import store as environments
from relman_server.environments.model import Environment
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import InvalidInput, NotFound, Violation
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.releases.model import Release, ReleaseStatus
from relman_server.rollbacks.inputs import ListRollbacks
from relman_server.rollbacks.model import OPEN, Rollback

_ORDERING = Ordering(
    {
        "created_at": Rollback.created_at,
        # What has not ended stands where it was created.
        "completed_at": func.coalesce(Rollback.completed_at, Rollback.created_at),
        "status": Rollback.status,
    },
    default="created_at desc",
    tie=Rollback.id,
)


def rollback_id(reference: str) -> UUID:
    """Return the id that a reference to a rollback is; raises InvalidInput for anything else."""
    found = parse_id(reference)
    if found is None:
        raise InvalidInput(Violation("rollback", "must be the id of a rollback: a UUID of 36 characters"))
    return found


@cache
def _rollbacks() -> Select[Any]:
    return (
        select(
            *Rollback.__table__.columns,
            Service.name.label("service_name"),
            Environment.name.label("environment_name"),
            Release.version.label("target_release_version"),
        )
        .join(Service, Service.id == Rollback.service_id)
        .join(Environment, Environment.id == Rollback.environment_id)
        .join(Release, Release.id == Rollback.target_release_id)
    )


def get_rollback(tx: Reading, reference: str) -> Record:
    """Return a rollback with service_name, environment_name and target_release_version; raises NotFound."""
    return get_rollback_by_id(tx, rollback_id(reference))


def get_rollback_by_id(tx: Reading, wanted: UUID) -> Record:
    """As `get_rollback`."""
    found = tx.row(_rollbacks().where(Rollback.id == wanted))
    if found is None:
        raise NotFound("rollback", str(wanted))
    return found


def made_by(tx: Transaction, deployment_id: UUID) -> Rollback | None:
    """Return the rollback that made a deployment, for changing; the deployment must be locked."""
    return next(iter(tx.entities(select(Rollback).where(Rollback.rollback_deployment_id == deployment_id))), None)


def open_rollback(tx: Reading, deployment_id: UUID) -> UUID | None:
    """Return the rollback that is undoing a deployment; None when none is."""
    found: UUID | None = tx.scalar(
        select(Rollback.id).where(Rollback.deployment_id == deployment_id, Rollback.status.in_(OPEN))
    )
    return found


def list_rollbacks(tx: Reading, wanted: ListRollbacks) -> Listed:
    """Return a page of rollbacks; raises NotFound for an unknown service or environment."""
    statement = _rollbacks()
    if wanted.deployment:
        statement = statement.where(Rollback.deployment_id == wanted.deployment)
    if wanted.status:
        statement = statement.where(Rollback.status == wanted.status)
    if wanted.service:
        service = select(Service.id).where(catalog.named(wanted.service)).scalar_subquery()
        statement = statement.where(Rollback.service_id == service)
    if wanted.environment:
        environment = select(Environment.id).where(environments.named(wanted.environment)).scalar_subquery()
        statement = statement.where(Rollback.environment_id == environment)
    if wanted.start_date:
        statement = statement.where(Rollback.created_at >= wanted.start_date)
    if wanted.end_date:
        statement = statement.where(Rollback.created_at < wanted.end_date)
    listed = paginate(tx, statement, _ORDERING, wanted)
    if not listed.rows:
        _require_filters(tx, wanted)
    return listed


def _require_filters(tx: Reading, wanted: ListRollbacks) -> None:
    """Raise NotFound for what a filter names and is not there: an empty page would hide the misspelling."""
    if wanted.service:
        catalog.get_service(tx, wanted.service)
    if wanted.environment:
        environments.get_environment(tx, wanted.environment)


def earlier_success(tx: Reading, deployment: Deployment) -> Record | None:
    """Return `release_id` and `deployment_id` of what ran before a deployment and could run there again.

    That is the newest success of the same service and environment before it, of another release that may be deployed,
    and that was not rolled back itself.
    """
    earlier = Deployment.__table__.alias("earlier")
    return tx.row(
        select(earlier.c.release_id, earlier.c.id.label("deployment_id"))
        .join(Release, Release.id == earlier.c.release_id)
        .where(
            earlier.c.service_id == deployment.service_id,
            earlier.c.environment_id == deployment.environment_id,
            has_succeeded(earlier.c),
            earlier.c.release_id != deployment.release_id,
            earlier.c.completed_at <= deployment.completed_at,
            Release.quarantined_at.is_(None),
            Release.status != ReleaseStatus.ABANDONED,
        )
        .order_by(earlier.c.completed_at.desc(), earlier.c.id.desc())
        .limit(1)
    )


def success_of(tx: Reading, release_id: UUID, environment_id: UUID) -> UUID | None:
    """Return the newest deployment by which a release succeeded in an environment; None when it never has."""
    found: UUID | None = tx.scalar(
        select(Deployment.id)
        .where(
            Deployment.release_id == release_id,
            Deployment.environment_id == environment_id,
            Deployment.outcome == Outcome.SUCCEEDED,
        )
        .order_by(Deployment.completed_at.desc(), Deployment.id.desc())
        .limit(1)
    )
    return found


def newer_deployment(tx: Reading, than: Deployment, but: UUID) -> Record | None:
    """Return `id` and `release_version` of a deployment that was started after another, and was not called off.

    Args:
        tx: Where to read.
        than: The other, of the same service and environment.
        but: One that does not count.
    """
    return tx.row(
        select(Deployment.id, Release.version.label("release_version"))
        .join(Release, Release.id == Deployment.release_id)
        .where(
            Deployment.service_id == than.service_id,
            Deployment.environment_id == than.environment_id,
            Deployment.deployed_at > than.deployed_at,
            Deployment.status.not_in((DeploymentStatus.CANCELLED, DeploymentStatus.ROLLED_BACK)),
            Deployment.id.not_in((than.id, but)),
        )
        .order_by(Deployment.deployed_at.desc())
        .limit(1)
    )


def get_status(tx: Reading, reference: str) -> tuple[Record, list[Record]]:
    """Return a rollback with what is known of its deployment, and that deployment's stages in their order.

    Columns of the first: `rollback_id`, `status`, `rollback_deployment_id`, `failure_reason`, `started_at` and
    `completed_at`; of the others `id`, `name`, `status` and `progress_percent`. Raises NotFound.
    """
    found = tx.row(
        select(
            Rollback.id.label("rollback_id"),
            Rollback.status,
            Rollback.rollback_deployment_id,
            Rollback.completed_at,
            Deployment.failure_reason,
            Deployment.deployed_at.label("started_at"),
        )
        .join(Deployment, Deployment.id == Rollback.rollback_deployment_id)
        .where(Rollback.id == rollback_id(reference))
    )
    if found is None:
        raise NotFound("rollback", reference)
    stages = tx.rows(
        select(Stage.id, Stage.name, Stage.status, Stage.progress_percent)
        .where(Stage.deployment_id == found.rollback_deployment_id)
        .order_by(Stage.order)
    )
    return found, list(stages)
