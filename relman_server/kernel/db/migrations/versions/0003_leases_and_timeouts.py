"""leases, timeouts of stages, and when a waiting deployment is to be looked at again.

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

import relman_server.kernel.db.model

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployment_lease",
        sa.Column("deployment_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fencing_token", sa.Integer(), nullable=False),
        sa.Column("ttl_seconds", sa.Integer(), nullable=False),
        sa.Column("expires_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployment.id"], name=op.f("fk_deployment_lease_deployment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("deployment_id", name=op.f("pk_deployment_lease")),
        info={"audited": False},
    )
    op.add_column(
        "deployment",
        sa.Column("look_again_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=True),
    )
    op.add_column(
        "pipeline_stage", sa.Column("due_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=True)
    )
    for table, column in DUE:
        op.create_index(
            f"ix_{table}_{column}",
            table,
            [column],
            unique=False,
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
            sqlite_where=sa.text(f"{column} IS NOT NULL"),
        )


def downgrade() -> None:
    for table, column in DUE:
        op.drop_index(f"ix_{table}_{column}", table)
    with op.batch_alter_table("pipeline_stage", schema=None) as batch_op:
        batch_op.drop_column("due_at")
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.drop_column("look_again_at")
    op.drop_table("deployment_lease")


DUE = (("deployment_lease", "expires_at"), ("deployment", "look_again_at"), ("pipeline_stage", "due_at"))
