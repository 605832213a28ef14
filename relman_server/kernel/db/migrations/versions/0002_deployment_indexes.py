"""indexes of deployments: lists by completed_at, the newest outcome, who refers to a deleted one.

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_deployment_completed_at_id"))
        batch_op.create_index(
            "ix_deployment_ended", [sa.text("coalesce(completed_at, created_at)"), "id"], unique=False
        )
        batch_op.create_index(
            "ix_deployment_outcome",
            ["service_id", "environment_id", "completed_at"],
            unique=False,
            postgresql_where=sa.text("outcome IS NOT NULL"),
            sqlite_where=sa.text("outcome IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_deployment_remediates"), ["remediates"], unique=False)
        batch_op.create_index(batch_op.f("ix_deployment_retry_of"), ["retry_of"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_deployment_retry_of"))
        batch_op.drop_index(batch_op.f("ix_deployment_remediates"))
        batch_op.drop_index(
            "ix_deployment_outcome",
            postgresql_where=sa.text("outcome IS NOT NULL"),
            sqlite_where=sa.text("outcome IS NOT NULL"),
        )
        batch_op.drop_index("ix_deployment_ended")
        batch_op.create_index(batch_op.f("ix_deployment_completed_at_id"), ["completed_at", "id"], unique=False)
