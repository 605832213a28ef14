"""the audit log: immutable, in an order that can be sealed, in blocks; on PostgreSQL in a partition for each month.

Revision: 0008, after 0007
"""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import relman_server.kernel.db.model
from relman_client.audit_chain import canonical

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_audit_log_created_at_id": ["created_at", "id"],
    "ix_audit_log_resource_id_created_at_id": ["resource_id", "created_at", "id"],
    "ix_audit_log_resource_type_created_at_id": ["resource_type", "created_at", "id"],
    "ix_audit_log_user_id_created_at_id": ["user_id", "created_at", "id"],
    "ix_audit_log_action_created_at_id": ["action", "created_at", "id"],
    "ix_audit_log_position": ["position"],
}
INDEXES_BEFORE = {
    "ix_audit_log_action_created_at": ["action", "created_at"],
    "ix_audit_log_created_at_id": ["created_at", "id"],
    "ix_audit_log_resource_type_resource_id_created_at": ["resource_type", "resource_id", "created_at"],
    "ix_audit_log_user_id_created_at": ["user_id", "created_at"],
}
REFUSED = sa.text("outcome <> 'SUCCESS'")
COLUMNS = (
    "id, user_id, username, action, resource_type, resource_id, ip_address, user_agent, request_id, outcome, created_at"
)
MOST_PARTITIONS = 240  # months; rows from before them, or from the future, go where no month has a partition


def _columns(details: Any) -> list[sa.Column[Any]]:  # columns of different types
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("username", "action", "resource_type", "resource_id")
        ),
        sa.Column("details", details, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("ip_address", "user_agent", "request_id", "outcome")),
        sa.Column("created_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
    ]


def upgrade() -> None:
    on_postgres = op.get_bind().dialect.name == "postgresql"
    _create_chain(on_postgres=on_postgres)
    for name in INDEXES_BEFORE:
        op.drop_index(name, "audit_log")
    if on_postgres:
        _upgrade_postgres()
    else:
        _upgrade_sqlite()


def _create_chain(*, on_postgres: bool) -> None:
    op.create_table(
        "audit_chain",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("pruned_position", sa.BigInteger(), nullable=False),
        sa.Column("partitions_due", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_chain")),
        info={"audited": False},
    )
    op.create_table(
        "audit_block",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_position", sa.BigInteger(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("rows_hash", sa.Text(), nullable=False),
        sa.Column("newest_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("sealed_at", relman_server.kernel.db.model.UtcDateTime(timezone=True), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_block")),
        info={"audited": False},
    )
    op.create_index("ix_audit_block_last_position_number", "audit_block", ["last_position", "number"])
    op.create_index("ix_audit_block_newest_at_number", "audit_block", ["newest_at", "number"])
    if on_postgres:
        next_month = "(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'"
        op.execute(f"INSERT INTO audit_chain VALUES (gen_random_uuid(), 0, {next_month})")  # noqa: S608 - of literals
    else:
        op.execute("INSERT INTO audit_chain VALUES (lower(hex(randomblob(16))), 0, NULL)")


def _create_indexes() -> None:
    for name, columns in INDEXES.items():
        op.create_index(name, "audit_log", columns)
    op.create_index(
        "ix_audit_log_refused", "audit_log", ["created_at", "id"], postgresql_where=REFUSED, sqlite_where=REFUSED
    )


# SQLite ---------------------------------------------------------------------------------------------------------------

SQLITE_TRIGGERS = {
    "audit_log_update": "BEFORE UPDATE ON audit_log",
    "audit_log_delete": ("BEFORE DELETE ON audit_log WHEN OLD.position > (SELECT pruned_position FROM audit_chain)"),
    # INSERT OR REPLACE deletes without asking a trigger of deletions.
    "audit_log_replace": "BEFORE INSERT ON audit_log WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)",
    "audit_block_replace": (
        "BEFORE INSERT ON audit_block WHEN EXISTS (SELECT 1 FROM audit_block WHERE number = NEW.number)"
    ),
    "audit_block_update": "BEFORE UPDATE ON audit_block",
    "audit_block_delete": "BEFORE DELETE ON audit_block",
    "audit_chain_update": (
        "BEFORE UPDATE ON audit_chain WHEN NEW.id <> OLD.id OR NEW.pruned_position < OLD.pruned_position"
        " OR NEW.pruned_position > (SELECT coalesce(max(last_position), 0) FROM audit_block)"
    ),
    "audit_chain_insert": "BEFORE INSERT ON audit_chain",
    "audit_chain_delete": "BEFORE DELETE ON audit_chain",
}


def _upgrade_sqlite() -> None:
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.create_function("canonical", 1, _canonical, deterministic=True)
    op.create_table(
        "audit_log_after",
        *_columns(sa.Text()),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        info={"audited": False},
    )
    op.execute(
        f"INSERT INTO audit_log_after ({COLUMNS}, details, position)"  # noqa: S608 - of literals
        f" SELECT {COLUMNS}, canonical(details), row_number() OVER (ORDER BY created_at, id) FROM audit_log"
    )
    op.drop_table("audit_log")
    op.rename_table("audit_log_after", "audit_log")
    _create_indexes()
    for name, when in SQLITE_TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {when} BEGIN SELECT RAISE(ABORT, 'the audit log is immutable'); END")


def _canonical(text: str) -> str:
    return canonical(json.loads(text))


# PostgreSQL -----------------------------------------------------------------------------------------------------------

FUNCTIONS = (
    # Who takes a position holds a lock, shared, until its transaction has ended: so while somebody else has it alone,
    # every position that was taken is of a transaction that has ended. 1919249519 is "relo".
    """
    CREATE FUNCTION audit_next_position() RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_advisory_xact_lock_shared(1919249519);
      RETURN nextval('audit_position');
    END $$
    """,
    # The last position that was taken, and all before, by transactions that have ended. The lock is given back at once,
    # with the block that took it; writers that come meanwhile wait, so it is not waited for long.
    """
    CREATE FUNCTION audit_settled_position() RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '250ms' AS $$
    DECLARE settled bigint;
    BEGIN
      BEGIN
        PERFORM pg_advisory_xact_lock(1919249519);
        SELECT last_value INTO settled FROM audit_position;
        RAISE EXCEPTION 'give the lock back' USING ERRCODE = 'RA001';
      EXCEPTION WHEN SQLSTATE 'RA001' THEN
        RETURN settled;
      END;
    END $$
    """,
    """
    CREATE FUNCTION audit_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP = 'DELETE' AND TG_ARGV[0] = 'rows' THEN
        IF OLD.position <= (SELECT pruned_position FROM audit_chain) THEN
          RETURN OLD;
        END IF;
      END IF;
      RAISE EXCEPTION 'the audit log is immutable' USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE FUNCTION audit_chain_moves_on() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.id <> OLD.id OR NEW.pruned_position < OLD.pruned_position
          OR NEW.pruned_position > (SELECT coalesce(max(last_position), 0) FROM audit_block) THEN
        RAISE EXCEPTION 'the audit log is immutable' USING ERRCODE = 'restrict_violation';
      END IF;
      RETURN NEW;
    END $$
    """,
)
# Rows of a partitioned table have the triggers of the whole; TRUNCATE of a partition knows only its own.
TRIGGERS = {
    "audit_rows BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW": "audit_is_immutable('rows')",
    "audit_truncate BEFORE TRUNCATE ON audit_log": "audit_is_immutable()",
    "audit_rows BEFORE UPDATE OR DELETE ON audit_block FOR EACH ROW": "audit_is_immutable()",
    "audit_truncate BEFORE TRUNCATE ON audit_block": "audit_is_immutable()",
    "audit_rows BEFORE UPDATE ON audit_chain FOR EACH ROW": "audit_chain_moves_on()",
    "audit_whole BEFORE INSERT OR DELETE OR TRUNCATE ON audit_chain": "audit_is_immutable()",
}
# The canonical form of what is there already; numbers as PostgreSQL writes them.
CANONICAL = """
    CREATE FUNCTION pg_temp.canonical(value jsonb) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
      RETURN CASE jsonb_typeof(value)
        WHEN 'object' THEN (
          SELECT '{' || coalesce(string_agg(
            to_json(key)::text || ':' || pg_temp.canonical(item), ',' ORDER BY key COLLATE "C"), '') || '}'
          FROM jsonb_each(value) AS each (key, item))
        WHEN 'array' THEN (
          SELECT '[' || coalesce(string_agg(pg_temp.canonical(item), ',' ORDER BY number), '') || ']'
          FROM jsonb_array_elements(value) WITH ORDINALITY AS element (item, number))
        ELSE value::text END;
    END $$
"""


def _upgrade_postgres() -> None:
    op.execute("SET LOCAL statement_timeout = 0")  # a large log takes its time
    op.execute("ALTER TABLE audit_log RENAME TO audit_log_before")
    op.execute("ALTER TABLE audit_log_before RENAME CONSTRAINT pk_audit_log TO pk_audit_log_before")
    op.execute("CREATE SEQUENCE audit_position")
    for function in (*FUNCTIONS, CANONICAL):
        op.execute(function)
    op.create_table(
        "audit_log",
        *_columns(sa.Text()),
        sa.Column("position", sa.BigInteger(), server_default=sa.text("audit_next_position()"), nullable=False),
        sa.PrimaryKeyConstraint("id", "created_at", name=op.f("pk_audit_log")),
        info={"audited": False},
        postgresql_partition_by="RANGE (created_at)",
    )
    op.execute("CREATE TABLE audit_log_default PARTITION OF audit_log DEFAULT")
    partitions = ["audit_log_default", *_create_partitions()]
    op.execute(
        f"INSERT INTO audit_log ({COLUMNS}, details, position)"  # noqa: S608 - of literals
        f" SELECT {COLUMNS}, pg_temp.canonical(details), row_number() OVER (ORDER BY created_at, id)"
        " FROM audit_log_before"
    )
    op.execute("SELECT setval('audit_position', max(position)) FROM audit_log HAVING max(position) IS NOT NULL")
    op.execute("DROP TABLE audit_log_before")
    _create_indexes()
    for trigger, function in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {trigger} EXECUTE FUNCTION {function}")
    for partition in partitions:
        op.execute(
            f"CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON {partition} EXECUTE FUNCTION audit_is_immutable()"
        )


def _create_partitions() -> list[str]:
    """Make a partition for each month that has rows, for this one and for the next two."""
    oldest = op.get_bind().scalar(sa.text("SELECT min(created_at) FROM audit_log_before"))
    now = datetime.now(UTC)
    last = now.year * 12 + now.month - 1
    first = last if oldest is None else min(last, oldest.year * 12 + oldest.month - 1)
    made = []
    for month in range(max(first, last - MOST_PARTITIONS), last + 3):
        begin, end = (f"{each // 12:04}-{each % 12 + 1:02}" for each in (month, month + 1))
        made.append(f"audit_log_{begin.replace('-', '_')}")
        op.execute(
            f"CREATE TABLE {made[-1]} PARTITION OF audit_log"
            f" FOR VALUES FROM ('{begin}-01T00:00:00Z') TO ('{end}-01T00:00:00Z')"
        )
    return made


# Back -----------------------------------------------------------------------------------------------------------------


def downgrade() -> None:
    on_postgres = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "audit_log_before",
        *_columns(sa.JSON().with_variant(postgresql.JSONB(), "postgresql")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log_before")),
        info={"audited": False},
    )
    details = "details::jsonb" if on_postgres else "details"
    op.execute(
        f"INSERT INTO audit_log_before ({COLUMNS}, details) SELECT {COLUMNS}, {details} FROM audit_log"  # noqa: S608
    )
    for name in ("audit_log", "audit_block", "audit_chain"):
        op.drop_table(name)
    if on_postgres:
        for name in ("next_position", "settled_position", "is_immutable"):
            op.execute(f"DROP FUNCTION audit_{name}")
        op.execute("DROP FUNCTION audit_chain_moves_on")
        op.execute("DROP SEQUENCE audit_position")
        op.execute("ALTER TABLE audit_log_before RENAME CONSTRAINT pk_audit_log_before TO pk_audit_log")
    op.rename_table("audit_log_before", "audit_log")
    for name, columns in INDEXES_BEFORE.items():
        op.create_index(name, "audit_log", columns)
