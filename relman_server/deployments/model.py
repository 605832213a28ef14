"""The rows of deployments, their stages and their events."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    ForeignKey,
    Index,
    UniqueConstraint,
    bindparam,
    false,
    literal,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import UNAUDITED, Base, Resource


class DeploymentStatus(StrEnum):
    """Where a deployment stands."""

    PENDING = "PENDING"
    READY = "READY"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    ROLLED_BACK = "ROLLED_BACK"


WAITING = (DeploymentStatus.PENDING, DeploymentStatus.READY)
ENDED = (
    DeploymentStatus.SUCCEEDED,
    DeploymentStatus.FAILED,
    DeploymentStatus.CANCELLED,
    DeploymentStatus.REJECTED,
    DeploymentStatus.ROLLED_BACK,
)


class DeploymentKind(StrEnum):
    """Why a deployment was made."""

    PLANNED = "PLANNED"
    HOTFIX = "HOTFIX"
    ROLLBACK = "ROLLBACK"
    REDEPLOY = "REDEPLOY"


class Outcome(StrEnum):
    """How a deployment or a stage ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class BlockerKind(StrEnum):
    """Which gate is closed."""

    RELEASE = "RELEASE"
    PROMOTION = "PROMOTION"
    SOAK = "SOAK"
    APPROVAL = "APPROVAL"
    FREEZE = "FREEZE"
    LOCK = "LOCK"
    QUEUE = "QUEUE"
    INACTIVE = "INACTIVE"


class StageStatus(StrEnum):
    """Where a stage stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"


PASSED = (StageStatus.SUCCEEDED, StageStatus.SKIPPED)
UNFINISHED = (StageStatus.PENDING, StageStatus.RUNNING)


class EventType(StrEnum):
    """What happened to a deployment."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    BLOCKED = "BLOCKED"
    READY = "READY"
    STARTED = "STARTED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    ROLLED_BACK = "ROLLED_BACK"
    STAGE_CREATED = "STAGE_CREATED"
    STAGE_UPDATED = "STAGE_UPDATED"
    STAGE_STARTED = "STAGE_STARTED"
    STAGE_PROGRESS = "STAGE_PROGRESS"
    STAGE_ENDED = "STAGE_ENDED"
    STAGE_RETRIED = "STAGE_RETRIED"
    APPROVAL = "APPROVAL"
    ROLLBACK = "ROLLBACK"
    LEASE = "LEASE"


_UNUSUAL = "outcome IS NOT NULL AND (outcome <> 'SUCCEEDED' OR status = 'ROLLED_BACK' OR kind <> 'PLANNED' OR {})"


class Deployment(Resource):
    """One way of a release into one environment.

    Attributes:
        service_id: The release's, here too, so that the one-at-a-time rule is an index.
        outcome: How it ended; kept when it is rolled back.
        blockers: The closed gates as the contract's Blocker has them; empty unless PENDING.
        revision: Number of its newest event.
        look_again_at: When the answer of its gates may change by itself; None unless it waits for a time.
        blamed: Whether an incident or a hotfix speaks against it: see incidents/blame.py.
    """

    __tablename__ = "deployment"
    __table_args__ = (
        # At most one in progress per service and environment, whatever the code above believes.
        Index(
            "uq_deployment_in_progress",
            "service_id",
            "environment_id",
            unique=True,
            postgresql_where=text("status = 'IN_PROGRESS'"),
            sqlite_where=text("status = 'IN_PROGRESS'"),
        ),
        # The queue of a service and environment, and those to look at again when a gate opens.
        Index(
            "ix_deployment_waiting",
            "service_id",
            "environment_id",
            "created_at",
            "id",
            postgresql_where=text("status IN ('PENDING', 'READY')"),
            sqlite_where=text("status IN ('PENDING', 'READY')"),
        ),
        # Those whose answer changes by itself, by when.
        Index(
            "ix_deployment_look_again_at",
            "look_again_at",
            postgresql_where=text("look_again_at IS NOT NULL"),
            sqlite_where=text("look_again_at IS NOT NULL"),
        ),
        # What runs where.
        Index(
            "ix_deployment_running",
            "environment_id",
            "service_id",
            "completed_at",
            postgresql_where=text("status = 'SUCCEEDED'"),
            sqlite_where=text("status = 'SUCCEEDED'"),
        ),
        # Which way the newest with an outcome went, and what came next.
        Index(
            "ix_deployment_outcome",
            "service_id",
            "environment_id",
            "completed_at",
            postgresql_include=("id", "status", "outcome", "blamed"),
            postgresql_where=text("outcome IS NOT NULL"),
            sqlite_where=text("outcome IS NOT NULL"),
        ),
        # How many ended, for the metrics: as small as can be, for they count all of a year.
        Index(
            "ix_deployment_facts",
            "environment_id",
            "completed_at",
            postgresql_where=text("outcome IS NOT NULL"),
            sqlite_where=text("outcome IS NOT NULL"),
        ),
        # Those that were not planned or did not go well, with everything that metrics look at.
        Index(
            "ix_deployment_unusual",
            "environment_id",
            "completed_at",
            postgresql_include=("service_id", "id", "kind", "status", "outcome", "production_impacted", "blamed"),
            postgresql_where=text(_UNUSUAL.format("blamed")),
            sqlite_where=text(_UNUSUAL.format("blamed = 1")),
        ),
        # What repaired what.
        Index(
            "ix_deployment_hotfix",
            "remediates",
            "environment_id",
            "completed_at",
            postgresql_where=text("kind = 'HOTFIX' AND remediates IS NOT NULL"),
            sqlite_where=text("kind = 'HOTFIX' AND remediates IS NOT NULL"),
        ),
        Index(None, "created_at", "id"),
        # What has not ended stands where it was created.
        Index("ix_deployment_ended", text("coalesce(completed_at, created_at)"), "id"),
        # Who refers to one that is deleted.
        Index(None, "remediates"),
        Index(None, "retry_of"),
        Index(None, "service_id", "created_at", "id"),
        Index(None, "environment_id", "created_at", "id"),
        Index(None, "release_id", "environment_id", "created_at"),
        Index(None, "status", "created_at", "id"),
    )

    release_id: Mapped[UUID] = mapped_column(ForeignKey("release.id"))
    service_id: Mapped[UUID] = mapped_column(ForeignKey("service.id"))
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environment.id"))
    status: Mapped[str]
    kind: Mapped[str]
    outcome: Mapped[str | None]
    remediates: Mapped[UUID | None] = mapped_column(ForeignKey("deployment.id", ondelete="SET NULL"))
    failure_reason: Mapped[str]
    production_impacted: Mapped[bool]
    blockers: Mapped[list[dict[str, Any]]]  # JSON
    revision: Mapped[int]
    deployed_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    deployed_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    rollback_id: Mapped[UUID | None]
    rolled_back_by: Mapped[UUID | None]
    labels: Mapped[dict[str, str]]
    retry_of: Mapped[UUID | None] = mapped_column(ForeignKey("deployment.id", ondelete="SET NULL"))
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    hotfix_reason: Mapped[str]
    look_again_at: Mapped[datetime | None] = mapped_column(info={"internal": True})
    blamed: Mapped[bool] = mapped_column(server_default=false(), info={"internal": True})


# Conditions with the states in the statement itself rather than beside it: only so do planners see that the partial
# indexes above hold what is asked for.


def is_waiting(deployment: Any = Deployment) -> ColumnElement[bool]:  # Deployment or an alias of it
    """Return the condition that a deployment waits."""
    states: BindParameter[Any] = bindparam("waiting", WAITING, unique=True, expanding=True, literal_execute=True)
    found: ColumnElement[bool] = deployment.status.in_(states)
    return found


def is_in_progress(deployment: Any = Deployment) -> ColumnElement[bool]:  # as above
    """Return the condition that a deployment is in progress."""
    found: ColumnElement[bool] = deployment.status == literal(DeploymentStatus.IN_PROGRESS, literal_execute=True)
    return found


def has_succeeded(deployment: Any = Deployment) -> ColumnElement[bool]:  # as above
    """Return the condition that a deployment succeeded, and was not rolled back."""
    found: ColumnElement[bool] = deployment.status == literal(DeploymentStatus.SUCCEEDED, literal_execute=True)
    return found


class Stage(Resource):
    """One step of a deployment's pipeline.

    Attributes:
        order: Position; the next stage starts when all before it have passed.
        earlier_attempts: `{attempt, status, started_at, completed_at, output}` of the attempts before, times as ISO
            text.
        due_at: When it is timed out unless it has ended; None unless it runs and has a timeout.
    """

    __tablename__ = "pipeline_stage"
    __table_args__ = (
        UniqueConstraint("deployment_id", "name"),
        UniqueConstraint("deployment_id", "order"),
        Index(
            "ix_pipeline_stage_due_at",
            "due_at",
            postgresql_where=text("due_at IS NOT NULL"),
            sqlite_where=text("due_at IS NOT NULL"),
        ),
    )

    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"))
    name: Mapped[str]
    order: Mapped[int]
    status: Mapped[str]
    timeout_seconds: Mapped[int]
    attempt: Mapped[int]
    progress_percent: Mapped[int]
    progress_message: Mapped[str]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    output: Mapped[str]
    earlier_attempts: Mapped[list[dict[str, Any]]]  # JSON
    due_at: Mapped[datetime | None] = mapped_column(info={"internal": True})


class Lease(Base):
    """Who carries a deployment out: the newest lease it gave out.

    Attributes:
        id: Of this holder's time; each has one of their own.
        fencing_token: Rises with every holder.
        ttl_seconds: How long it lasts after a heartbeat.
        expires_at: When it runs out; None once the deployment has ended.
    """

    __tablename__ = "deployment_lease"
    # Heartbeats are many, and say nothing; who took a deployment over is in the deployment's own entries.
    __table_args__ = (
        Index(
            "ix_deployment_lease_expires_at",
            "expires_at",
            postgresql_where=text("expires_at IS NOT NULL"),
            sqlite_where=text("expires_at IS NOT NULL"),
        ),
        {"info": UNAUDITED},
    )

    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID]
    fencing_token: Mapped[int]
    ttl_seconds: Mapped[int]
    expires_at: Mapped[datetime | None]


class TransactionNumber(ColumnElement[int]):
    """A number of the present transaction, by which the feed of events is ordered.

    PostgreSQL has its own. SQLite runs one transaction after the other, so there any number will do that is higher than
    all before, also than those of events that were deleted.
    """

    inherit_cache = True
    type = BigInteger()


@compiles(TransactionNumber, "postgresql")
def _of_postgresql(*_: object, **__: object) -> str:
    return "pg_current_xact_id()::text::bigint"


@compiles(TransactionNumber, "sqlite")
def _of_sqlite(*_: object, **__: object) -> str:
    newest = "coalesce((SELECT max(committed_in) FROM deployment_event), 0)"
    return f"(SELECT max({newest}, last_transaction) + 1 FROM event_feed)"  # noqa: S608 - of literals


class DeploymentEvent(Base):
    """One entry of a deployment's history: what happened, and how the deployment was right after.

    Attributes:
        revision: Position in the deployment's history, without gaps: taken under the deployment's row lock.
        deployment: Columns of the deployment as `store.get_deployment` returns them, times as ISO text.
        stage: Likewise of the stage concerned, without its earlier attempts.
        committed_in: TransactionNumber of the one that wrote it.
    """

    __tablename__ = "deployment_event"
    # The history is what an audit of it would say again.
    __table_args__ = (
        Index("ix_deployment_event_feed", "committed_in", "deployment_id", "revision", unique=True),
        {"info": UNAUDITED},
    )

    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]
    deployment: Mapped[dict[str, Any]]  # JSON
    stage: Mapped[dict[str, Any] | None]  # JSON
    actor_id: Mapped[UUID | None]
    time: Mapped[datetime]
    message: Mapped[str]
    committed_in: Mapped[int] = mapped_column(BigInteger, default=TransactionNumber())


class EventFeed(Base):
    """The events of all deployments, as one feed: a single row.

    Attributes:
        id: Of the database, so that cursors of others are known as such.
        last_transaction: On SQLite, the highest TransactionNumber of events that were deleted.
    """

    __tablename__ = "event_feed"
    __table_args__ = ({"info": UNAUDITED},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    last_transaction: Mapped[int] = mapped_column(BigInteger)
