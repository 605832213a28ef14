"""How old changes were when they arrived, as a select."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Subquery, Text, and_, bindparam, case, func, not_, or_, select, true

from relman_server.analytics.model import DeliveredChange, DeliveryRoute
from relman_server.analytics.scope import ENVIRONMENTS, SERVICES, Grouping, Shape, within
from relman_server.analytics.sql import microseconds_between, once
from relman_server.catalog.model import Service
from relman_server.deployments.model import Deployment, Outcome
from relman_server.environments.model import Environment

Narrow = Callable[[Select[Any]], Select[Any]]
"""Returns a select of DeliveredChange that selects less."""


def in_range(found: Select[Any]) -> Select[Any]:
    """Select the changes of the range."""
    return found.where(within(DeliveredChange.delivered_at))


def ages(shape: Shape, narrow: Narrow = in_range) -> Subquery:
    """Select of every change that reached the scope in the range how old it was then, as `value` in microseconds.

    And `grouped`, `day`, `id` of its deployment, `at` and `basis`. The value is NULL when it was made later than that.
    What came with a service's first success is left out.

    Args:
        shape: Of the scope.
        narrow: Says when, and whatever else.
    """
    change = DeliveredChange
    took = microseconds_between(change.committed_at, change.delivered_at)
    found = select(
        shape.grouped(change),
        shape.day(change.delivered_at),
        change.deployment_id.label("id"),
        change.delivered_at.label("at"),
        change.basis,
        case((change.committed_at <= change.delivered_at, took)).label("value"),
    ).where(shape.has(change))
    # The first success of all its environments is the first one in its own, too: few are looked at any closer.
    is_first = and_(change.is_opening, change.deployment_id.in_(_first_successes(shape)))
    found = narrow(found).where(not_(is_first))
    if shape.grouping is not Grouping.ENVIRONMENT and shape.places > 1:
        found = found.where(or_(change.route_id.is_(None), change.route_id.not_in(_routes_within(shape.places))))
    return once(found, "ages")


def _routes_within(places: int) -> Select[Any]:
    """Select the `id` of the routes through any environment of the scope: what came by one of them was there before."""
    through = (DeliveryRoute.places.contains(bindparam(f"place_{place}", type_=Text())) for place in range(places))
    return select(DeliveryRoute.id).where(or_(*through))


def _first_successes(shape: Shape) -> Select[tuple[UUID]]:
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
    return select(ranked.c.id).where(ranked.c.number == 1)
