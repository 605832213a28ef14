"""Rules of environments: what comes before what, and locks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from relman_server.environments import store
from relman_server.environments.inputs import EnvironmentChange, Lock, NewEnvironment
from relman_server.environments.model import Environment, lock_of
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import (
    AlreadyExists,
    Condition,
    FailedPrecondition,
    InvalidInput,
    Violation,
    wrong_state,
)
from relman_server.teams import store as teams
from relman_server.teams.logic import TeamDeleted

# What the gates of deployments look at, besides the lock.
GATES = (
    "is_active",
    "promotes_from",
    "soak_seconds",
    "required_approvals",
    "approver_team_ids",
    "allow_self_approval",
    "rollbacks_need_approval",
)


@dataclass(frozen=True)
class EnvironmentChanged:
    """Other rules hold in an environment: what may be deployed to it is to be decided again."""

    environment_id: UUID


def create_environment(tx: Transaction, new: NewEnvironment) -> Record:
    """Create an environment.

    Raises NotFound for an unknown environment before it or unknown teams, and AlreadyExists when the name is taken.
    """
    environment = Environment(
        name=new.name,
        description=new.description,
        environment_type=new.environment_type,
        config_path=new.config_path,
        is_active=True,
        promotes_from=store.environment_id(tx, new.promotes_from) if new.promotes_from else None,
        soak_seconds=int(new.soak_time.total_seconds()),
        required_approvals=new.required_approvals,
        approver_team_ids=_team_ids(tx, new.approver_teams),
        allow_self_approval=new.allow_self_approval,
        approval_ttl_seconds=int(new.approval_ttl.total_seconds()),
        rollbacks_need_approval=new.rollbacks_need_approval,
        lock_reason="",
    )
    tx.add(environment, conflict=AlreadyExists("environment", new.name))
    tx.audit("environment.create", environment)
    return store.get_environment_by_id(tx, environment.id)


def update_environment(tx: Transaction, change: EnvironmentChange) -> Record:
    """Change an environment.

    Raises NotFound for an unknown environment or unknown teams, Aborted for a stale etag, AlreadyExists when the name
    is taken, and InvalidInput for environments that would promote from each other in a circle.
    """
    promotions = store.lock_promotions(tx) if "promotes_from" in change.model_fields_set else {}
    environment = store.lock_environment(tx, change.environment)
    tx.match_etag(environment, change.etag)
    before = _gates(environment)
    for name, value in _columns(tx, change).items():
        setattr(environment, name, value)
    _refuse_circles(promotions, environment)
    tx.flush(conflict=AlreadyExists("environment", change.name))
    tx.audit("environment.update", environment)
    if _gates(environment) != before:
        tx.emit(EnvironmentChanged(environment.id))
    return store.get_environment_by_id(tx, environment.id)


def _columns(tx: Transaction, change: EnvironmentChange) -> dict[str, Any]:  # columns and their values
    columns = change.wanted()
    if columns.get("promotes_from"):
        columns["promotes_from"] = store.environment_id(tx, columns["promotes_from"])
    if "approver_teams" in columns:
        columns["approver_team_ids"] = _team_ids(tx, columns.pop("approver_teams"))
    if "soak_time" in columns:
        columns["soak_seconds"] = int(columns.pop("soak_time").total_seconds())
    if "approval_ttl" in columns:
        columns["approval_ttl_seconds"] = int(columns.pop("approval_ttl").total_seconds())
    return columns


def _team_ids(tx: Transaction, references: list[str]) -> list[str]:
    return [str(team_id) for team_id in teams.team_ids(tx, references)]


def _gates(environment: Environment) -> list[Any]:  # values of columns
    return [getattr(environment, name) for name in GATES]


def _refuse_circles(promotions: Mapping[UUID, UUID | None], environment: Environment) -> None:
    """Follow the environments back from the one that was said to come before; it must not lead here again."""
    before = environment.promotes_from
    while before is not None and promotions:
        if before == environment.id:
            raise InvalidInput(
                Violation("promotes_from", f"would lead in a circle: that environment comes after {environment.name}")
            )
        before = promotions.get(before)


def delete_environment(tx: Transaction, reference: str, etag: str) -> None:
    """Delete an environment that was never used.

    Raises NotFound, Aborted for a stale etag, and FailedPrecondition IN_USE when something was deployed to it,
    another environment promotes from it, or a deploy policy or runbook names it.
    """
    environment = store.lock_environment(tx, reference)
    tx.match_etag(environment, etag)
    used = Condition("IN_USE", environment.name, "set is_active to false instead")
    message = (
        f"The environment {environment.name} has deployments, another environment promotes from it,"
        " or a deploy policy or runbook names it."
    )
    tx.delete(environment, conflict=FailedPrecondition(message, used, reason="IN_USE"))
    tx.audit("environment.delete", environment)


def lock_environment(tx: Transaction, lock: Lock) -> Record:
    """Keep everything from starting in an environment; a lock that is there is replaced.

    Raises NotFound and Aborted for a stale etag.
    """
    environment = store.lock_environment(tx, lock.environment)
    tx.match_etag(environment, lock.etag)
    environment.locked_by = tx.caller.user_id
    environment.lock_reason = lock.reason
    environment.locked_at = tx.now
    environment.lock_expires_at = tx.now + lock.ttl if lock.ttl else None
    tx.audit("environment.lock", environment)
    tx.emit(EnvironmentChanged(environment.id))
    return store.get_environment_by_id(tx, environment.id)


def unlock_environment(tx: Transaction, reference: str, etag: str) -> Record:
    """End the lock of an environment.

    Raises NotFound, Aborted for a stale etag, and FailedPrecondition when no lock holds.
    """
    environment = store.lock_environment(tx, reference)
    tx.match_etag(environment, etag)
    if lock_of(environment, tx.now) is None:
        raise wrong_state(environment.name, "UNLOCKED", f"The environment {environment.name} is not locked.")
    environment.locked_by = environment.locked_at = environment.lock_expires_at = None
    environment.lock_reason = ""
    tx.audit("environment.unlock", environment)
    tx.emit(EnvironmentChanged(environment.id))
    return store.get_environment_by_id(tx, environment.id)


def keep_approvers(tx: Transaction, deleted: TeamDeleted) -> None:
    """Refuse to lose a team that approves: nobody could in its place.

    Raises FailedPrecondition IN_USE with every environment it approves for.
    """
    names = [name for name, team_ids in store.approver_teams(tx) if str(deleted.team_id) in team_ids]
    if names:
        used = [Condition("IN_USE", name, "take the team off its approver_teams") for name in names]
        raise FailedPrecondition(f"The team approves deployments to {', '.join(names)}.", *used, reason="IN_USE")
