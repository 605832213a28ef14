"""Queries of metrics: each answers one question for every group of a scope at once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Double,
    Integer,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal,
    null,
    select,
    true,
)

from relman_server.analytics.arrivals import ages, in_range
from relman_server.analytics.counts import COUNTED_BY_DAY, Counts
from relman_server.analytics.facts import COUNTS, Facts
from relman_server.analytics.failures import failures, recoveries
from relman_server.analytics.inputs import PagedQuestion
from relman_server.analytics.model import Basis, DeliveredChange
from relman_server.analytics.scope import ENVIRONMENTS, SERVICES, Group, Grouping, Scope, Shape, within
from relman_server.analytics.sql import days_in_parts, distribution, for_each, ids_in_order, newest, which
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

BASES = tuple(Basis)

SETTINGS = {
    # The default is meant for many small sorts.
    "work_mem": "48MB",
    # To plan takes a millisecond. A plan for any range and any number of services may take seconds more to run.
    "plan_cache_mode": "force_custom_plan",
    # To compile what runs for so short a time takes longer than that saves.
    "jit": "off",
}
"""What statements of a snapshot run with, on PostgreSQL."""

NO_GROUP = cast(null(), Uuid).label("grouped")

_SERVICES = Ordering({"name": Service.name}, default="name", tie=Service.id)
_ENVIRONMENTS = Ordering({"name": Environment.name}, default="name", tie=Environment.id)
_first = alias_of(Deployment)


def prepare(tx: Reading) -> None:
    """Let the statements of this snapshot run with SETTINGS."""
    if tx.engine == "postgresql":
        tx.row(_SET)


_SET = select(*(func.set_config(name, value, true()) for name, value in SETTINGS.items()))


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


def counts(tx: Reading, scope: Scope) -> Mapping[Group, Counts]:
    """Return what ended, by group; nothing of groups in which nothing did."""
    return {row.grouped: Counts.of(row) for row in tx.rows(_counts(scope.shape), scope.parameters)}


@cache
def _counts(shape: Shape) -> Select[Any]:
    """Select `grouped`, the sums of COUNTS, and the `days` in one text: of a hundred services they are many rows."""
    daily = Facts(shape).daily().c
    day: Any = cast(daily.day, Text)
    for name in COUNTED_BY_DAY:
        day = day + " " + cast(daily[name], Text)
    sums = (cast(func.sum(daily[name]), BigInteger).label(name) for name in COUNTS)
    return select(daily.grouped, *sums, func.aggregate_strings(day, ",").label("days")).group_by(daily.grouped)


def lead_times(tx: Reading, scope: Scope) -> Mapping[Group, Record]:
    """Return, by group, `size`, `p50` and `p90` of the ages of changes in microseconds.

    And how many are `excluded`, having been made later, and which `bases` the others have, by sql.which: of BASES.
    """
    return {row.grouped: row for row in tx.rows(_lead_times(scope.shape), scope.parameters)}


@cache
def _lead_times(shape: Shape) -> Select[Any]:
    def bases(columns: Any) -> dict[str, Any]:  # of a subquery; aggregates
        known = columns.value.is_not(None)
        return {"bases": which(shape.engine, *(and_(known, columns.basis == basis) for basis in BASES))}

    quantiles = ["p50", "p90"]
    if shape.engine == "postgresql" and shape.groups:
        group = shape.all_groups()
        its_own = shape.grouped(DeliveredChange) == group.c.grouped
        of_group = ages(shape, lambda found: in_range(found).where(its_own).correlate(group))
        return for_each(group, distribution(of_group, shape.engine, [], quantiles, bases))
    found = distribution(ages(shape), shape.engine, shape.groups, quantiles, bases)
    return found if shape.groups else found.add_columns(NO_GROUP)


def daily_lead_times(tx: Reading, scope: Scope) -> Mapping[int, float]:
    """Return the median age of the changes of each day on which any arrived, in microseconds."""
    rows = tx.rows(_daily_lead_times(scope.shape), scope.parameters)
    return {row.day: row.p50 for row in rows if row.p50 is not None}


@cache
def _daily_lead_times(shape: Shape) -> Select[Any]:
    if shape.engine == "sqlite":
        return distribution(ages(shape), shape.engine, ["day"], ["p50"])
    day, part = days_in_parts()
    then = and_(DeliveredChange.delivered_at >= part.c.beginning, DeliveredChange.delivered_at < part.c.until)
    # The days are those of the range. Told of the range as well, PostgreSQL may read all of it for each of them.
    of_day = ages(shape, lambda found: found.join(part, then).correlate(day))
    found = for_each(day, distribution(of_day, shape.engine, [], ["p50"])).subquery()
    return select(found.c.day, found.c.p50)


@dataclass
class Failures:
    """The failures of a group.

    Attributes:
        times: Of the times to recover, in microseconds: `size`, `total` and `p50`; how many are `excluded`, being open,
            and when the `oldest` of these happened. None without any failures.
        failed: Ids of the newest.
        recovered: Ids of the newest of those that are over.
    """

    times: Record | None = None
    failed: Sequence[str] = ()
    recovered: Sequence[str] = ()

    @property
    def size(self) -> int:
        """How many there are."""
        return self.times.size + self.times.excluded if self.times else 0


def failures_of(tx: Reading, scope: Scope) -> Mapping[Group, Failures]:
    """Return the failures by group: all that is asked of them at once, for to find them is most of the work."""
    found: defaultdict[Group, Failures] = defaultdict(Failures)
    for row in tx.rows(_failures_of(scope.shape), scope.parameters):
        if row.ids is None:
            found[row.grouped].times = row if row.size + row.excluded else None
        elif row.failed:
            found[row.grouped].failed = ids_in_order(row.ids)
        else:
            found[row.grouped].recovered = ids_in_order(row.ids)
    return found


@cache
def _failures_of(shape: Shape) -> Select[Any]:
    all_ = recoveries(shape)
    times = distribution(all_, shape.engine, shape.groups, ["p50"], _total_and_oldest).subquery("times")
    measures = ("size", "excluded", "total", "p50", "oldest")
    of_all = select(
        times.c.grouped if shape.groups else NO_GROUP,
        cast(null(), Text).label("ids"),
        false().label("failed"),
        *(times.c[name] for name in measures),
    )
    known = select(all_.c.grouped, all_.c.id, all_.c.at)
    failed = newest(known, CONTRIBUTING, of_each=bool(shape.groups))
    recovered = newest(known.where(all_.c.value.is_not(None)), CONTRIBUTING, of_each=bool(shape.groups))
    nothing = [null().label(name) for name in measures]
    parts = (
        select(each.c.grouped, each.c.ids, is_failed.label("failed"), *nothing)
        for each, is_failed in ((failed, true()), (recovered, false()))
    )
    return select(of_all.union_all(*parts).subquery())


def _total_and_oldest(columns: Any) -> dict[str, Any]:  # as above
    return {"total": func.sum(columns.value), "oldest": func.min(case((columns.value.is_(None), columns.at)))}


def unlinked_incidents(tx: Reading, scope: Scope) -> Mapping[Group, int]:
    """Return how many incidents of the range nobody linked to a deployment, by group."""
    rows = tx.rows(_unlinked_incidents(scope.shape), scope.parameters)
    return {row.grouped: row.size for row in rows}


@cache
def _unlinked_incidents(shape: Shape) -> Select[Any]:
    unlinked = (Incident.deployment_id.is_(None), within(Incident.detected_at), shape.has(Incident))
    found = select(shape.grouped(Incident)).where(*unlinked).subquery()
    return select(found.c.grouped, func.count().label("size")).group_by(found.c.grouped)


def trend(tx: Reading, scope: Scope) -> Sequence[Record]:
    """Return `day`, `deployments`, `failures` and the `rolling_mean` of a week of every day of the range, in order."""
    return tx.rows(_trend(scope.shape), scope.parameters)


@cache
def _trend(shape: Shape) -> Select[Any]:
    numbers = select(literal(0, Integer).label("day")).cte("calendar", recursive=True)
    numbers = numbers.union_all(select(numbers.c.day + 1).where(numbers.c.day < bindparam("last_day", type_=Integer())))
    counts, failed = Facts(shape).daily(), failures(shape)
    days = select(shape.day(failed.c.at), func.count().label("size")).group_by("day").subquery("failed_on")
    deployments = func.coalesce(counts.c.base, 0)
    of_week = func.sum(deployments).over(order_by=numbers.c.day, rows=(-6, 0))
    days_of_week = func.count().over(order_by=numbers.c.day, rows=(-6, 0))
    return (
        select(
            numbers.c.day,
            deployments.label("deployments"),
            func.coalesce(days.c.size, 0).label("failures"),
            (cast(of_week, Double()) / days_of_week).label("rolling_mean"),
        )
        .outerjoin(counts, counts.c.day == numbers.c.day)
        .outerjoin(days, days.c.day == numbers.c.day)
        .order_by(numbers.c.day)
    )
