"""incidents; numbers that pipelines measured; which change reached which environment when.

Revision: 0009, after 0008
"""

import json
import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

import relman_server.kernel.db.model

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

OPEN = "resolved_at IS NULL"
ENDED = "outcome IS NOT NULL"
HOTFIX = "kind = 'HOTFIX' AND remediates IS NOT NULL"
FACTS = ("service_id", "id", "kind", "status", "outcome", "production_impacted")


def upgrade() -> None:
    op.create_table(
        "incident",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("service_id", sa.Uuid(), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("deployment_id", sa.Uuid(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("detected_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=True),
        sa.Column("external_url", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["service_id"], ["service.id"], name=op.f("fk_incident_service_id")),
        sa.ForeignKeyConstraint(["environment_id"], ["environment.id"], name=op.f("fk_incident_environment_id")),
        sa.ForeignKeyConstraint(["deployment_id"], ["deployment.id"], name=op.f("fk_incident_deployment_id")),
        sa.ForeignKeyConstraint(["created_by"], ["user_account.id"], name=op.f("fk_incident_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident")),
    )
    op.create_index(op.f("ix_incident_detected_at_id"), "incident", ["detected_at", "id"])
    op.create_index(op.f("ix_incident_created_at_id"), "incident", ["created_at", "id"])
    op.create_index("ix_incident_ended", "incident", [sa.text("coalesce(resolved_at, created_at)"), "id"])
    op.create_index(op.f("ix_incident_service_id_detected_at_id"), "incident", ["service_id", "detected_at", "id"])
    op.create_index(
        op.f("ix_incident_environment_id_detected_at_id"), "incident", ["environment_id", "detected_at", "id"]
    )
    op.create_index(op.f("ix_incident_deployment_id_resolved_at"), "incident", ["deployment_id", "resolved_at"])
    op.create_index(
        "ix_incident_open",
        "incident",
        ["service_id", "environment_id"],
        postgresql_where=sa.text(OPEN),
        sqlite_where=sa.text(OPEN),
    )

    op.create_table(
        "deployment_metric",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("deployment_id", sa.Uuid(), nullable=False),
        sa.Column("metric_name", sa.Text(), nullable=False),
        sa.Column("metric_value", sa.Double(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("created_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployment.id"], name=op.f("fk_deployment_metric_deployment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment_metric")),
        sa.UniqueConstraint(
            "deployment_id", "metric_name", name=op.f("uq_deployment_metric_deployment_id_metric_name")
        ),
    )
    op.create_index(op.f("ix_deployment_metric_created_at_id"), "deployment_metric", ["created_at", "id"])
    op.create_index(
        op.f("ix_deployment_metric_metric_name_created_at_id"),
        "deployment_metric",
        ["metric_name", "created_at", "id"],
    )
    op.create_index(op.f("ix_deployment_metric_metric_value_id"), "deployment_metric", ["metric_value", "id"])

    op.create_table(
        "delivered_change",
        sa.Column("change_id", sa.Uuid(), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("service_id", sa.Uuid(), nullable=False),
        sa.Column("deployment_id", sa.Uuid(), nullable=False),
        sa.Column("delivered_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("committed_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("earlier", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environment.id"], name=op.f("fk_delivered_change_environment_id")
        ),
        sa.ForeignKeyConstraint(["service_id"], ["service.id"], name=op.f("fk_delivered_change_service_id")),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployment.id"], name=op.f("fk_delivered_change_deployment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("change_id", "environment_id", name=op.f("pk_delivered_change")),
        info={"audited": False},
    )
    op.create_index(
        op.f("ix_delivered_change_environment_id_delivered_at"),
        "delivered_change",
        ["environment_id", "delivered_at"],
    )
    op.create_index(
        op.f("ix_delivered_change_service_id_environment_id_delivered_at"),
        "delivered_change",
        ["service_id", "environment_id", "delivered_at"],
    )
    op.create_index(op.f("ix_delivered_change_deployment_id"), "delivered_change", ["deployment_id"])
    _deliver()

    op.create_index(
        "ix_deployment_facts",
        "deployment",
        ["environment_id", "completed_at"],
        postgresql_include=FACTS,
        postgresql_where=sa.text(ENDED),
        sqlite_where=sa.text(ENDED),
    )
    op.create_index(
        "ix_deployment_hotfix",
        "deployment",
        ["remediates", "environment_id", "completed_at"],
        postgresql_where=sa.text(HOTFIX),
        sqlite_where=sa.text(HOTFIX),
    )


def _deliver() -> None:
    """Write down of what succeeded already which changes it brought first."""
    bind = op.get_bind()
    moment = relman_server.kernel.db.model.UtcDateTime(timezone=True)
    delivered = sa.table(
        "delivered_change",
        *(sa.column(name, sa.Uuid()) for name in ("change_id", "environment_id", "service_id", "deployment_id")),
        *(sa.column(name, moment) for name in ("delivered_at", "committed_at")),
        sa.column("basis", sa.Text()),
        sa.column("earlier", sa.Text()),
    )
    successes = sa.text(
        "SELECT d.id, d.service_id, d.environment_id, d.completed_at, r.id AS release_id, r.git_commit, r.changes,"
        " r.created_at FROM deployment d JOIN release r ON r.id = d.release_id WHERE d.outcome = 'SUCCEEDED'"
        " ORDER BY d.completed_at, d.id"
    ).columns(
        *(sa.column(name, sa.Uuid()) for name in ("id", "service_id", "environment_id", "release_id")),
        completed_at=moment,
        created_at=moment,
    )
    reached: dict[uuid.UUID, list[uuid.UUID]] = {}
    made: dict[uuid.UUID, datetime] = {}
    found: list[dict[str, Any]] = []
    for row in bind.execute(successes):
        for key, committed_at, basis in _changes(row, made):
            places = reached.setdefault(key, [])
            if row.environment_id in places:
                continue
            found.append(
                {
                    "change_id": key,
                    "environment_id": row.environment_id,
                    "service_id": row.service_id,
                    "deployment_id": row.id,
                    "delivered_at": row.completed_at,
                    "committed_at": committed_at,
                    "basis": basis,
                    "earlier": "".join(place.hex for place in places),
                }
            )
            places.append(row.environment_id)
    if found:
        bind.execute(sa.insert(delivered), found)


def _changes(row: Any, made: dict[uuid.UUID, datetime]) -> list[tuple[uuid.UUID, datetime, str]]:  # of a select
    changes = json.loads(row.changes) if isinstance(row.changes, str) else row.changes
    timed = {
        uuid.uuid5(row.service_id, change["commit"]): datetime.fromisoformat(change["committed_at"])
        for change in reversed(changes)
        if change.get("committed_at")
    }
    if timed:
        for key, moment in timed.items():
            made.setdefault(key, moment)
        return [(key, moment, "changes") for key, moment in timed.items()]
    key = uuid.uuid5(row.service_id, row.git_commit or str(row.release_id))
    if key in made and row.git_commit:
        return [(key, made[key], "git_commit")]
    return [(key, row.created_at, "release")]


def downgrade() -> None:
    op.drop_index("ix_deployment_hotfix", "deployment")
    op.drop_index("ix_deployment_facts", "deployment")
    op.drop_table("delivered_change")
    op.drop_table("deployment_metric")
    op.drop_table("incident")
