"""The row of an environment."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import Resource

DEFAULT_APPROVAL_TTL = timedelta(days=7)


class EnvironmentType(StrEnum):
    """What an environment is for. Rules and metrics go by it, never by the name."""

    DEVELOPMENT = "DEVELOPMENT"
    TESTING = "TESTING"
    STAGING = "STAGING"
    PRODUCTION = "PRODUCTION"


class Environment(Resource):
    """A place where services run, and the rules of coming there.

    Attributes:
        soak_seconds: How long a release must have run in the environment before.
        approver_team_ids: Teams whose members may approve; empty means admins.
        approval_ttl_seconds: How long a request for approval stays open.
        lock_*: The lock; `locked_at` is None when there is none. One that has expired is no lock.
    """

    __tablename__ = "environment"
    __table_args__ = (Index(None, "created_at", "id"),)

    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]
    environment_type: Mapped[str]
    config_path: Mapped[str]
    is_active: Mapped[bool]
    promotes_from: Mapped[UUID | None] = mapped_column(ForeignKey("environment.id"), index=True)
    soak_seconds: Mapped[int]
    required_approvals: Mapped[int]
    approver_team_ids: Mapped[list[str]]
    allow_self_approval: Mapped[bool]
    approval_ttl_seconds: Mapped[int]
    rollbacks_need_approval: Mapped[bool]
    locked_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    lock_reason: Mapped[str]
    locked_at: Mapped[datetime | None]
    lock_expires_at: Mapped[datetime | None]


def lock_of(row: Any, now: datetime) -> dict[str, Any] | None:  # an Environment, or a row with its columns
    """Return the lock of an environment's row that holds at a time."""
    if row.locked_at is None or (row.lock_expires_at is not None and row.lock_expires_at <= now):
        return None
    return {
        "locked_by": row.locked_by,
        "reason": row.lock_reason,
        "locked_at": row.locked_at,
        "expires_at": row.lock_expires_at,
    }
