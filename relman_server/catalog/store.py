"""Queries of services."""

from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, select

from relman_server.catalog.inputs import ListServices
from relman_server.catalog.model import Service
from relman_server.kernel.db.prepared import ByReference
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.kernel.sql import contains, ids_of
from relman_server.teams import store as teams
from relman_server.teams.model import Team

_ORDERING = Ordering({"name": Service.name, "created_at": Service.created_at}, default="name", tie=Service.id)


def named(reference: str) -> ColumnElement[bool]:
    """Return the condition that a service is the one referred to: by id or name."""
    service_id = parse_id(reference)
    return Service.id == service_id if service_id is not None else Service.name == reference


@cache
def _services() -> Select[Any]:
    return select(*Service.__table__.columns)


_SERVICE = ByReference(lambda named: _services().where(named), Service)
_WITH_ROLE = ByReference(
    lambda named: _services().add_columns(teams.caller_role(bindparam("caller"), Service.team_id)).where(named), Service
)


def get_service(tx: Reading, reference: str) -> Record:
    """Return a service; raises NotFound."""
    found = tx.row(*_SERVICE(reference))
    if found is None:
        raise NotFound("service", reference)
    return found


def get_service_by_id(tx: Reading, service_id: UUID) -> Record:
    """Return a service; raises NotFound."""
    return get_service(tx, str(service_id))


def service_and_role(tx: Reading, reference: str) -> Record:
    """Return a service and the `caller_role` in its team; raises NotFound."""
    found = tx.row(*_WITH_ROLE(reference, caller=tx.caller.user_id))
    if found is None:
        raise NotFound("service", reference)
    return found


def service_ids(tx: Transaction, references: Sequence[str]) -> list[UUID]:
    """Return the ids of services in the order given, each once; they stay until the end of the transaction.

    Raises NotFound with every reference that names none.
    """
    return ids_of(tx, Service, references, "service")


def lock_service(tx: Transaction, reference: str) -> Record:
    """Return `Service` for changing, its `name` and `owner_id`, and the `caller_role` in its team; raises NotFound."""
    role = teams.caller_role(tx.caller.user_id, Service.team_id)
    found = tx.row(
        select(Service, Service.name, Service.owner_id, role).where(named(reference)).with_for_update(of=Service)
    )
    if found is None:
        raise NotFound("service", reference)
    return found


def list_services(tx: Reading, wanted: ListServices) -> Listed:
    """Return a page of services; raises NotFound for an unknown team."""
    statement = _services()
    if wanted.team:
        team = select(Team.id).where(teams.named(wanted.team))
        statement = statement.where(Service.team_id == team.scalar_subquery())
    if wanted.is_active is not None:
        statement = statement.where(Service.is_active == wanted.is_active)
    if wanted.query:
        statement = statement.where(contains(wanted.query, Service.name, Service.description))
    listed = paginate(tx, statement, _ORDERING, wanted)
    if wanted.team and not listed.total_size:
        teams.get_team(tx, wanted.team)
    return listed
