"""Queries of metrics: each answers one question for every group of a scope at once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Double, Integer, Select, bindparam, case, cast, func, literal, select, true

from relman_server.analytics.facts import (
    ENVIRONMENTS,
    SERVICES,
    Facts,
    Grouping,
    Scope,
    Shape,
    ages,
    recoveries,
    within,
)
from relman_server.analytics.inputs import PagedQuestion
from relman_server.analytics.sql import distribution, newest
from relman_server.catalog.model import Service
from relman_server.deployments.model import Deployment
from relman_server.environments.model import Environment, EnvironmentType
from relman_server.incidents.model import Incident
from relman_server.kernel.db.model import alias_of
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.kernel.sql import known_ids

CONTRIBUTING = 100
"""How many deployments are named behind a number."""

SORTED_IN_MEMORY = "48MB"

Group = UUID | None
"""A service's or an environment's id, or None where everything is one group."""

_SERVICES = Ordering({"name": Service.name}, default="name", tie=Service.id)
_ENVIRONMENTS = Ordering({"name": Environment.name}, default="name", tie=Environment.id)
_first = alias_of(Deployment)


def make_room(tx: Reading) -> None:
    """Let the statements of this snapshot sort in memory; PostgreSQL's default is meant for many small ones."""
    if tx.engine == "postgresql":
        tx.scalar(select(func.set_config("work_mem", SORTED_IN_MEMORY, true())))


def service_ids(tx: Reading, references: Sequence[str]) -> list[UUID]:
    """Return the ids of services; raises NotFound with every reference that names none."""
    return known_ids(tx, Service, references, "service")


def environment_ids(tx: Reading, types: Sequence[EnvironmentType]) -> list[UUID]:
    """Return the ids of the environments of these types."""
    return [row.id for row in tx.rows(select(Environment.id).where(Environment.environment_type.in_(types)))]


def _named(model: Any) -> Select[Any]:  # Service or Environment
    return select(model.id, model.name)


def services_of(tx: Reading, scope: Scope, asked: PagedQuestion) -> Listed:
    """Return `id` and `name` of a page of the services, also of those that were never deployed."""
    statement = _named(Service)
    if scope.services is not None:
        statement = statement.where(Service.id.in_(scope.services))
    return paginate(tx, statement, _SERVICES, asked.page, asked)


def environments_of(tx: Reading, scope: Scope, asked: PagedQuestion) -> Listed:
    """Return `id` and `name` of a page of the environments, also of those that nothing was deployed to."""
    statement = _named(Environment).where(Environment.id.in_(scope.environments))
    return paginate(tx, statement, _ENVIRONMENTS, asked.page, asked)


def first_deployments(tx: Reading, scope: Scope) -> Mapping[Group, datetime]:
    """Return when the first deployment ever ended that counts, by group: one look into an index for each place."""
    earliest: dict[Group, datetime] = {}
    for row in tx.rows(_first_deployments(scope.shape), scope.parameters):
        earliest[row.grouped] = min(row.first, earliest.get(row.grouped, row.first))
    return earliest


@cache
def _first_deployments(shape: Shape) -> Select[Any]:
    ended = select(_first.completed_at).where(_first.environment_id == Environment.id, _first.outcome.is_not(None))
    places = select(Environment.id.label("environment_id")).where(Environment.id.in_(ENVIRONMENTS))
    if not shape.all_services or shape.grouping is Grouping.SERVICE:
        ended = ended.where(_first.service_id == Service.id)
        places = places.add_columns(Service.id.label("service_id")).join(Service, true())
    if not shape.all_services:
        places = places.where(Service.id.in_(SERVICES))
    first = ended.order_by(_first.completed_at).limit(1).correlate(Environment, Service).scalar_subquery()
    found = places.add_columns(first.label("first")).subquery()
    return select(shape.grouped(found.c), found.c.first).where(found.c.first.is_not(None))


COUNTS = ("base", "successes", "failures", "releases", "rework", "ended", "pipeline_failures")


def daily_counts(tx: Reading, scope: Scope) -> Sequence[Record]:
    """Return `grouped`, `day` and COUNTS of each group and day on which anything ended.

    `base` are those that reached the environment, `successes` and `failures` of these; `releases` the successes of any
    kind but repetitions, `rework` of these; `ended` all that have an outcome, `pipeline_failures` of these.
    """
    return tx.rows(_daily_counts(scope.shape), scope.parameters)


@cache
def _daily_counts(shape: Shape) -> Select[Any]:
    facts = Facts(shape)
    conditions = {
        "base": facts.is_base,
        "successes": facts.is_base & facts.succeeded,
        "failures": facts.is_failure,
        "releases": facts.is_release_of_any_kind,
        "rework": facts.is_rework,
        "pipeline_failures": facts.is_pipeline_failure,
    }
    found = facts.select(
        facts.grouped, facts.day, *(func.count().filter(each).label(name) for name, each in conditions.items())
    )
    return found.add_columns(func.count().label("ended")).group_by("grouped", "day")


def lead_times(tx: Reading, scope: Scope) -> Mapping[Group, Record]:
    """Return, by group, `size`, `total`, `p50` and `p90` of the ages of changes in microseconds.

    And how many are `excluded`, having been made later, and the first and the last `basis` of the others.
    """
    return {row.grouped: row for row in tx.rows(_lead_times(scope.shape), scope.parameters)}


@cache
def _lead_times(shape: Shape) -> Select[Any]:
    return distribution(ages(shape), shape.engine, ["grouped"], ["p50", "p90"], _bases)


def _bases(columns: Any) -> dict[str, Any]:  # of a subquery; aggregates
    counted = case((columns.value.is_not(None), columns.basis))
    return {"first_basis": func.min(counted), "last_basis": func.max(counted)}


def daily_lead_times(tx: Reading, scope: Scope) -> Mapping[int, float]:
    """Return the median age of the changes of each day on which any arrived, in microseconds."""
    rows = tx.rows(_daily_lead_times(scope.shape), scope.parameters)
    return {row.day: row.p50 for row in rows if row.p50 is not None}


@cache
def _daily_lead_times(shape: Shape) -> Select[Any]:
    return distribution(ages(shape), shape.engine, ["day"], ["p50"])


def recovery_times(tx: Reading, scope: Scope) -> Mapping[Group, Record]:
    """Return, by group, `size`, `total` and `p50` of the times to recover in microseconds.

    And how many are `excluded`, being open, and when the `oldest` of these happened.
    """
    return {row.grouped: row for row in tx.rows(_recovery_times(scope.shape), scope.parameters)}


@cache
def _recovery_times(shape: Shape) -> Select[Any]:
    return distribution(recoveries(shape), shape.engine, ["grouped"], ["p50"], _oldest)


def _oldest(columns: Any) -> dict[str, Any]:  # as above
    return {"oldest": func.min(case((columns.value.is_(None), columns.at)))}


def unlinked_incidents(tx: Reading, scope: Scope) -> Mapping[Group, int]:
    """Return how many incidents of the range nobody linked to a deployment, by group."""
    rows = tx.rows(_unlinked_incidents(scope.shape), scope.parameters)
    return {row.grouped: row.size for row in rows}


@cache
def _unlinked_incidents(shape: Shape) -> Select[Any]:
    unlinked = (Incident.deployment_id.is_(None), within(Incident.detected_at), shape.has(Incident))
    found = select(shape.grouped(Incident)).where(*unlinked).subquery()
    return select(found.c.grouped, func.count().label("size")).group_by(found.c.grouped)


class Behind(StrEnum):
    """Which deployments are behind a number."""

    SUCCESSES = "SUCCESSES"
    FAILURES = "FAILURES"
    RECOVERED = "RECOVERED"
    CARRIERS = "CARRIERS"
    REWORK = "REWORK"
    PIPELINE_FAILURES = "PIPELINE_FAILURES"


@cache
def _behind(shape: Shape, behind: Behind) -> Select[Any]:
    """Select `grouped` and `id` of the newest deployments behind a number."""
    if behind in {Behind.RECOVERED, Behind.CARRIERS}:
        found = recoveries(shape) if behind is Behind.RECOVERED else ages(shape)
        known = select(found.c.grouped, found.c.id, found.c.at).where(found.c.value.is_not(None))
        return newest(known.distinct() if behind is Behind.CARRIERS else known, CONTRIBUTING)
    facts = Facts(shape)
    condition = {
        Behind.SUCCESSES: facts.is_base & facts.succeeded,
        Behind.FAILURES: facts.is_failure,
        Behind.REWORK: facts.is_rework,
        Behind.PIPELINE_FAILURES: facts.is_pipeline_failure,
    }[behind]
    rows = facts.select(facts.grouped, Deployment.id, Deployment.completed_at.label("at")).where(condition)
    return newest(rows, CONTRIBUTING)


def contributing(tx: Reading, behind: Behind, scope: Scope, since: datetime) -> Mapping[Group, list[UUID]]:
    """Return the newest deployments behind a number, by group.

    Args:
        tx: Where to read.
        behind: Which deployments.
        scope: Of which.
        since: Look only at what ended from then on, if that is enough: rarely are all of them wanted.
    """
    found = _newest(tx, _behind(scope.shape, behind), scope.parameters | {"start": since})
    if since > scope.range.start and len(found.get(None, ())) < CONTRIBUTING:
        return _newest(tx, _behind(scope.shape, behind), scope.parameters)
    return found


def _newest(tx: Reading, statement: Select[Any], parameters: Mapping[str, Any]) -> dict[Group, list[UUID]]:
    found: dict[Group, list[UUID]] = {}
    for row in tx.rows(statement, parameters):
        found.setdefault(row.grouped, []).append(row.id)
    return found


def trend(tx: Reading, scope: Scope) -> Sequence[Record]:
    """Return `day`, `deployments`, `failures` and the `rolling_mean` of a week of every day of the range, in order."""
    return tx.rows(_trend(scope.shape), scope.parameters)


@cache
def _trend(shape: Shape) -> Select[Any]:
    numbers = select(literal(0, Integer).label("day")).cte("calendar", recursive=True)
    numbers = numbers.union_all(select(numbers.c.day + 1).where(numbers.c.day < bindparam("last_day", type_=Integer())))
    counts = _daily_counts(shape).subquery("counts")
    deployments = func.coalesce(counts.c.base, 0)
    of_week = func.sum(deployments).over(order_by=numbers.c.day, rows=(-6, 0))
    days = func.count().over(order_by=numbers.c.day, rows=(-6, 0))
    return (
        select(
            numbers.c.day,
            deployments.label("deployments"),
            func.coalesce(counts.c.failures, 0).label("failures"),
            (cast(of_week, Double()) / days).label("rolling_mean"),
        )
        .outerjoin(counts, counts.c.day == numbers.c.day)
        .order_by(numbers.c.day)
    )
