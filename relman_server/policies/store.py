"""Queries of deploy policies."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute

from relman_server.catalog import store as catalog
from relman_server.catalog.model import Service
from relman_server.environments import store as environments
from relman_server.environments.model import Environment
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.kernel.sql import contains
from relman_server.policies.inputs import ListPolicies
from relman_server.policies.model import DeployPolicy, FrozenEnvironment, FrozenService
from relman_server.policies.windows import ActivePolicy, stored_windows

Pair = tuple[UUID, UUID]
"""Ids of a service and of an environment."""

Frozen = InstrumentedAttribute[UUID]
"""Which service or environment: FrozenService.service_id or FrozenEnvironment.environment_id."""

_ORDERING = Ordering(
    {"name": DeployPolicy.name, "created_at": DeployPolicy.created_at}, default="name", tie=DeployPolicy.id
)


def named(reference: str) -> ColumnElement[bool]:
    """Return the condition that a policy is the one referred to: by id or name."""
    policy_id = parse_id(reference)
    return DeployPolicy.id == policy_id if policy_id is not None else DeployPolicy.name == reference


def _joined(texts: Any, of: Select[Any]) -> ScalarSelect[str]:  # a column, or a function of one
    """Select texts of several rows as one, for `split`; in no order, since not every SQLite sorts within aggregates."""
    return of.with_only_columns(func.aggregate_strings(texts, ","), maintain_column_froms=True).scalar_subquery()


def split(texts: str | None) -> list[str]:
    """Return the texts of one column that is several, in their order; names and ids have no comma."""
    return sorted(texts.split(",")) if texts else []


def _rows_of(frozen: Frozen) -> Select[Any]:
    """Select what a policy of the query around it holds for."""
    return select(frozen).where(frozen.class_.policy_id == DeployPolicy.id)


def _names_of(frozen: Frozen, model: type[Service | Environment]) -> ScalarSelect[str]:
    return _joined(model.name, _rows_of(frozen).join(model, model.id == frozen))


@cache
def _policies() -> Select[Any]:
    """Select every column, and the names of the `services` and `environments` for `split`."""
    return select(
        *DeployPolicy.__table__.columns,
        _names_of(FrozenService.service_id, Service).label("services"),
        _names_of(FrozenEnvironment.environment_id, Environment).label("environments"),
    )


def get_policy(tx: Reading, reference: str) -> Record:
    """Return a policy with its `services` and `environments`; raises NotFound."""
    found = tx.row(_policies().where(named(reference)))
    if found is None:
        raise NotFound("deploy_policy", reference)
    return found


def get_policy_by_id(tx: Reading, policy_id: UUID) -> Record:
    """Return a policy with its `services` and `environments`; raises NotFound."""
    return get_policy(tx, str(policy_id))


def lock_policy(tx: Transaction, reference: str) -> DeployPolicy:
    """Return a policy for changing; raises NotFound."""
    found = tx.row(select(DeployPolicy).where(named(reference)).with_for_update(of=DeployPolicy))
    if found is None:
        raise NotFound("deploy_policy", reference)
    policy: DeployPolicy = found.DeployPolicy
    return policy


def list_policies(tx: Reading, wanted: ListPolicies) -> Listed:
    """Return a page of policies; raises NotFound for an unknown service or environment."""
    statement = _policies()
    if wanted.service:
        service = catalog.get_service(tx, wanted.service)
        statement = statement.where(_holds_for(FrozenService.service_id, [service.id]))
    if wanted.environment:
        environment = environments.environment_id(tx, wanted.environment)
        statement = statement.where(_holds_for(FrozenEnvironment.environment_id, [environment]))
    if wanted.is_active is not None:
        statement = statement.where(DeployPolicy.is_active == wanted.is_active)
    if wanted.query:
        statement = statement.where(contains(wanted.query, DeployPolicy.name, DeployPolicy.description))
    return paginate(tx, statement, _ORDERING, wanted)


def hold_for(tx: Transaction, policy: DeployPolicy, frozen: Frozen, ids: Collection[UUID]) -> bool:
    """Make a policy hold for these services or environments; with none of them for all. Return whether that is news."""
    of_policy = frozen.class_.policy_id == policy.id
    if set(ids) == {row[0] for row in tx.rows(select(frozen).where(of_policy))}:
        return False
    tx.execute(delete(frozen.class_).where(of_policy))
    if ids:
        tx.execute(insert(frozen.class_), [{"policy_id": policy.id, frozen.key: frozen_id} for frozen_id in ids])
    policy.updated_at = tx.now  # so that its etag changes, too
    return True


def _holds_for(frozen: Frozen, ids: Any) -> ColumnElement[bool]:  # ids, or the parameter that says them
    """Return the condition that a policy holds for one of these at least: it names it, or none at all."""
    rows = _rows_of(frozen)
    return or_(~exists(rows), exists(rows.where(frozen.in_(ids))))


def _active() -> Select[Any]:
    """Select the active policies that hold for some of the `services` and some of the `environments`: for which.

    `any_service` and `any_environment` tell a policy that holds for all of them.
    """
    columns: list[Any] = [
        DeployPolicy.id,
        DeployPolicy.name,
        DeployPolicy.weekly_windows,
        DeployPolicy.one_time_windows,
    ]
    conditions: list[Any] = [DeployPolicy.is_active]
    for frozen, one, several in (
        (FrozenService.service_id, "any_service", "services"),
        (FrozenEnvironment.environment_id, "any_environment", "environments"),
    ):
        wanted = bindparam(several, expanding=True, type_=Uuid())
        columns.append((~exists(_rows_of(frozen))).label(one))
        columns.append(_joined(cast(frozen, Text), _rows_of(frozen).where(frozen.in_(wanted))).label(several))
        conditions.append(_holds_for(frozen, wanted))
    return select(*columns).where(*conditions).order_by(DeployPolicy.name)


_ACTIVE = _active()


def freezes(tx: Reading, service_id: UUID, environment_id: UUID) -> Sequence[ActivePolicy]:
    """Return the active policies that hold for deployments of a service to an environment, by name."""
    pair = (service_id, environment_id)
    return freezes_for(tx, [pair])[pair]


def freezes_for(tx: Reading, pairs: Collection[Pair]) -> Mapping[Pair, Sequence[ActivePolicy]]:
    """Return the active policies that hold for each of several pairs, by name, in one statement."""
    if not pairs:
        return {}
    services, there = zip(*pairs, strict=True)
    rows = tx.rows(_ACTIVE, {"services": list(set(services)), "environments": list(set(there))})
    found = [
        (
            ActivePolicy(row.id, row.name, stored_windows(row.weekly_windows, row.one_time_windows)),
            None if row.any_service else {UUID(text) for text in split(row.services)},
            None if row.any_environment else {UUID(text) for text in split(row.environments)},
        )
        for row in rows
    ]
    return {
        (service, environment): [
            policy
            for policy, named_services, named_environments in found
            if (named_services is None or service in named_services)
            and (named_environments is None or environment in named_environments)
        ]
        for service, environment in pairs
    }
