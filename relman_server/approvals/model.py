"""The row of an approval."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import Resource


class ApprovalStatus(StrEnum):
    """Where an approval stands."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class Decision(StrEnum):
    """What an approver says."""

    APPROVE = "APPROVE"
    REJECT = "REJECT"


class Place(StrEnum):
    """What an approval counts for."""

    REQUIRED = "REQUIRED"
    """One of those that the environment asks for."""
    ADDITIONAL = "ADDITIONAL"
    """One that somebody asked for beyond them."""


class Approval(Resource):
    """A request that someone agrees to a deployment, and the answer.

    Attributes:
        service_id: The deployment's, like the environment's here too, because lists go by them and deployments are
            above this folder. Not foreign keys: what the deployment refers to stays, and asking for an approval must
            not wait for someone who is changing the environment and waits for the deployment.
        requested_by: Who asked; None: the server.
        approver_id: Who is asked, and after the decision who decided; None while any of the approvers may.
        by_name: Whether the request asked somebody by name.
        place: What it counts for; None when for nothing any more: withdrawn, voided, or asked again by another one.
        deployment_revision: What was decided on; before, what it was asked for.
        content: Digest of what was decided on; None before.
        voided_at: Since when the approval no longer counts, because the content changed.
    """

    __tablename__ = "approval"
    __table_args__ = (
        # Whatever the code above believes: a user counts once.
        Index(
            "uq_approval_counting",
            "deployment_id",
            "approver_id",
            unique=True,
            postgresql_where=text("status = 'APPROVED' AND voided_at IS NULL"),
            sqlite_where=text("status = 'APPROVED' AND voided_at IS NULL"),
        ),
        Index("ix_approval_due", "status", "expires_at"),
        Index(None, "created_at", "id"),
        Index(None, "deployment_id", "created_at", "id"),
        Index(None, "approver_id", "created_at", "id"),
        Index(None, "service_id", "created_at", "id"),
        Index(None, "environment_id", "created_at", "id"),
        Index(None, "status", "created_at", "id"),
    )

    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"))
    service_id: Mapped[UUID]
    environment_id: Mapped[UUID]
    requested_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    approver_id: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    by_name: Mapped[bool]
    status: Mapped[str]
    place: Mapped[str | None]
    notes: Mapped[str]
    expires_at: Mapped[datetime]
    deployment_revision: Mapped[int]
    content: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]

    def waits(self, now: datetime) -> bool:
        """Whether it can be answered: time decides, not whoever marks what has expired."""
        return self.status == ApprovalStatus.PENDING and now < self.expires_at

    def expired(self, now: datetime) -> bool:
        """Whether nobody answered in time."""
        return self.status in {ApprovalStatus.PENDING, ApprovalStatus.EXPIRED} and not self.waits(now)
