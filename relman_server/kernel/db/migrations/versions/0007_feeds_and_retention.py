"""the feed of all deployments' events, in the order of commits; retention of logs.

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

import relman_server.kernel.db.model

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "log_expiry",
        sa.Column("deployment_id", sa.Uuid(), nullable=False),
        sa.Column("ended_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployment.id"], name=op.f("fk_log_expiry_deployment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("deployment_id", name=op.f("pk_log_expiry")),
        info={"audited": False},
    )
    op.create_index("ix_log_expiry_ended_at", "log_expiry", ["ended_at"])
    op.execute(
        "INSERT INTO log_expiry SELECT deployment.id, deployment.completed_at FROM deployment"
        " JOIN log_head ON log_head.deployment_id = deployment.id WHERE deployment.completed_at IS NOT NULL"
    )
    op.add_column(
        "log_head", sa.Column("removed_position", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.create_table(
        "event_feed",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("last_transaction", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_feed")),
        info={"audited": False},
    )
    # What is there already was committed before all that will be.
    op.add_column(
        "deployment_event", sa.Column("committed_in", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.create_index(
        "ix_deployment_event_feed", "deployment_event", ["committed_in", "deployment_id", "revision"], unique=True
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "ALTER TABLE deployment_event ALTER COLUMN committed_in SET DEFAULT pg_current_xact_id()::text::bigint"
        )
        op.execute("INSERT INTO event_feed VALUES (gen_random_uuid(), 0)")
    else:
        op.execute("INSERT INTO event_feed VALUES (lower(hex(randomblob(16))), 0)")


def downgrade() -> None:
    op.drop_table("event_feed")
    op.drop_index("ix_deployment_event_feed", "deployment_event")
    with op.batch_alter_table("deployment_event", schema=None) as batch_op:
        batch_op.drop_column("committed_in")
    with op.batch_alter_table("log_head", schema=None) as batch_op:
        batch_op.drop_column("removed_position")
    op.drop_table("log_expiry")
