"""The rows of rollbacks."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import Resource


class RollbackStatus(StrEnum):
    """Where a rollback stands: where the deployment does that it made."""

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


OPEN = (RollbackStatus.PENDING, RollbackStatus.IN_PROGRESS)


class Rollback(Resource):
    """The undoing of a deployment by deploying an earlier release.

    Attributes:
        deployment_id: What is undone.
        target_release_id: What runs there afterwards.
        rollback_deployment_id: The deployment, of kind ROLLBACK, that brings it there.
        quarantine: Whether the release that is undone is held once the rollback succeeded.
        completed_at: When it ended, however.
    """

    __tablename__ = "rollback"
    __table_args__ = (
        # Whatever the code above believes: a deployment is undone once at a time.
        Index(
            "uq_rollback_open",
            "deployment_id",
            unique=True,
            postgresql_where=text("status IN ('PENDING', 'IN_PROGRESS')"),
            sqlite_where=text("status IN ('PENDING', 'IN_PROGRESS')"),
        ),
        Index(None, "rollback_deployment_id", unique=True),
        Index(None, "created_at", "id"),
        Index("ix_rollback_ended", text("coalesce(completed_at, created_at)"), "id"),
        Index(None, "deployment_id", "created_at", "id"),
        Index(None, "service_id", "created_at", "id"),
        Index(None, "environment_id", "created_at", "id"),
        Index(None, "status", "created_at", "id"),
        Index(None, "target_release_id"),
    )

    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id"))
    rollback_deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id"))
    target_release_id: Mapped[UUID] = mapped_column(ForeignKey("release.id"))
    service_id: Mapped[UUID] = mapped_column(ForeignKey("service.id"))
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environment.id"))
    reason: Mapped[str]
    quarantine: Mapped[bool]
    status: Mapped[str]
    initiated_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    completed_at: Mapped[datetime | None]
