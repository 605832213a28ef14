"""Queries of environments."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, literal, select

from relman_server.environments.inputs import ListEnvironments
from relman_server.environments.model import Environment
from relman_server.kernel.db.model import UtcDateTime
from relman_server.kernel.db.prepared import ByReference
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.kernel.sql import contains, ids_of

_ORDERING = Ordering(
    {"name": Environment.name, "created_at": Environment.created_at}, default="name", tie=Environment.id
)


def named(reference: str) -> ColumnElement[bool]:
    """Return the condition that an environment is the one referred to: by id or name."""
    environment_id = parse_id(reference)
    return Environment.id == environment_id if environment_id is not None else Environment.name == reference


def _environments(now: ColumnElement[datetime]) -> Select[Any]:
    """Select every column, and `read_at`: whether a lock still holds depends on the time."""
    return select(*Environment.__table__.columns, now.label("read_at"))


_ENVIRONMENT = ByReference(lambda named: _environments(bindparam("now", type_=UtcDateTime())).where(named), Environment)


def get_environment(tx: Reading, reference: str) -> Record:
    """Return an environment and when it was read; raises NotFound."""
    found = tx.row(*_ENVIRONMENT(reference, now=tx.now))
    if found is None:
        raise NotFound("environment", reference)
    return found


def get_environment_by_id(tx: Reading, environment_id: UUID) -> Record:
    """Return an environment and when it was read; raises NotFound."""
    return get_environment(tx, str(environment_id))


def environment_id(tx: Reading, reference: str) -> UUID:
    """Return the id of an environment; raises NotFound."""
    found: UUID | None = tx.scalar(select(Environment.id).where(named(reference)))
    if found is None:
        raise NotFound("environment", reference)
    return found


def environment_ids(tx: Transaction, references: Sequence[str]) -> list[UUID]:
    """Return the ids of environments in the order given, each once; they stay until the end of the transaction.

    Raises NotFound with every reference that names none.
    """
    return ids_of(tx, Environment, references, "environment")


def lock_environment(tx: Transaction, reference: str) -> Environment:
    """Return an environment for changing; raises NotFound."""
    found = tx.row(select(Environment).where(named(reference)).with_for_update(of=Environment))
    if found is None:
        raise NotFound("environment", reference)
    environment: Environment = found.Environment
    return environment


def lock_promotions(tx: Transaction) -> Mapping[UUID, UUID | None]:
    """Return which environment each one promotes from; until the transaction ends nobody else changes that."""
    rows = tx.rows(
        select(Environment.id, Environment.promotes_from)
        .order_by(Environment.id)
        .with_for_update(key_share=True)  # what refers to an environment may still be written
    )
    return {row.id: row.promotes_from for row in rows}


def list_environments(tx: Reading, wanted: ListEnvironments) -> Listed:
    """Return a page of environments."""
    statement = _environments(literal(tx.now, UtcDateTime()))
    if wanted.environment_type is not None:
        statement = statement.where(Environment.environment_type == wanted.environment_type)
    if wanted.is_active is not None:
        statement = statement.where(Environment.is_active == wanted.is_active)
    if wanted.query:
        statement = statement.where(contains(wanted.query, Environment.name, Environment.description))
    return paginate(tx, statement, _ORDERING, wanted)


def approver_teams(tx: Reading) -> list[tuple[str, set[str]]]:
    """Return the name of every environment and the ids of its approver teams."""
    rows = tx.rows(select(Environment.name, Environment.approver_team_ids).order_by(Environment.name))
    return [(row.name, set(row.approver_team_ids)) for row in rows]
