"""Queries of metrics: each answers one question for every group of a scope at once."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Double, Integer, Select, case, cast, func, literal, select, true
from sqlalchemy.orm import aliased

from relman_server.analytics.facts import Facts, Grouping, Scope, ages, recoveries
from relman_server.analytics.inputs import PagedQuestion
from relman_server.analytics.sql import distribution, newest, within
from relman_server.catalog.model import Service
from relman_server.deployments.model import Deployment
from relman_server.environments.model import Environment, EnvironmentType
from relman_server.incidents.model import Incident
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.kernel.sql import known_ids

CONTRIBUTING = 100
"""How many deployments are named behind a number."""

Group = UUID | None
"""A service's or an environment's id, or None where everything is one group."""

_SERVICES = Ordering({"name": Service.name}, default="name", tie=Service.id)
_ENVIRONMENTS = Ordering({"name": Environment.name}, default="name", tie=Environment.id)
_first = aliased(Deployment, name="first")


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
    first = _first.completed_at
    ended = select(first).where(_first.environment_id == Environment.id, _first.outcome.is_not(None))
    places = select(Environment.id.label("environment_id")).where(Environment.id.in_(scope.environments))
    if scope.services is not None or scope.grouping is Grouping.SERVICE:
        ended = ended.where(_first.service_id == Service.id)
        places = places.add_columns(Service.id.label("service_id")).join(Service, true())
    if scope.services is not None:
        places = places.where(Service.id.in_(scope.services))
    found = places.add_columns(
        ended.order_by(first).limit(1).correlate(Environment, Service).scalar_subquery().label("first")
    ).subquery()
    earliest: dict[Group, datetime] = {}
    for row in tx.rows(select(scope.grouped(found.c), found.c.first).where(found.c.first.is_not(None))):
        earliest[row.grouped] = min(row.first, earliest.get(row.grouped, row.first))
    return earliest


COUNTS = ("base", "successes", "failures", "releases", "rework", "ended", "pipeline_failures")


def daily_counts(tx: Reading, scope: Scope) -> Sequence[Record]:
    """Return `grouped`, `day` and COUNTS of each group and day on which anything ended.

    `base` are those that reached the environment, `successes` and `failures` of these; `releases` the successes of any
    kind but repetitions, `rework` of these; `ended` all that have an outcome, `pipeline_failures` of these.
    """
    return tx.rows(_daily_counts(scope))


def _daily_counts(scope: Scope) -> Select[Any]:
    facts = Facts(scope)
    conditions = {
        "base": facts.is_base,
        "successes": facts.is_base & facts.succeeded,
        "failures": facts.is_failure,
        "releases": facts.is_release_of_any_kind,
        "rework": facts.is_rework,
        "pipeline_failures": facts.is_pipeline_failure,
    }
    flags = [case((condition, 1), else_=0).label(name) for name, condition in conditions.items()]
    found = facts.select(facts.grouped, facts.day, *flags).subquery("facts")
    return select(
        found.c.grouped,
        found.c.day,
        *(func.sum(found.c[name]).label(name) for name in conditions),
        func.count().label("ended"),
    ).group_by(found.c.grouped, found.c.day)


def lead_times(tx: Reading, scope: Scope) -> Mapping[Group, Record]:
    """Return, by group, `size`, `total`, `p50` and `p90` of the ages of changes in microseconds.

    And how many are `excluded`, having been made later, and the first and the last `basis` of the others.
    """
    rows = tx.rows(distribution(ages(scope), tx.engine, ["grouped"], ["p50", "p90"], _bases))
    return {row.grouped: row for row in rows}


def _bases(columns: Any) -> dict[str, Any]:  # of a subquery; aggregates
    counted = case((columns.value.is_not(None), columns.basis))
    return {"first_basis": func.min(counted), "last_basis": func.max(counted)}


def daily_lead_times(tx: Reading, scope: Scope) -> Mapping[int, float]:
    """Return the median age of the changes of each day on which any arrived, in microseconds."""
    rows = tx.rows(distribution(ages(scope), tx.engine, ["day"], ["p50"]))
    return {row.day: row.p50 for row in rows if row.p50 is not None}


def recovery_times(tx: Reading, scope: Scope) -> Mapping[Group, Record]:
    """Return, by group, `size`, `total` and `p50` of the times to recover in microseconds.

    And how many are `excluded`, being open, and when the `oldest` of these happened.
    """
    rows = tx.rows(distribution(recoveries(scope), tx.engine, ["grouped"], ["p50"], _oldest))
    return {row.grouped: row for row in rows}


def _oldest(columns: Any) -> dict[str, Any]:  # as above
    return {"oldest": func.min(case((columns.value.is_(None), columns.at)))}


def unlinked_incidents(tx: Reading, scope: Scope) -> Mapping[Group, int]:
    """Return how many incidents of the range nobody linked to a deployment, by group."""
    when = scope.range
    found = (
        select(scope.grouped(Incident))
        .where(Incident.deployment_id.is_(None), within(Incident.detected_at, when.start, when.end))
        .where(scope.has(Incident))
        .subquery()
    )
    rows = tx.rows(select(found.c.grouped, func.count().label("size")).group_by(found.c.grouped))
    return {row.grouped: row.size for row in rows}


Behind = Callable[[Scope], Select[Any]]
"""Selects `grouped`, `id` and `at` of deployments."""


def successes(scope: Scope) -> Select[Any]:
    """Select the successes that count."""
    facts = Facts(scope)
    return _of(facts).where(facts.is_base, facts.succeeded)


def failures(scope: Scope) -> Select[Any]:
    """Select the failures."""
    facts = Facts(scope)
    return _of(facts).where(facts.is_failure)


def rework(scope: Scope) -> Select[Any]:
    """Select the hotfixes and rollbacks."""
    facts = Facts(scope)
    return _of(facts).where(facts.is_rework)


def pipeline_failures(scope: Scope) -> Select[Any]:
    """Select what failed without an impact."""
    facts = Facts(scope)
    return _of(facts).where(facts.is_pipeline_failure)


def recovered(scope: Scope) -> Select[Any]:
    """Select the failures that are over."""
    found = recoveries(scope)
    return select(found.c.grouped, found.c.id, found.c.at).where(found.c.value.is_not(None))


def carriers(scope: Scope) -> Select[Any]:
    """Select the deployments with which changes arrived."""
    found = ages(scope)
    counted = select(found.c.grouped, found.c.id, found.c.at).where(found.c.value.is_not(None))
    return counted.distinct()


def _of(facts: Facts) -> Select[Any]:
    return facts.select(facts.grouped, Deployment.id, Deployment.completed_at.label("at"))


def contributing(tx: Reading, behind: Behind, scope: Scope, since: datetime) -> Mapping[Group, list[UUID]]:
    """Return the newest deployments behind a number, by group.

    Args:
        tx: Where to read.
        behind: Which deployments.
        scope: Of which.
        since: Look only at what ended from then on, if that is enough: rarely are all of them wanted.
    """
    found = _newest(tx, behind(scope.since(since)))
    if since > scope.range.start and len(found.get(None, ())) < CONTRIBUTING:
        return _newest(tx, behind(scope))
    return found


def _newest(tx: Reading, rows: Select[Any]) -> dict[Group, list[UUID]]:
    found: dict[Group, list[UUID]] = {}
    for row in tx.rows(newest(rows, CONTRIBUTING)):
        found.setdefault(row.grouped, []).append(row.id)
    return found


def trend(tx: Reading, scope: Scope) -> Sequence[Record]:
    """Return `day`, `deployments`, `failures` and the `rolling_mean` of a week of every day of the range, in order."""
    numbers = select(literal(0, Integer).label("day")).cte("calendar", recursive=True)
    numbers = numbers.union_all(select(numbers.c.day + 1).where(numbers.c.day < scope.range.days - 1))
    counts = _daily_counts(scope).subquery("counts")
    deployments = func.coalesce(counts.c.base, 0)
    of_week = func.sum(deployments).over(order_by=numbers.c.day, rows=(-6, 0))
    days = func.count().over(order_by=numbers.c.day, rows=(-6, 0))
    return tx.rows(
        select(
            numbers.c.day,
            deployments.label("deployments"),
            func.coalesce(counts.c.failures, 0).label("failures"),
            (cast(of_week, Double()) / days).label("rolling_mean"),
        )
        .outerjoin(counts, counts.c.day == numbers.c.day)
        .order_by(numbers.c.day)
    )
