"""runbooks, their versions, and the full-text index over them.

Revision: 0010, after 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

from relman_server.kernel.db.model import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "runbook",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("service_id", sa.Uuid(), nullable=True),
        sa.Column("environment_id", sa.Uuid(), nullable=True),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("updated_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["service_id"], ["service.id"], name=op.f("fk_runbook_service_id")),
        sa.ForeignKeyConstraint(["environment_id"], ["environment.id"], name=op.f("fk_runbook_environment_id")),
        sa.ForeignKeyConstraint(["created_by"], ["user_account.id"], name=op.f("fk_runbook_created_by")),
        sa.ForeignKeyConstraint(["updated_by"], ["user_account.id"], name=op.f("fk_runbook_updated_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runbook")),
    )
    for column in ("title", "created_at", "updated_at"):
        op.create_index(op.f(f"ix_runbook_{column}_id"), "runbook", [column, "id"])
    for column in ("service_id", "environment_id"):
        op.create_index(op.f(f"ix_runbook_{column}_title_id"), "runbook", [column, "title", "id"])
    op.create_table(
        "runbook_version",
        sa.Column("runbook_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("service_id", sa.Uuid(), nullable=True),
        sa.Column("service_name", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=True),
        sa.Column("environment_name", sa.Text(), nullable=False),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("updated_by", sa.Uuid(), nullable=True),
        sa.Column("updated_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["runbook_id"], ["runbook.id"], name=op.f("fk_runbook_version_runbook_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["updated_by"], ["user_account.id"], name=op.f("fk_runbook_version_updated_by")),
        sa.PrimaryKeyConstraint("runbook_id", "version", name=op.f("pk_runbook_version")),
        info={"audited": False},
    )
    op.create_table(
        "runbook_tag",
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("runbook_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["runbook_id"], ["runbook.id"], name=op.f("fk_runbook_tag_runbook_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tag", "runbook_id", name=op.f("pk_runbook_tag")),
        info={"audited": False},
    )
    op.create_index(op.f("ix_runbook_tag_runbook_id"), "runbook_tag", ["runbook_id"])
    op.create_table(
        "runbook_search",
        sa.Column("place", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("runbook_id", sa.Uuid(), nullable=False),
        sa.Column("document", sa.Text().with_variant(TSVECTOR(), "postgresql"), nullable=False),
        sa.Column("stems", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["runbook_id"], ["runbook.id"], name=op.f("fk_runbook_search_runbook_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_runbook_search")),
        sa.UniqueConstraint("runbook_id", name=op.f("uq_runbook_search_runbook_id")),
        info={"audited": False},
    )
    if op.get_bind().dialect.name == "postgresql":
        _index_postgresql()
    else:
        # Terms are ASCII signs, letters and digits, and whatever is beyond ASCII; an index without texts and positions.
        op.execute(
            "CREATE VIRTUAL TABLE runbook_index USING fts5"
            "(terms, content='', detail=none, columnsize=0, tokenize=\"ascii tokenchars '=^+~*@-'\")"
        )


def _index_postgresql() -> None:
    # Long columns stand apart, so that the rows of the many runbooks with a common word are read from few pages.
    op.execute("ALTER TABLE runbook_search SET (toast_tuple_target = 512)")
    op.execute("ALTER TABLE runbook_search ALTER document SET STORAGE EXTERNAL, ALTER stems SET STORAGE EXTERNAL")
    # Without fastupdate no search pays for what was written before.
    op.create_index(
        "ix_runbook_search_document",
        "runbook_search",
        ["document"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        op.drop_table("runbook_index")
    for name in ("runbook_search", "runbook_tag", "runbook_version", "runbook"):
        op.drop_table(name)
