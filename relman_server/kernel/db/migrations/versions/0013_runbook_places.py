"""places of runbooks count changes, and are terms on PostgreSQL; beginnings of three letters are terms.

Both follow from the terms that are there, so no runbook has to be taken apart again.

Revision: 0013, after 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

BATCH = 500


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _upgrade_postgresql()
    else:
        _upgrade_sqlite()


def downgrade() -> None:
    """What is there beyond the older terms harms no search, and places by time are above these."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP SEQUENCE runbook_place")


def _upgrade_postgresql() -> None:
    op.execute("SET LOCAL statement_timeout = 0")  # many runbooks take their time
    op.execute("CREATE SEQUENCE runbook_place AS bigint")
    op.drop_index("ix_runbook_search_document", "runbook_search")
    op.drop_constraint("pk_runbook_search", "runbook_search")
    op.execute("""
        WITH changed AS (SELECT runbook_id, row_number() OVER (ORDER BY place) AS place FROM runbook_search)
        UPDATE runbook_search SET place = changed.place, document = array_to_tsvector(
            ARRAY(SELECT term FROM unnest(tsvector_to_array(document)) AS term WHERE term NOT LIKE '@p%')
            || ARRAY(SELECT '*' || substr(term, 2, 3) FROM unnest(tsvector_to_array(document)) AS term
                     WHERE term ~ '^=[[:alnum:]]+$' AND octet_length(term) = length(term))
            || ARRAY(SELECT '@p' || bits || '-' || to_hex(changed.place >> bits)
                     FROM unnest('{8,12,16,20}'::int[]) AS bits)
        )
        FROM changed WHERE changed.runbook_id = runbook_search.runbook_id
    """)
    op.create_primary_key("pk_runbook_search", "runbook_search", ["place"])
    op.create_index(
        "ix_runbook_search_document",
        "runbook_search",
        ["document"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.execute("SELECT setval('runbook_place', max(place)) FROM runbook_search HAVING max(place) IS NOT NULL")
    if op.get_bind().scalar(sa.text("SELECT EXISTS (SELECT FROM runbook_search)")):
        op.execute("ANALYZE runbook_search")  # as 0012 says


def _upgrade_sqlite() -> None:
    """Write the index anew: of what it keeps no text of, nothing can be changed."""
    connection = op.get_bind()
    op.drop_table("runbook_index")
    op.execute(
        "CREATE VIRTUAL TABLE runbook_index USING fts5"
        "(terms, content='', detail=none, columnsize=0, tokenize=\"ascii tokenchars '=^+~*@-'\")"
    )
    known = sa.text("SELECT place, document FROM runbook_search WHERE place > :after ORDER BY place LIMIT :batch")
    after = -1
    while batch := connection.execute(known, {"after": after, "batch": BATCH}).all():
        rows = [{"place": place, "terms": _with_beginnings(document)} for place, document in batch]
        connection.execute(sa.text("UPDATE runbook_search SET document = :terms WHERE place = :place"), rows)
        connection.execute(sa.text("INSERT INTO runbook_index (rowid, terms) VALUES (:place, :terms)"), rows)
        after = batch[-1].place


def _with_beginnings(document: str) -> str:
    terms = document.split(" ")
    return " ".join(sorted({*terms, *(f"*{term[1:4]}" for term in terms if term.startswith("=") and term.isascii())}))
