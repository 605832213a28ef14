"""Failures and how they ended, as selects.

A failure is a deployment that reached the environment and was not well there; what only the pipeline saw fail is none.
"""

from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, Subquery, and_, case, func, not_, null, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by

from relman_server.analytics.facts import Facts
from relman_server.analytics.scope import Shape
from relman_server.analytics.sql import microseconds_between, once
from relman_server.deployments.model import Deployment, DeploymentStatus, Outcome
from relman_server.incidents.blame import is_repair
from relman_server.incidents.model import Incident
from relman_server.kernel.db.model import alias_of
from relman_server.rollbacks.model import Rollback, RollbackStatus

_hotfix, _undoing, _next = (alias_of(Deployment) for _ in range(3))


def _is_sound(deployment: Any) -> ColumnElement[bool]:  # Deployment or an alias of it
    """Return the condition that a deployment succeeded and nothing speaks against it."""
    return and_(
        deployment.outcome == Outcome.SUCCEEDED,
        deployment.status != DeploymentStatus.ROLLED_BACK,
        not_(deployment.blamed),
    )


def failures(shape: Shape) -> CTE:
    """Select `grouped`, `id`, `at`, `service_id` and `environment_id` of every failure."""
    facts = Facts(shape)
    return facts.select(facts.is_failure).add_columns(Deployment.service_id, Deployment.environment_id).cte("failures")


def recoveries(shape: Shape) -> CTE:
    """Select of every failure `grouped`, `id`, `at`, and how long until users were well again, as `value`.

    The value, in microseconds, is NULL while they are not. It ends with the last of its incidents; without any, with
    the first sound rollback or hotfix of it; else with the next sound success in its place.
    """
    repaired = _repaired(shape, failures(shape))
    until = _with_next(repaired) if shape.engine == "postgresql" else _with_next_looked_up(repaired)
    ended = once(until, "ended")
    took = microseconds_between(ended.c.at, ended.c.until)
    # An incident may be over before the deployment that caused it is.
    value = case((ended.c.until < ended.c.at, 0), else_=took)
    return select(ended, value.label("value")).cte("recoveries")


def _repaired(shape: Shape, failed: CTE) -> CTE:
    """Select of every failure its columns, how many of its incidents are `open`, and when they or a remedy ended it."""
    incidents, remedies = _incidents(shape), _remedies(shape)
    found = select(
        failed, incidents.c.open, func.coalesce(incidents.c.resolved_at, remedies.c.completed_at).label("repaired_at")
    )
    return (
        found.outerjoin(incidents, incidents.c.id == failed.c.id)
        .outerjoin(remedies, and_(remedies.c.id == failed.c.id, remedies.c.environment_id == failed.c.environment_id))
        .cte("repaired")
    )


def _until(repaired: CTE, following: Any) -> Select[Any]:  # when the next success ended
    """Select of every failure `grouped`, `id`, `at`, and `until` when it lasted."""
    until = case((repaired.c.open > 0, null()), else_=func.coalesce(repaired.c.repaired_at, following))
    return select(repaired.c.grouped, repaired.c.id, repaired.c.at, until.label("until"))


def _with_next_looked_up(repaired: CTE) -> Select[Any]:
    """Look for the next success of each failure that needs it."""
    following = (
        select(_next.completed_at)
        .where(*_comes_after(repaired, repaired.c.at))
        .order_by(_next.completed_at)
        .limit(1)
        .correlate(repaired)
        .scalar_subquery()
    )
    return _until(repaired, following)


def _with_next(repaired: CTE) -> Select[Any]:
    """Read the successes of each place that has such failures once, in order, and look among these.

    That takes PostgreSQL half of the time of a look into the index for each of the failures.
    """
    place = (repaired.c.service_id, repaired.c.environment_id)
    # Not a condition of the select: PostgreSQL would expect a row or two of it, and sort where it can hash.
    needs_it = and_(func.coalesce(repaired.c.open, 0) == 0, repaired.c.repaired_at.is_(None))
    since = func.min(case((needs_it, repaired.c.at)))
    places = select(*place, since.label("since")).group_by(*place).subquery("places")
    in_order = func.array_agg(aggregate_order_by(_next.completed_at, _next.completed_at)).label("ended")
    after = select(in_order).where(*_comes_after(places, places.c.since)).correlate(places).lateral("after")
    sound = select(places.c.service_id, places.c.environment_id, after.c.ended).join(after, true()).cte("sound")
    # Or PostgreSQL, where it expects few failures, reads the successes again for each of them.
    sound = sound.prefix_with("MATERIALIZED")
    following = sound.c.ended[func.width_bucket(repaired.c.at, sound.c.ended) + 1]
    of_place = and_(sound.c.service_id == place[0], sound.c.environment_id == place[1])
    return _until(repaired, following).outerjoin(sound, of_place)


def _comes_after(place: CTE | Subquery, moment: Any) -> tuple[ColumnElement[bool], ...]:  # a column
    return (
        _next.service_id == place.c.service_id,
        _next.environment_id == place.c.environment_id,
        _next.outcome.is_not(None),
        _next.completed_at > moment,
        _is_sound(_next),
    )


def _incidents(shape: Shape) -> Subquery:
    """Select of what caused incidents the `id`, when the last was over, and how many are `open`."""
    return (
        select(
            Incident.deployment_id.label("id"),
            func.max(Incident.resolved_at).label("resolved_at"),
            (func.count() - func.count(Incident.resolved_at)).label("open"),
        )
        .where(Incident.deployment_id.is_not(None), shape.has(Incident))
        .group_by(Incident.deployment_id)
        .subquery("incidents")
    )


def _remedies(shape: Shape) -> Subquery:
    """Select of what was undone or repaired `id`, `environment_id`, and when the first remedy was complete."""
    undone = (
        select(Rollback.deployment_id.label("id"), Rollback.environment_id, _undoing.completed_at)
        .join(_undoing, _undoing.id == Rollback.rollback_deployment_id)
        .where(Rollback.status == RollbackStatus.SUCCEEDED, shape.has(Rollback), _is_sound(_undoing))
    )
    repaired = select(_hotfix.remediates.label("id"), _hotfix.environment_id, _hotfix.completed_at).where(
        is_repair(_hotfix), shape.has(_hotfix), _is_sound(_hotfix)
    )
    found = undone.union_all(repaired).subquery("found")
    return (
        select(found.c.id, found.c.environment_id, func.min(found.c.completed_at).label("completed_at"))
        .group_by(found.c.id, found.c.environment_id)
        .subquery("remedies")
    )
