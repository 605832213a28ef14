"""Rules of deploy policies. Only admins change them, which the contract says."""

from dataclasses import dataclass
from typing import Any

from relman_server.catalog import store as catalog
from relman_server.environments import store as environments
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import AlreadyExists
from relman_server.policies import store
from relman_server.policies.inputs import NewPolicy, OneTimeWindow, PolicyChange, WeeklyWindow
from relman_server.policies.model import DeployPolicy, FrozenEnvironment, FrozenService

# What the gate FREEZE looks at and tells, besides the services and environments.
GATE = ("name", "weekly_windows", "one_time_windows", "is_active")


@dataclass(frozen=True)
class PoliciesChanged:
    """Other freezes are on: every deployment that waits is to be decided again."""


def create_policy(tx: Transaction, new: NewPolicy) -> Record:
    """Create a policy.

    Raises NotFound for unknown services or environments, and AlreadyExists when the name is taken.
    """
    policy = DeployPolicy(
        name=new.name,
        description=new.description,
        weekly_windows=_stored(new.weekly_windows),
        one_time_windows=_stored(new.one_time_windows),
        is_active=new.is_active,
        created_by=tx.caller.user_id,
    )
    tx.add(policy, conflict=AlreadyExists("deploy_policy", new.name))
    _hold_for(tx, policy, new.services, new.environments)
    created = _audited(tx, "deploy_policy.create", policy)
    tx.emit(PoliciesChanged())
    return created


def update_policy(tx: Transaction, change: PolicyChange) -> Record:
    """Change a policy.

    Raises NotFound for an unknown policy or unknown services or environments, Aborted for a stale etag, and
    AlreadyExists when the name is taken.
    """
    policy = store.lock_policy(tx, change.deploy_policy)
    tx.match_etag(policy, change.etag)
    before = _gate(policy)
    columns = change.wanted()
    services, there = columns.pop("services", None), columns.pop("environments", None)
    for name, value in columns.items():
        setattr(policy, name, _stored(value) if name.endswith("_windows") else value)
    tx.flush(conflict=AlreadyExists("deploy_policy", change.name))
    holds_elsewhere = _hold_for(tx, policy, services, there)
    updated = _audited(tx, "deploy_policy.update", policy)
    if holds_elsewhere or _gate(policy) != before:
        tx.emit(PoliciesChanged())
    return updated


def delete_policy(tx: Transaction, reference: str, etag: str) -> None:
    """Delete a policy.

    Raises NotFound, and Aborted for a stale etag.
    """
    policy = store.lock_policy(tx, reference)
    tx.match_etag(policy, etag)
    was = store.get_policy_by_id(tx, policy.id)
    tx.delete(policy)
    _audit(tx, "deploy_policy.delete", policy, was)
    tx.emit(PoliciesChanged())


def _hold_for(tx: Transaction, policy: DeployPolicy, services: list[str] | None, there: list[str] | None) -> bool:
    """Make a policy hold for what is named; None leaves it as it is. Return whether that is news."""
    news = False
    if services is not None:
        ids = catalog.service_ids(tx, services)
        news |= store.hold_for(tx, policy, FrozenService.service_id, ids)
    if there is not None:
        ids = environments.environment_ids(tx, there)
        news |= store.hold_for(tx, policy, FrozenEnvironment.environment_id, ids)
    return news


def _audited(tx: Transaction, action: str, policy: DeployPolicy) -> Record:
    tx.flush()
    row = store.get_policy_by_id(tx, policy.id)
    _audit(tx, action, policy, row)
    return row


def _audit(tx: Transaction, action: str, policy: DeployPolicy, row: Record) -> None:
    """Record it with what the policy holds for, which is not in its own row."""
    services, there = store.split(row.services), store.split(row.environments)
    tx.audit(action, policy, services=services, environments=there)


def _gate(policy: DeployPolicy) -> list[Any]:  # values of columns
    return [getattr(policy, name) for name in GATE]


def _stored(windows: list[WeeklyWindow] | list[OneTimeWindow]) -> list[dict[str, Any]]:  # JSON
    return [window.model_dump(mode="json") for window in windows]
