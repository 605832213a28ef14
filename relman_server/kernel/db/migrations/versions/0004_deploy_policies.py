"""deploy policies, and what they hold for.

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import relman_server.kernel.db.model

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deploy_policy",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("weekly_windows", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("one_time_windows", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["created_by"], ["user_account.id"], name=op.f("fk_deploy_policy_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deploy_policy")),
        sa.UniqueConstraint("name", name=op.f("uq_deploy_policy_name")),
    )
    with op.batch_alter_table("deploy_policy", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deploy_policy_created_at_id"), ["created_at", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_deploy_policy_is_active_name"), ["is_active", "name"], unique=False)

    for frozen in ("service", "environment"):
        table = f"deploy_policy_{frozen}"
        op.create_table(
            table,
            sa.Column("policy_id", sa.Uuid(), nullable=False),
            sa.Column(f"{frozen}_id", sa.Uuid(), nullable=False),
            sa.ForeignKeyConstraint(
                ["policy_id"], ["deploy_policy.id"], name=op.f(f"fk_{table}_policy_id"), ondelete="CASCADE"
            ),
            sa.ForeignKeyConstraint([f"{frozen}_id"], [f"{frozen}.id"], name=op.f(f"fk_{table}_{frozen}_id")),
            sa.PrimaryKeyConstraint("policy_id", f"{frozen}_id", name=op.f(f"pk_{table}")),
        )
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.create_index(batch_op.f(f"ix_{table}_{frozen}_id"), [f"{frozen}_id"], unique=False)


def downgrade() -> None:
    op.drop_table("deploy_policy_environment")
    op.drop_table("deploy_policy_service")
    op.drop_table("deploy_policy")
