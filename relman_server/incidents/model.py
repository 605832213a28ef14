"""The row of an incident."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, case, text
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import Resource


class Severity(StrEnum):
    """How serious something is; from the least to the most."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class Incident(Resource):
    """Something that went wrong for users.

    Attributes:
        deployment_id: What caused it, of the same service and environment; None while nobody has said.
        resolved_at: When users were well again; None while it is open.
    """

    __tablename__ = "incident"
    __table_args__ = (
        Index(None, "detected_at", "id"),
        Index(None, "created_at", "id"),
        Index("ix_incident_ended", text("coalesce(resolved_at, created_at)"), "id"),
        Index(None, "service_id", "detected_at", "id"),
        Index(None, "environment_id", "detected_at", "id"),
        Index(None, "deployment_id", "resolved_at"),
        # How many are open of a service.
        Index(
            "ix_incident_open",
            "service_id",
            "environment_id",
            postgresql_where=text("resolved_at IS NULL"),
            sqlite_where=text("resolved_at IS NULL"),
        ),
    )

    service_id: Mapped[UUID] = mapped_column(ForeignKey("service.id"))
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environment.id"))
    deployment_id: Mapped[UUID | None] = mapped_column(ForeignKey("deployment.id"))
    title: Mapped[str]
    severity: Mapped[str]
    detected_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    external_url: Mapped[str]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))


SEVERITY_ORDER = case({each: number for number, each in enumerate(Severity)}, value=Incident.severity, else_=-1)
"""Severities by how serious they are rather than by the alphabet."""
