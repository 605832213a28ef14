"""Failures and how they ended, as selects.

A failure is a deployment that reached the environment and was not well there; what only the pipeline saw fail is none.
They are found from what speaks against deployments, never by looking at every deployment.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    CompoundSelect,
    Select,
    Subquery,
    and_,
    case,
    func,
    not_,
    null,
    select,
    tuple_,
)

from relman_server.analytics.facts import Facts, in_words
from relman_server.analytics.scope import Shape
from relman_server.analytics.sql import microseconds_between, once
from relman_server.deployments.model import Deployment, DeploymentKind, DeploymentStatus, Outcome
from relman_server.incidents.model import Incident
from relman_server.kernel.db.model import alias_of
from relman_server.rollbacks.model import Rollback, RollbackStatus

_hotfix, _undoing, _next = (alias_of(Deployment) for _ in range(3))


def _is_repair(hotfix: Any) -> ColumnElement[bool]:  # Deployment or an alias of it
    """Return the condition that a hotfix succeeded in repairing what it was made for."""
    return and_(
        hotfix.kind == in_words(DeploymentKind.HOTFIX),
        hotfix.remediates.is_not(None),
        hotfix.outcome == Outcome.SUCCEEDED,
    )


def _blamed(shape: Shape) -> CompoundSelect[UUID | None, UUID]:
    """Select `id` and `environment_id` of the deployments that an incident or a hotfix speaks against."""
    caused = select(Incident.deployment_id.label("id"), Incident.environment_id).where(
        Incident.deployment_id.is_not(None), shape.has(Incident)
    )
    repaired = select(_hotfix.remediates.label("id"), _hotfix.environment_id).where(
        _is_repair(_hotfix), shape.has(_hotfix)
    )
    return caused.union(repaired)


def _is_sound(deployment: Any, blamed: CTE) -> ColumnElement[bool]:  # as above
    """Return the condition that a deployment succeeded and nothing speaks against it."""
    return and_(
        deployment.outcome == Outcome.SUCCEEDED,
        deployment.status != DeploymentStatus.ROLLED_BACK,
        tuple_(deployment.id, deployment.environment_id).not_in(select(blamed.c.id, blamed.c.environment_id)),
    )


def failures(shape: Shape) -> CTE:
    """Select `grouped`, `id`, `at`, `service_id` and `environment_id` of every failure."""
    facts, blamed = Facts(shape), _blamed(shape).subquery("blamed_by_others")
    of_itself = _all(facts, and_(facts.is_unusual, facts.is_base, not_(facts.stayed)))
    found = and_(blamed.c.id == Deployment.id, blamed.c.environment_id == Deployment.environment_id)
    # Says nothing twice: PostgreSQL would take it for a reason to expect less.
    by_others = _all(facts, and_(facts.stayed, facts.is_new)).join(blamed, found)
    return of_itself.union_all(by_others).cte("failures")


def _all(facts: Facts, condition: ColumnElement[bool]) -> Select[Any]:
    return facts.select(condition).add_columns(Deployment.service_id, Deployment.environment_id)


def recoveries(shape: Shape) -> CTE:
    """Select of every failure `grouped`, `id`, `at`, and how long until users were well again, as `value`.

    The value, in microseconds, is NULL while they are not. It ends with the last of its incidents; without any, with
    the first sound rollback or hotfix of it; else with the next sound success in its place.
    """
    # Not that of failures() as well: PostgreSQL does not know of what is made once that nothing is in it twice.
    blamed = _blamed(shape).cte("blamed")
    failed = failures(shape)
    incidents, remedies = _incidents(shape), _remedies(shape, blamed)
    restored_at = case(
        (incidents.c.open > 0, null()),
        else_=func.coalesce(incidents.c.resolved_at, remedies.c.completed_at, _following(failed, blamed)),
    )
    found = (
        select(failed.c.grouped, failed.c.id, failed.c.at, restored_at.label("until"))
        .outerjoin(incidents, incidents.c.id == failed.c.id)
        .outerjoin(remedies, and_(remedies.c.id == failed.c.id, remedies.c.environment_id == failed.c.environment_id))
    )
    ended = once(found, "ended")
    took = microseconds_between(ended.c.at, ended.c.until)
    # An incident may be over before the deployment that caused it is.
    value = case((ended.c.until < ended.c.at, 0), else_=took)
    return select(ended, value.label("value")).cte("recoveries")


def _following(failed: CTE, blamed: CTE) -> Any:  # a scalar subquery
    """Select when the next sound success in the place of a failure ended."""
    return (
        select(_next.completed_at)
        .where(
            _next.service_id == failed.c.service_id,
            _next.environment_id == failed.c.environment_id,
            _next.outcome.is_not(None),
            _next.completed_at > failed.c.at,
            _is_sound(_next, blamed),
        )
        .order_by(_next.completed_at)
        .limit(1)
        .correlate(failed)
        .scalar_subquery()
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


def _remedies(shape: Shape, blamed: CTE) -> Subquery:
    """Select of what was undone or repaired `id`, `environment_id`, and when the first remedy was complete."""
    undone = (
        select(Rollback.deployment_id.label("id"), Rollback.environment_id, _undoing.completed_at)
        .join(_undoing, _undoing.id == Rollback.rollback_deployment_id)
        .where(Rollback.status == RollbackStatus.SUCCEEDED, shape.has(Rollback), _is_sound(_undoing, blamed))
    )
    repaired = select(_hotfix.remediates.label("id"), _hotfix.environment_id, _hotfix.completed_at).where(
        _is_repair(_hotfix), shape.has(_hotfix), _is_sound(_hotfix, blamed)
    )
    found = undone.union_all(repaired).subquery("found")
    return (
        select(found.c.id, found.c.environment_id, func.min(found.c.completed_at).label("completed_at"))
        .group_by(found.c.id, found.c.environment_id)
        .subquery("remedies")
    )
