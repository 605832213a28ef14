"""rollbacks.

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

import relman_server.kernel.db.model

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

OPEN = "status IN ('PENDING', 'IN_PROGRESS')"


def upgrade() -> None:
    op.create_table(
        "rollback",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("deployment_id", sa.Uuid(), nullable=False),
        sa.Column("rollback_deployment_id", sa.Uuid(), nullable=False),
        sa.Column("target_release_id", sa.Uuid(), nullable=False),
        sa.Column("service_id", sa.Uuid(), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("quarantine", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("initiated_by", sa.Uuid(), nullable=True),
        sa.Column("completed_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=True),
        sa.Column("created_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["deployment_id"], ["deployment.id"], name=op.f("fk_rollback_deployment_id")),
        sa.ForeignKeyConstraint(
            ["rollback_deployment_id"], ["deployment.id"], name=op.f("fk_rollback_rollback_deployment_id")
        ),
        sa.ForeignKeyConstraint(["target_release_id"], ["release.id"], name=op.f("fk_rollback_target_release_id")),
        sa.ForeignKeyConstraint(["service_id"], ["service.id"], name=op.f("fk_rollback_service_id")),
        sa.ForeignKeyConstraint(["environment_id"], ["environment.id"], name=op.f("fk_rollback_environment_id")),
        sa.ForeignKeyConstraint(["initiated_by"], ["user_account.id"], name=op.f("fk_rollback_initiated_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollback")),
    )
    op.create_index(
        "uq_rollback_open",
        "rollback",
        ["deployment_id"],
        unique=True,
        postgresql_where=sa.text(OPEN),
        sqlite_where=sa.text(OPEN),
    )
    op.create_index("ix_rollback_ended", "rollback", [sa.text("coalesce(completed_at, created_at)"), "id"])
    op.create_index(op.f("ix_rollback_rollback_deployment_id"), "rollback", ["rollback_deployment_id"], unique=True)
    op.create_index(op.f("ix_rollback_target_release_id"), "rollback", ["target_release_id"])
    op.create_index(op.f("ix_rollback_created_at_id"), "rollback", ["created_at", "id"])
    for column in ("deployment_id", "service_id", "environment_id", "status"):
        op.create_index(op.f(f"ix_rollback_{column}_created_at_id"), "rollback", [column, "created_at", "id"])


def downgrade() -> None:
    op.drop_table("rollback")
