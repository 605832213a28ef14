"""Rules of services: who may change one, and who works on it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from relman_server.catalog import store
from relman_server.catalog.inputs import NewService, ServiceChange
from relman_server.catalog.model import Service
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import AlreadyExists, Condition, FailedPrecondition, PermissionDenied
from relman_server.kernel.identity import Identity
from relman_server.teams import logic as teams
from relman_server.teams.model import TeamRole
from relman_server.users import store as users


@dataclass(frozen=True)
class ServiceChanged:
    """A service may be deployed from now on, or no longer."""

    service_id: UUID


def create_service(tx: Transaction, new: NewService) -> Record:
    """Record a service.

    Raises NotFound for an unknown team or owner, PermissionDenied for who is not in the team, and AlreadyExists when
    the name is taken.
    """
    service = Service(
        name=new.name,
        description=new.description,
        repository_url=new.repository_url,
        team_id=teams.require_member(tx, new.team) if new.team else None,
        slack_channel=new.slack_channel,
        owner_id=users.get_user(tx, new.owner).id if new.owner else tx.caller.user_id,
        is_active=True,
    )
    tx.add(service, conflict=AlreadyExists("service", new.name))
    tx.audit("service.create", service)
    return store.get_service_by_id(tx, service.id)


def update_service(tx: Transaction, change: ServiceChange) -> Record:
    """Change a service.

    Raises NotFound for an unknown service, team or owner, PermissionDenied for who does not maintain the service or is
    not in the team it moves to, Aborted for a stale etag, and AlreadyExists when the name is taken.
    """
    service = _lock_as_maintainer(tx, change.service)
    tx.match_etag(service, change.etag)
    was_active = service.is_active
    for name, value in _columns(tx, change).items():
        setattr(service, name, value)
    tx.flush(conflict=AlreadyExists("service", change.name))
    tx.audit("service.update", service)
    if service.is_active != was_active:
        tx.emit(ServiceChanged(service.id))
    return store.get_service_by_id(tx, service.id)


def _columns(tx: Transaction, change: ServiceChange) -> dict[str, Any]:  # columns and their values
    columns = change.wanted()
    if "team" in columns:
        team = columns.pop("team")
        columns["team_id"] = teams.require_member(tx, team) if team else None
    if "owner" in columns:
        columns["owner_id"] = users.get_user(tx, columns.pop("owner")).id
    return columns


def delete_service(tx: Transaction, reference: str, etag: str) -> None:
    """Delete a service that was never released.

    Raises NotFound, PermissionDenied for who does not maintain it, Aborted for a stale etag, and FailedPrecondition
    IN_USE when it has releases, or a deploy policy or runbook names it.
    """
    service = _lock_as_maintainer(tx, reference)
    tx.match_etag(service, etag)
    used = Condition("IN_USE", service.name, "set is_active to false instead")
    message = f"The service {service.name} has releases, or a deploy policy or runbook names it."
    tx.delete(service, conflict=FailedPrecondition(message, used, reason="IN_USE"))
    tx.audit("service.delete", service)


def require_service(tx: Reading, reference: str) -> Record:
    """Return every column of a service and the `caller_role` in its team, in one statement; raises NotFound."""
    return store.service_and_role(tx, reference)


def require_team(caller: Identity, row: Any) -> None:  # a row, whatever it was selected from
    """Raise PermissionDenied unless the caller works on the service: its team, its owner, admins.

    Args:
        caller: Who wants to.
        row: Has `owner_id` and `caller_role`, and the service's name as `service_name` or `name`.
    """
    if not (caller.is_admin or row.owner_id == caller.user_id or row.caller_role is not None):
        raise PermissionDenied(
            f"Only members of the team of the service {_service_name(row)}, its owner or an admin may do this."
        )


def require_maintainer(caller: Identity, row: Any) -> None:  # as above
    """Raise PermissionDenied unless the caller keeps the service: maintainers of its team, its owner, admins.

    Args:
        caller: Who wants to.
        row: As for `require_team`.
    """
    if not (caller.is_admin or row.owner_id == caller.user_id or row.caller_role == TeamRole.MAINTAINER):
        raise PermissionDenied(
            f"Only maintainers of the team of the service {_service_name(row)}, its owner or an admin may do this."
        )


def _service_name(row: Any) -> str:  # as above
    return str(getattr(row, "service_name", None) or row.name)


def _lock_as_maintainer(tx: Transaction, reference: str) -> Service:
    found = store.lock_service(tx, reference)
    require_maintainer(tx.caller, found)
    service: Service = found.Service
    return service
