"""The rows."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, Index, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


def _now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Times have a zone."""

    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's way


class User(Base):
    """Someone who calls."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    username: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    is_active: Mapped[bool] = mapped_column(default=True)
    is_admin: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=_now)


class Service(Base):
    """What is released."""

    __tablename__ = "services"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(unique=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=_now)


class Release(Base):
    """A version of a service."""

    __tablename__ = "releases"
    __table_args__ = (UniqueConstraint("service_id", "version"), Index(None, "service_id", "created_at", "id"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    service_id: Mapped[UUID] = mapped_column(ForeignKey("services.id"))
    version: Mapped[str]
    status: Mapped[str] = mapped_column(default="DRAFT")
    release_notes: Mapped[str] = mapped_column(default="")
    git_commit: Mapped[str] = mapped_column(default="")
    created_by: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=_now)
    updated_at: Mapped[datetime] = mapped_column(default=_now, onupdate=_now)
    service: Mapped[Service] = relationship(lazy="joined", innerjoin=True)


class Deployment(Base):
    """A release on its way into an environment."""

    __tablename__ = "deployments"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    release_id: Mapped[UUID] = mapped_column(ForeignKey("releases.id"), index=True)
    environment: Mapped[str]
    status: Mapped[str] = mapped_column(default="PENDING")
    created_at: Mapped[datetime] = mapped_column(default=_now)


class LogLine(Base):
    """One line of a deployment's log."""

    __tablename__ = "log_lines"
    __table_args__ = (
        UniqueConstraint("deployment_id", "stream_name", "sequence"),
        Index(None, "deployment_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployments.id"))
    stream_name: Mapped[str]
    sequence: Mapped[int] = mapped_column(BigInteger)
    time: Mapped[datetime]
    source: Mapped[str]
    severity: Mapped[str]
    text: Mapped[str]


class AuditLog(Base):
    """Who did what."""

    __tablename__ = "audit_logs"
    __table_args__ = (Index(None, "resource_type", "resource_id"), Index(None, "created_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    action: Mapped[str]
    resource_type: Mapped[str]
    resource_id: Mapped[UUID]
    details: Mapped[dict[str, object]] = mapped_column(JSONB)
    ip_address: Mapped[str]
    user_agent: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=_now)
