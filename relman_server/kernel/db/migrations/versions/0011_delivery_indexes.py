"""indexes for delivery metrics: thin where they count, and one of the deployments that did not go as planned.

Revision: 0011, after 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ENDED = sa.text("outcome IS NOT NULL")
UNUSUAL = sa.text("outcome IS NOT NULL AND (outcome <> 'SUCCEEDED' OR status = 'ROLLED_BACK' OR kind <> 'PLANNED')")
FACTS = ("service_id", "id", "kind", "status", "outcome", "production_impacted")
PLACE = ["environment_id", "completed_at"]
OUTCOME = ("ix_deployment_outcome", ["service_id", "environment_id", "completed_at"])


def upgrade() -> None:
    on_postgres = op.get_bind().dialect.name == "postgresql"
    if on_postgres:
        op.execute("SET LOCAL statement_timeout = 0")  # many deployments take their time
    op.create_index(
        "ix_deployment_unusual",
        "deployment",
        PLACE,
        postgresql_include=FACTS,
        postgresql_where=UNUSUAL,
        sqlite_where=UNUSUAL,
    )
    if on_postgres:
        _replace("ix_deployment_facts", PLACE, ())
        _replace(*OUTCOME, ("id", "status", "outcome"))


def downgrade() -> None:
    op.drop_index("ix_deployment_unusual", "deployment")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL statement_timeout = 0")  # as above
        _replace("ix_deployment_facts", PLACE, FACTS)
        _replace(*OUTCOME, ())


def _replace(name: str, columns: list[str], included: tuple[str, ...]) -> None:
    """Make an index anew that has other columns beside its own; SQLite's have none."""
    op.drop_index(name, "deployment")
    op.create_index(name, "deployment", columns, postgresql_include=included, postgresql_where=ENDED)
