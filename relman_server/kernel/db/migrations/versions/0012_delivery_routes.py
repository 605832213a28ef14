"""for metrics, what of changes and of deployments they would have to look up for each of them.

What a change passed before is a reference: of any number of environments it takes 16 bytes, and fits into an index.

Revision: 0012, after 0011
"""

from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import sqlalchemy as sa
from alembic import op

from relman_server.kernel.db.model import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

KEPT = "change_id, environment_id, service_id, deployment_id, delivered_at, committed_at, basis"
OF_PLACE = "ix_delivered_change_environment_id_delivered_at"
OF_SERVICE = "ix_delivered_change_service_id_environment_id_delivered_at"
OF_DEPLOYMENT = "ix_delivered_change_deployment_id"
REFERENCES = {"environment_id": "environment", "service_id": "service", "deployment_id": "deployment"}
INCLUDED = ("committed_at", "basis", "deployment_id", "route_id", "is_opening")


ENDED = "outcome IS NOT NULL"
UNUSUAL = "outcome IS NOT NULL AND (outcome <> 'SUCCEEDED' OR status = 'ROLLED_BACK' OR kind <> 'PLANNED'{})"
UNUSUAL_FACTS = ("service_id", "id", "kind", "status", "outcome", "production_impacted")
OUTCOME_FACTS = ("id", "status", "outcome")


def upgrade() -> None:
    if _on_postgres():
        op.execute("SET LOCAL statement_timeout = 0")  # many changes and deployments take their time
    _upgrade_changes()
    op.add_column("deployment", sa.Column("blamed", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute(
        "UPDATE deployment SET blamed = true WHERE (id, environment_id) IN"
        " (SELECT deployment_id, environment_id FROM incident WHERE deployment_id IS NOT NULL UNION"
        " SELECT remediates, environment_id FROM deployment"
        " WHERE kind = 'HOTFIX' AND outcome = 'SUCCEEDED' AND remediates IS NOT NULL)"
    )
    _index_deployments(("blamed",), " OR blamed", " OR blamed = 1")
    # Nothing is known of a table that was made anew. Of an empty one PostgreSQL had better know nothing: it then
    # expects that there will be rows.
    if _on_postgres() and op.get_bind().scalar(sa.text("SELECT EXISTS (SELECT FROM delivered_change)")):
        op.execute("ANALYZE delivered_change, deployment")


def _index_deployments(more: tuple[str, ...], on_postgres: str, on_sqlite: str) -> None:
    """Make the indexes anew that have what speaks against a deployment, or have it no more."""
    op.drop_index("ix_deployment_unusual", "deployment")
    op.create_index(
        "ix_deployment_unusual",
        "deployment",
        ["environment_id", "completed_at"],
        postgresql_include=(*UNUSUAL_FACTS, *more),
        postgresql_where=sa.text(UNUSUAL.format(on_postgres)),
        sqlite_where=sa.text(UNUSUAL.format(on_sqlite)),
    )
    if _on_postgres():  # SQLite's has no other columns beside its own
        op.drop_index("ix_deployment_outcome", "deployment")
        op.create_index(
            "ix_deployment_outcome",
            "deployment",
            ["service_id", "environment_id", "completed_at"],
            postgresql_include=(*OUTCOME_FACTS, *more),
            postgresql_where=sa.text(ENDED),
        )


def _upgrade_changes() -> None:
    op.create_table(
        "delivery_route",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("places", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_route")),
        info={"audited": False},
    )
    _set_aside()
    references = {**REFERENCES, "route_id": "delivery_route"}
    columns: list[sa.Column[Any]] = [
        sa.Column("is_opening", sa.Boolean(), nullable=False),
        sa.Column("route_id", sa.Uuid(), nullable=True),
    ]
    _create(columns, references)
    _find_routes()
    op.execute(
        f"INSERT INTO delivered_change ({KEPT}, route_id, is_opening)"  # noqa: S608 - of names
        f" SELECT {KEPT}, route_id, deployment_id = first_value(deployment_id) OVER"
        " (PARTITION BY service_id, environment_id ORDER BY delivered_at, deployment_id)"
        " FROM delivered_before LEFT JOIN route_of ON passed = earlier ORDER BY delivered_at"
    )
    op.execute("DROP TABLE route_of")
    _finish(references, INCLUDED)


def downgrade() -> None:
    if _on_postgres():
        op.execute("SET LOCAL statement_timeout = 0")  # as above
    _index_deployments((), "", "")
    op.drop_column("deployment", "blamed")
    _set_aside()
    _create([sa.Column("earlier", sa.Text(), nullable=False)], REFERENCES)
    op.execute(
        f"INSERT INTO delivered_change ({KEPT}, earlier)"  # noqa: S608 - as above
        f" SELECT {KEPT}, coalesce(replace(places, ',', ''), '') FROM delivered_before"
        " LEFT JOIN delivery_route ON delivery_route.id = delivered_before.route_id ORDER BY delivered_at"
    )
    _finish(REFERENCES, ())
    op.drop_table("delivery_route")


def _set_aside() -> None:
    """Call the table `delivered_before`; made anew it has its rows in order of time, and no gaps."""
    if _on_postgres():
        op.execute("ALTER INDEX pk_delivered_change RENAME TO pk_delivered_before")
    for name in (OF_PLACE, OF_SERVICE, OF_DEPLOYMENT):
        op.drop_index(name, "delivered_change")
    op.rename_table("delivered_change", "delivered_before")


def _on_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _create(columns: list[sa.Column[Any]], references: dict[str, str]) -> None:
    """Create the table with more columns; on PostgreSQL still without references, which it checks faster at once."""
    constraints = [] if _on_postgres() else [_reference(*each) for each in references.items()]
    op.create_table(
        "delivered_change",
        sa.Column("change_id", sa.Uuid(), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("service_id", sa.Uuid(), nullable=False),
        sa.Column("deployment_id", sa.Uuid(), nullable=False),
        sa.Column("delivered_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("committed_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        *columns,
        *constraints,
        sa.PrimaryKeyConstraint("change_id", "environment_id", name=op.f("pk_delivered_change")),
        info={"audited": False},
    )


def _reference(column: str, table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{table}.id"], _name(column), ondelete=_on_delete(column))


def _name(column: str) -> str:
    return op.f(f"fk_delivered_change_{column}")


def _on_delete(column: str) -> str | None:
    return "CASCADE" if column == "deployment_id" else None


def _find_routes() -> None:
    """Write down the routes there are, each once, and in `route_of` which one was meant by what was passed."""
    bind = op.get_bind()
    passed = bind.scalars(sa.text("SELECT DISTINCT earlier FROM delivered_before WHERE earlier <> ''")).all()
    routes = {each: _places(each) for each in passed}
    route = sa.table("delivery_route", sa.column("id", sa.Uuid()), sa.column("places", sa.Text()))
    route_of = op.create_table(
        "route_of",
        sa.Column("passed", sa.Text(), nullable=False),
        sa.Column("route_id", sa.Uuid(), nullable=False),
    )
    if routes:
        bind.execute(sa.insert(route), [{"id": _id(places), "places": places} for places in set(routes.values())])
        found = [{"passed": each, "route_id": _id(places)} for each, places in routes.items()]
        bind.execute(sa.insert(route_of), found)


def _places(passed: str) -> str:
    return ",".join(sorted(passed[start : start + 32] for start in range(0, len(passed), 32)))


def _id(places: str) -> UUID:
    return uuid5(NAMESPACE_OID, places)


def _finish(references: dict[str, str], included: tuple[str, ...]) -> None:
    op.drop_table("delivered_before")
    if _on_postgres():
        for column, table in references.items():
            op.create_foreign_key(
                _name(column), "delivered_change", table, [column], ["id"], ondelete=_on_delete(column)
            )
    op.create_index(OF_PLACE, "delivered_change", ["environment_id", "delivered_at"], postgresql_include=included)
    op.create_index(
        OF_SERVICE,
        "delivered_change",
        ["service_id", "environment_id", "delivered_at"],
        postgresql_include=included,
    )
    op.create_index(OF_DEPLOYMENT, "delivered_change", ["deployment_id"])
