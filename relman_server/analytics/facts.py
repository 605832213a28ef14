"""What metrics are computed from, as selects: what came of deployments, how failures ended, how old changes were.

The words are those of the definitions (docs/adr/0019-metrics.md). A failure is a deployment that reached the
environment and was not well there; what only the pipeline saw fail is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    true,
)

from relman_server.analytics.calendar import Range
from relman_server.analytics.model import DeliveredChange
from relman_server.analytics.sql import day_of, day_parameters, microseconds_between, once
from relman_server.catalog.model import Service
from relman_server.deployments.model import Deployment, DeploymentKind, DeploymentStatus, Outcome
from relman_server.environments.model import Environment
from relman_server.incidents.model import Incident
from relman_server.kernel.db.model import UtcDateTime, alias_of
from relman_server.rollbacks.model import Rollback, RollbackStatus

_hotfix, _undoing, _next, _other = (alias_of(Deployment) for _ in range(4))


class Grouping(StrEnum):
    """What metrics are computed for, one by one."""

    NONE = "NONE"
    SERVICE = "SERVICE"
    ENVIRONMENT = "ENVIRONMENT"


@dataclass(frozen=True)
class Shape:
    """What statements about a scope look like; the rest of the scope is in their parameters.

    Statements take longer to make than to run, mostly; so each is made once for every shape.

    Attributes:
        all_services: Whether no services are named.
        places: How many environments there are.
        grouping: Groups.
        clock_changes: How often the clocks change within the range.
        engine: "sqlite" or "postgresql".
    """

    all_services: bool
    places: int
    grouping: Grouping
    clock_changes: int
    engine: str

    def has(self, rows: Any) -> ColumnElement[bool]:  # what has a service_id and an environment_id
        """Return the condition that a row is of these services and environments, whenever it was."""
        there: ColumnElement[bool] = rows.environment_id.in_(ENVIRONMENTS)
        return there if self.all_services else and_(there, rows.service_id.in_(SERVICES))

    def grouped(self, rows: Any) -> Any:  # as above; a labelled column
        """Return which group a row is in."""
        if self.grouping is Grouping.NONE:
            column: Any = cast(null(), Uuid)
        else:
            column = rows.service_id if self.grouping is Grouping.SERVICE else rows.environment_id
        return column.label("grouped")


@dataclass(frozen=True)
class Scope:
    """Which deployments count, and in which groups.

    Attributes:
        services: Ids; None means all.
        environments: Ids.
        range: By when deployments ended.
        engine: "sqlite" or "postgresql".
        grouping: Groups; each is computed as if nothing else was asked for.
    """

    services: Sequence[UUID] | None
    environments: Sequence[UUID]
    range: Range
    engine: str
    grouping: Grouping = Grouping.NONE

    @cached_property
    def shape(self) -> Shape:
        """What statements look like."""
        return Shape(
            self.services is None,
            len(self.environments),
            self.grouping,
            len(self.range.offsets) - 1,
            self.engine,
        )

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Values of the parameters of statements."""
        return {
            "services": self.services or [],
            "environments": self.environments,
            **{f"place_{number}": place.hex for number, place in enumerate(self.environments)},
            "start": self.range.start,
            "end": self.range.end,
            **day_parameters(self.range),
        }


SERVICES, ENVIRONMENTS = (bindparam(name, expanding=True, type_=Uuid()) for name in ("services", "environments"))
START, END = (bindparam(name, type_=UtcDateTime()) for name in ("start", "end"))


def within(moment: Any) -> ColumnElement[bool]:  # a column
    """Return the condition that a time is in the range."""
    return and_(moment >= START, moment < END)


def _is(column: Any, value: str) -> ColumnElement[bool]:
    """Compare with a value that stands in the statement itself: partial indexes are used for nothing else."""
    found: ColumnElement[bool] = column == literal(value, literal_execute=True)
    return found


def _repairs(hotfix: Any, repaired: Any) -> ColumnElement[bool]:  # Deployment or an alias of it
    """Return the condition that a hotfix succeeded in repairing a deployment where that had gone wrong."""
    return and_(
        _is_repair(hotfix),
        hotfix.remediates == repaired.id,
        hotfix.environment_id == repaired.environment_id,
    )


def _is_repair(hotfix: Any) -> ColumnElement[bool]:  # as above
    return and_(
        _is(hotfix.kind, DeploymentKind.HOTFIX),
        hotfix.remediates.is_not(None),
        hotfix.outcome == Outcome.SUCCEEDED,
    )


def _is_sound(deployment: Any) -> ColumnElement[bool]:  # as above
    """Return the condition that a deployment succeeded and nothing speaks against it."""
    return and_(
        deployment.outcome == Outcome.SUCCEEDED,
        deployment.status != DeploymentStatus.ROLLED_BACK,
        ~exists().where(Incident.deployment_id == deployment.id),
        ~exists().where(_repairs(_other, deployment)),
    )


@dataclass(frozen=True)
class Facts:
    """What came of the deployments of a scope that ended with an outcome, as conditions on one select.

    Attributes:
        shape: Of the scope.
    """

    shape: Shape

    @cached_property
    def _blamed(self) -> Subquery:
        """Deployments that an incident or a hotfix speaks against."""
        caused = select(Incident.deployment_id.label("id"), Incident.environment_id).where(
            Incident.deployment_id.is_not(None), self.shape.has(Incident)
        )
        repaired = select(_hotfix.remediates.label("id"), _hotfix.environment_id).where(
            _is_repair(_hotfix), self.shape.has(_hotfix)
        )
        return caused.union(repaired).subquery("blamed")

    @property
    def ended(self) -> ColumnElement[bool]:
        """It ended in the range, with an outcome."""
        return and_(
            Deployment.outcome.is_not(None),
            within(Deployment.completed_at),
            self.shape.has(Deployment),
        )

    @property
    def succeeded(self) -> ColumnElement[bool]:
        """Its outcome is SUCCEEDED, whatever happened to it later."""
        return Deployment.outcome == Outcome.SUCCEEDED

    @property
    def is_base(self) -> ColumnElement[bool]:
        """It reached the environment, and was no rollback and no repetition."""
        return and_(
            or_(self.succeeded, Deployment.production_impacted),
            Deployment.kind.not_in((DeploymentKind.ROLLBACK, DeploymentKind.REDEPLOY)),
        )

    @property
    def is_failure(self) -> ColumnElement[bool]:
        """It is of the base, and was not well; only in a select made by `select`."""
        return and_(
            self.is_base,
            or_(
                not_(self.succeeded),
                Deployment.status == DeploymentStatus.ROLLED_BACK,
                self._blamed.c.id.is_not(None),
            ),
        )

    @property
    def is_release_of_any_kind(self) -> ColumnElement[bool]:
        """It succeeded, and was no repetition."""
        return and_(self.succeeded, Deployment.kind != DeploymentKind.REDEPLOY)

    @property
    def is_rework(self) -> ColumnElement[bool]:
        """It succeeded in repairing or undoing something."""
        return and_(self.succeeded, Deployment.kind.in_((DeploymentKind.HOTFIX, DeploymentKind.ROLLBACK)))

    @property
    def is_pipeline_failure(self) -> ColumnElement[bool]:
        """It failed before it had an impact."""
        return and_(not_(self.succeeded), not_(Deployment.production_impacted))

    @property
    def grouped(self) -> Any:  # a labelled column
        """Which group it is in."""
        return self.shape.grouped(Deployment)

    @property
    def day(self) -> Any:  # a labelled column
        """Number of the day on which it ended, from 0."""
        return day_of(Deployment.completed_at, self.shape.clock_changes).label("day")

    def select(self, *columns: Any) -> Select[Any]:
        """Select columns of the deployments that ended."""
        blamed = self._blamed
        return (
            select(*columns)
            .select_from(Deployment)
            .outerjoin(blamed, and_(blamed.c.id == Deployment.id, blamed.c.environment_id == Deployment.environment_id))
            .where(self.ended)
        )


def recoveries(shape: Shape) -> Subquery:
    """Select of every failure `grouped`, `id`, `at`, and how long until users were well again, as `value`.

    The value, in microseconds, is NULL while they are not. It ends with the last of its incidents; without any, with
    the first sound rollback or hotfix of it; else with the next sound success in its place.
    """
    facts = Facts(shape)
    incidents = (
        select(
            Incident.deployment_id.label("id"),
            func.max(Incident.resolved_at).label("resolved_at"),
            (func.count() - func.count(Incident.resolved_at)).label("open"),
        )
        .where(Incident.deployment_id.is_not(None), shape.has(Incident))
        .group_by(Incident.deployment_id)
        .subquery("incidents")
    )
    remedies = _remedies(shape)
    following = (
        select(_next.completed_at)
        .where(
            _next.service_id == Deployment.service_id,
            _next.environment_id == Deployment.environment_id,
            _next.outcome.is_not(None),
            _next.completed_at > Deployment.completed_at,
            _is_sound(_next),
        )
        .order_by(_next.completed_at)
        .limit(1)
        .correlate(Deployment)
        .scalar_subquery()
    )
    restored_at = case(
        (incidents.c.open > 0, null()),
        else_=func.coalesce(incidents.c.resolved_at, remedies.c.completed_at, following),
    )
    found = (
        facts.select(facts.grouped, Deployment.id, Deployment.completed_at.label("at"), restored_at.label("until"))
        .outerjoin(incidents, incidents.c.id == Deployment.id)
        .outerjoin(
            remedies, and_(remedies.c.id == Deployment.id, remedies.c.environment_id == Deployment.environment_id)
        )
        .where(facts.is_failure)
    )
    failures = once(found, "failures")
    took = microseconds_between(failures.c.at, failures.c.until)
    # An incident may be over before the deployment that caused it is.
    value = case((failures.c.until < failures.c.at, 0), else_=took)
    return once(select(failures, value.label("value")), "recoveries")


def _remedies(shape: Shape) -> Subquery:
    """Select of what was undone or repaired `id`, `environment_id`, and when the first remedy was complete."""
    undone = (
        select(Rollback.deployment_id.label("id"), Rollback.environment_id, _undoing.completed_at)
        .join(_undoing, _undoing.id == Rollback.rollback_deployment_id)
        .where(Rollback.status == RollbackStatus.SUCCEEDED, shape.has(Rollback), _is_sound(_undoing))
    )
    repaired = select(_hotfix.remediates.label("id"), _hotfix.environment_id, _hotfix.completed_at).where(
        _is_repair(_hotfix), shape.has(_hotfix), _is_sound(_hotfix)
    )
    found = undone.union_all(repaired).subquery("found")
    return (
        select(found.c.id, found.c.environment_id, func.min(found.c.completed_at).label("completed_at"))
        .group_by(found.c.id, found.c.environment_id)
        .subquery("remedies")
    )


def ages(shape: Shape) -> Subquery:
    """Select of every change that reached the scope in the range how old it was then, as `value` in microseconds.

    And `grouped`, `day`, `id` of its deployment, `at` and `basis`. The value is NULL when it was made later than that.
    What came with a service's first success is left out.
    """
    change = DeliveredChange
    firsts = _first_successes(shape)
    took = microseconds_between(change.committed_at, change.delivered_at)
    found = (
        select(
            shape.grouped(change),
            day_of(change.delivered_at, shape.clock_changes).label("day"),
            change.deployment_id.label("id"),
            change.delivered_at.label("at"),
            change.basis,
            case((change.committed_at <= change.delivered_at, took)).label("value"),
        )
        .outerjoin(firsts, firsts.c.id == change.deployment_id)
        .where(within(change.delivered_at), shape.has(change), firsts.c.id.is_(None))
    )
    if shape.grouping is not Grouping.ENVIRONMENT and shape.places > 1:
        found = found.where(*(~_was_in(place) for place in range(shape.places)))
    return once(found, "ages")


def _was_in(place: int) -> ColumnElement[bool]:
    """Return the condition that a change reached an environment of the scope, by its number, before."""
    return DeliveredChange.earlier.contains(bindparam(f"place_{place}", type_=Text()))


def _first_successes(shape: Shape) -> Subquery:
    """Select the `id` of the first success of every service, in each group: one look into an index for each pair."""
    first = (
        select(Deployment.id)
        .where(
            Deployment.service_id == Service.id,
            Deployment.environment_id == Environment.id,
            Deployment.outcome.is_not(None),
            Deployment.outcome == Outcome.SUCCEEDED,
        )
        .order_by(Deployment.completed_at, Deployment.id)
        .limit(1)
        .correlate(Service, Environment)
        .scalar_subquery()
    )
    pairs = select(Service.id.label("service_id"), Environment.id.label("environment_id"), first.label("id")).join(
        Environment, true()
    )
    pairs = pairs.where(Environment.id.in_(ENVIRONMENTS))
    if not shape.all_services:
        pairs = pairs.where(Service.id.in_(SERVICES))
    found = pairs.subquery("first_of_pair")
    same = [found.c.service_id, *([found.c.environment_id] if shape.grouping is Grouping.ENVIRONMENT else [])]
    ranked = (
        select(
            Deployment.id,
            func.row_number()
            .over(partition_by=same, order_by=(Deployment.completed_at, Deployment.id))
            .label("number"),
        )
        .join(found, found.c.id == Deployment.id)
        .subquery("first_of_service")
    )
    return select(ranked.c.id).where(ranked.c.number == 1).subquery("firsts")
