"""The rows of deploy policies, and of what they hold for."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import Base, Resource


class DayOfWeek(StrEnum):
    """A day of the week, in their order."""

    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"


class DeployPolicy(Resource):
    """When nothing may be deployed: its windows, while it is active.

    Attributes:
        weekly_windows: `{days, start, end, time_zone}` of each, days as DayOfWeek, times of day as "HH:MM".
        one_time_windows: `{start, end}` of each, as ISO text.
    """

    __tablename__ = "deploy_policy"
    __table_args__ = (Index(None, "created_at", "id"), Index(None, "is_active", "name"))

    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]
    weekly_windows: Mapped[list[dict[str, Any]]]  # JSON
    one_time_windows: Mapped[list[dict[str, Any]]]  # JSON
    is_active: Mapped[bool]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))


# A policy without a row here holds for all services, without one below for all environments. So what a policy names
# cannot be deleted: with its row gone, the policy would hold for everything.


class FrozenService(Base):
    """A service that a policy holds for."""

    __tablename__ = "deploy_policy_service"
    __table_args__ = (Index(None, "service_id"),)

    policy_id: Mapped[UUID] = mapped_column(ForeignKey("deploy_policy.id", ondelete="CASCADE"), primary_key=True)
    service_id: Mapped[UUID] = mapped_column(ForeignKey("service.id"), primary_key=True)


class FrozenEnvironment(Base):
    """An environment that a policy holds for."""

    __tablename__ = "deploy_policy_environment"
    __table_args__ = (Index(None, "environment_id"),)

    policy_id: Mapped[UUID] = mapped_column(ForeignKey("deploy_policy.id", ondelete="CASCADE"), primary_key=True)
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environment.id"), primary_key=True)
