"""Queries of incidents."""

from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select

from relman_server.catalog import store as catalog
from relman_server.catalog.model import Service
from relman_server.deployments.store import filter_ids
from relman_server.environments import store as environments
from relman_server.environments.model import Environment
from relman_server.incidents.inputs import ListIncidents
from relman_server.incidents.model import SEVERITY_ORDER, Incident
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import InvalidInput, NotFound, Violation
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.teams import store as teams

_ORDERING = Ordering(
    {
        "detected_at": Incident.detected_at,
        # What is open stands where it was created.
        "resolved_at": func.coalesce(Incident.resolved_at, Incident.created_at),
        "created_at": Incident.created_at,
        "severity": SEVERITY_ORDER,
    },
    default="detected_at desc",
    tie=Incident.id,
)


def incident_id(reference: str) -> UUID:
    """Return the id that a reference to an incident is; raises InvalidInput for anything else."""
    found = parse_id(reference)
    if found is None:
        raise InvalidInput(Violation("incident", "must be the id of an incident: a UUID of 36 characters"))
    return found


def _joined(*columns: Any) -> Select[Any]:  # columns, or a mapped class
    return (
        select(*columns)
        .join(Service, Service.id == Incident.service_id)
        .join(Environment, Environment.id == Incident.environment_id)
    )


@cache
def _incidents() -> Select[Any]:
    return _joined(
        *Incident.__table__.columns,
        Service.name.label("service_name"),
        Environment.name.label("environment_name"),
    )


def get_incident(tx: Reading, reference: str) -> Record:
    """Return an incident with service_name and environment_name; raises NotFound."""
    return get_incident_by_id(tx, incident_id(reference))


def get_incident_by_id(tx: Reading, wanted: UUID) -> Record:
    """As `get_incident`."""
    found = tx.row(_incidents().where(Incident.id == wanted))
    if found is None:
        raise NotFound("incident", str(wanted))
    return found


def lock_incident(tx: Transaction, reference: str) -> Record:
    """Return `Incident` for changing, service_name, owner_id and the `caller_role` in its team; raises NotFound."""
    role = teams.caller_role(tx.caller.user_id, Service.team_id)
    found = tx.row(
        _joined(Incident, Service.name.label("service_name"), Service.owner_id, role)
        .where(Incident.id == incident_id(reference))
        .with_for_update(of=Incident)
    )
    if found is None:
        raise NotFound("incident", reference)
    return found


def list_incidents(tx: Reading, wanted: ListIncidents) -> Listed:
    """Return a page of incidents; raises NotFound for an unknown service or environment."""
    statement = _incidents()
    if wanted.service:
        service = select(Service.id).where(catalog.named(wanted.service)).scalar_subquery()
        statement = statement.where(Incident.service_id == service)
    if wanted.environment:
        environment = select(Environment.id).where(environments.named(wanted.environment)).scalar_subquery()
        statement = statement.where(Incident.environment_id == environment)
    if wanted.deployment:
        statement = statement.where(Incident.deployment_id == wanted.deployment)
    if wanted.severity:
        statement = statement.where(Incident.severity == wanted.severity)
    if wanted.open is not None:
        statement = statement.where(Incident.resolved_at.is_(None) == wanted.open)
    if wanted.linked is not None:
        statement = statement.where(Incident.deployment_id.is_not(None) == wanted.linked)
    if wanted.start_date:
        statement = statement.where(Incident.detected_at >= wanted.start_date)
    if wanted.end_date:
        statement = statement.where(Incident.detected_at < wanted.end_date)
    listed = paginate(tx, statement, _ORDERING, wanted)
    if not listed.rows:  # an empty page would hide a misspelling
        filter_ids(tx, service=wanted.service, environment=wanted.environment)
    return listed


def open_by_environment(tx: Reading, service_id: UUID) -> Mapping[UUID, int]:
    """Return how many incidents of a service are open, by environment; those without any are left out."""
    rows = tx.rows(
        select(Incident.environment_id, func.count().label("size"))
        .where(Incident.service_id == service_id, Incident.resolved_at.is_(None))
        .group_by(Incident.environment_id)
    )
    return {row.environment_id: row.size for row in rows}
