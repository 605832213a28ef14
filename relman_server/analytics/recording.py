"""Numbers that pipelines measure in their deployments: recorded together, listed, and how they are distributed."""

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Select, desc, func, select

from relman_server.analytics.inputs import ListMetrics, RecordedMetric, Recording
from relman_server.analytics.model import DeploymentMetric
from relman_server.analytics.sql import QUANTILES, distribution
from relman_server.catalog import store as catalog
from relman_server.catalog.model import Service
from relman_server.deployments.logic import lock
from relman_server.deployments.model import Deployment
from relman_server.deployments.store import filter_ids
from relman_server.environments import store as environments
from relman_server.environments.model import Environment
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.paging import Ordering, paginate
from relman_server.releases import store as releases
from relman_server.releases.model import Release

MAX_DISTRIBUTIONS = 500

_ORDERING = Ordering(
    {
        "created_at": DeploymentMetric.created_at,
        "metric_name": DeploymentMetric.metric_name,
        "metric_value": DeploymentMetric.metric_value,
    },
    default="created_at desc",
    tie=DeploymentMetric.id,
)


def record_metrics(tx: Transaction, recording: Recording) -> Sequence[DeploymentMetric]:
    """Record numbers of a deployment, all or none; those of the same name are replaced.

    Raises NotFound, and PermissionDenied for someone outside the service's team.
    """
    _, deployment = lock(tx, str(recording.deployment))
    mine = select(DeploymentMetric).where(
        DeploymentMetric.deployment_id == deployment.id,
        DeploymentMetric.metric_name.in_([metric.metric_name for metric in recording.metrics]),
    )
    known = {metric.metric_name: metric for metric in tx.entities(mine)}
    fresh = [_new(deployment, said) for said in recording.metrics if said.metric_name not in known]
    tx.add_all(fresh)
    for said in recording.metrics:
        if metric := known.get(said.metric_name):
            metric.metric_value, metric.unit, metric.updated_at = said.metric_value, said.unit, tx.now
    tx.flush()
    measured = {metric.metric_name: metric.metric_value for metric in recording.metrics}
    tx.audit("deployment_metric.record", deployment, metrics=measured)
    by_name = known | {metric.metric_name: metric for metric in fresh}
    return [by_name[said.metric_name] for said in recording.metrics]


def _new(deployment: Deployment, said: RecordedMetric) -> DeploymentMetric:
    return DeploymentMetric(
        deployment_id=deployment.id, metric_name=said.metric_name, metric_value=said.metric_value, unit=said.unit
    )


@cache
def _metrics() -> Select[Any]:
    return select(*DeploymentMetric.__table__.columns).join(Deployment, Deployment.id == DeploymentMetric.deployment_id)


def list_metrics(tx: Reading, wanted: ListMetrics) -> SimpleNamespace:
    """Return a `page` of recorded numbers, and the `percentiles` of all that match if they are wanted.

    Raises NotFound for an unknown service, environment or release.
    """
    statement = _matching(wanted)
    page = paginate(tx, statement, _ORDERING, wanted)
    if not page.rows:  # an empty page would hide a misspelling
        filter_ids(tx, service=wanted.service, environment=wanted.environment, release=wanted.release)
    return SimpleNamespace(page=page, percentiles=_percentiles(tx, statement) if wanted.with_percentiles else ())


def _matching(wanted: ListMetrics) -> Select[Any]:
    statement = _metrics()
    if wanted.deployment:
        statement = statement.where(DeploymentMetric.deployment_id == wanted.deployment)
    if wanted.metric_name:
        statement = statement.where(DeploymentMetric.metric_name == wanted.metric_name)
    if wanted.service:
        service = select(Service.id).where(catalog.named(wanted.service)).scalar_subquery()
        statement = statement.where(Deployment.service_id == service)
    if wanted.environment:
        environment = select(Environment.id).where(environments.named(wanted.environment)).scalar_subquery()
        statement = statement.where(Deployment.environment_id == environment)
    if wanted.release:
        release = select(Release.id).join(Service, Service.id == Release.service_id)
        of_release = release.where(releases.named(wanted.release)).scalar_subquery()
        statement = statement.where(Deployment.release_id == of_release)
    if wanted.start_date:
        statement = statement.where(DeploymentMetric.created_at >= wanted.start_date)
    if wanted.end_date:
        statement = statement.where(DeploymentMetric.created_at < wanted.end_date)
    return statement


def _percentiles(tx: Reading, matching: Select[Any]) -> Sequence[Record]:
    """Return how the numbers of each name, unit and release are distributed, newest releases first."""
    values = matching.with_only_columns(
        DeploymentMetric.metric_name,
        DeploymentMetric.unit,
        Deployment.release_id,
        DeploymentMetric.metric_value.label("value"),
        maintain_column_froms=True,
    ).subquery("measured")
    by = ["metric_name", "unit", "release_id"]
    found = distribution(values, tx.engine, by, list(QUANTILES), _extremes).subquery("distributed")
    columns = (*found.c, Release.version.label("release_version"), Service.name.label("service_name"))
    return tx.rows(
        select(*columns)
        .join(Release, Release.id == found.c.release_id)
        .join(Service, Service.id == Release.service_id)
        .order_by(desc(Release.created_at), desc(Release.id), found.c.metric_name, found.c.unit)
        .limit(MAX_DISTRIBUTIONS)
    )


def _extremes(columns: Any) -> dict[str, Any]:  # of a subquery; aggregates
    return {"minimum": func.min(columns.value), "maximum": func.max(columns.value)}
