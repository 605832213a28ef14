"""What runs where, and how it is doing: read models over deployments for the resources below."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, true

from relman_server.catalog import store as catalog
from relman_server.catalog.inputs import HealthOf
from relman_server.catalog.model import Service
from relman_server.deployments.model import Deployment, Outcome, has_succeeded, is_in_progress, is_waiting
from relman_server.environments import store as environments
from relman_server.environments.inputs import StatusOf
from relman_server.environments.model import Environment, lock_of
from relman_server.kernel.db.model import alias_of
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.kernel.paging import rest
from relman_server.releases.model import Release

_newest = alias_of(Deployment)  # once: an alias costs more to make than a query to run

# From the best to the worst: a whole is as healthy as the worst of its parts.
_SEVERITY = ("UNKNOWN", "HEALTHY", "DEGRADED", "FAILING")

OpenIncidents = Callable[[Reading, UUID], Mapping[UUID, int]]
"""Returns how many incidents of a service are open, by environment; they are known above this folder."""


def environment_status(tx: Reading, asked: StatusOf) -> SimpleNamespace:
    """Return the environment, what runs there of each service, and how many deployments run and wait.

    Raises NotFound.
    """
    environment = environments.get_environment(tx, asked.environment)
    running = _newest_successes(tx, Environment.id == environment.id)
    there = select(func.count()).select_from(Deployment).where(Deployment.environment_id == environment.id)
    counts = tx.row(
        select(
            there.where(is_in_progress()).scalar_subquery().label("in_progress"),
            there.where(is_waiting()).scalar_subquery().label("waiting"),
        )
    )
    assert counts is not None
    return SimpleNamespace(
        environment=environment,
        running=rest(running, "service_name", asked),
        in_progress=counts.in_progress,
        waiting=counts.waiting,
    )


def service_health(tx: Reading, asked: HealthOf, *, open_incidents: OpenIncidents) -> SimpleNamespace:
    """Return how a service is doing in every active environment and in every one it was deployed to.

    Raises NotFound.
    """
    service = catalog.get_service(tx, asked.service)
    running = {row.environment_id: row for row in _newest_successes(tx, Service.id == service.id)}
    last = {row.environment_id: row for row in _newest_ended(tx, service.id)}
    waiting = _blockers(tx, service.id)
    incidents = open_incidents(tx, service.id)
    known = tx.rows(
        select(Environment)
        .with_only_columns(*Environment.__table__.columns)
        .where(or_(Environment.is_active, Environment.id.in_([*running, *last, *waiting, *incidents])))
    )
    rows = [
        _environment_health(
            environment,
            running.get(environment.id),
            last.get(environment.id),
            waiting.get(environment.id, []),
            locked=lock_of(environment, tx.now) is not None,
            open_incidents=incidents.get(environment.id, 0),
        )
        for environment in known
    ]
    return SimpleNamespace(
        service_id=service.id,
        service_name=service.name,
        status=max((row.status for row in rows), key=_SEVERITY.index, default="UNKNOWN"),
        environments=rest(rows, "environment_name", asked),
    )


def _environment_health(
    environment: Record,
    running: Record | None,
    last: Record | None,
    blockers: Sequence[Any],
    *,
    locked: bool,
    open_incidents: int,
) -> SimpleNamespace:
    return SimpleNamespace(
        environment_id=environment.id,
        environment_name=environment.name,
        status=_status(running, last, impaired=locked or open_incidents > 0),
        release_id=running.release_id if running else None,
        release_version=running.release_version if running else None,
        running_since=running.running_since if running else None,
        last_outcome=last.outcome if last else None,
        last_deployment_id=last.id if last else None,
        open_incidents=open_incidents,
        blockers=blockers,
    )


def _status(running: Record | None, last: Record | None, *, impaired: bool) -> str:
    if last is None and running is None:
        return "UNKNOWN"
    failed = last is not None and last.outcome == Outcome.FAILED
    if running is None or (failed and last is not None and last.production_impacted):
        return "FAILING"
    return "DEGRADED" if failed or impaired else "HEALTHY"


def _newest_successes(tx: Reading, condition: ColumnElement[bool]) -> Sequence[Record]:
    """Return, of each service and environment, the deployment that brought what runs there.

    One look into an index for each pair, however many deployments there were.
    """
    newest = (
        select(_newest.id)
        .where(_newest.environment_id == Environment.id, _newest.service_id == Service.id, has_succeeded(_newest))
        .order_by(_newest.completed_at.desc(), _newest.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return tx.rows(
        select(
            Environment.id.label("environment_id"),
            Service.id.label("service_id"),
            Service.name.label("service_name"),
            Deployment.release_id,
            Release.version.label("release_version"),
            Deployment.id.label("deployment_id"),
            Deployment.completed_at.label("running_since"),
        )
        .select_from(Service)
        .join(Environment, true())
        .join(Deployment, Deployment.id == newest)
        .join(Release, Release.id == Deployment.release_id)
        .where(condition)
    )


def _newest_ended(tx: Reading, service_id: UUID) -> Sequence[Record]:
    """Return, of each environment, the service's deployment that ended last with an outcome."""
    newest = (
        select(_newest.id)
        .where(_newest.service_id == service_id, _newest.environment_id == Environment.id, _newest.outcome.is_not(None))
        .order_by(_newest.completed_at.desc(), _newest.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return tx.rows(
        select(Deployment.id, Deployment.environment_id, Deployment.outcome, Deployment.production_impacted)
        .select_from(Environment)
        .join(Deployment, Deployment.id == newest)
    )


def _blockers(tx: Reading, service_id: UUID) -> Mapping[UUID, list[Any]]:  # blockers as JSON
    """Return, by environment, what keeps the deployment at the head of the queue from starting."""
    found: dict[UUID, list[Any]] = {}
    rows = tx.rows(
        select(Deployment.environment_id, Deployment.blockers)
        .where(Deployment.service_id == service_id, is_waiting())
        .order_by(Deployment.created_at, Deployment.id)
    )
    for row in rows:
        found.setdefault(row.environment_id, row.blockers)
    return found
