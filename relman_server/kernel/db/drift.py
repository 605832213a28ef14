"""Fail when the models and the migrations disagree: `python -m relman_server.kernel.db.drift`."""

import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine

from relman_server.kernel.db import schema
from relman_server.kernel.db.engine import write_engine


def differences(engine: Engine) -> list[str]:
    """Migrate an empty database and return what its schema lacks or has too much, in Alembic's words."""
    schema.migrate(engine)
    with engine.connect() as connection, warnings.catch_warnings():
        # SQLite does not tell what an index of an expression is of; PostgreSQL does, and is compared too.
        warnings.filterwarnings("ignore", message=".*expression-based index")
        opts = {"compare_type": True, "include_object": _of_both(connection)}
        context = MigrationContext.configure(connection, opts=opts)
        return [str(difference) for difference in compare_metadata(context, schema.metadata())]


PARTITIONS = "audit_log_"


def _of_both(connection: Connection) -> Callable[..., bool]:
    """Return what tells the parts of the schema to compare: not those that only one of the databases has."""
    virtual: tuple[str, ...] = ()
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'")
        virtual = tuple(row.name for row in rows)

    def include(item: Any, name: str, kind: str, *_: object) -> bool:  # whatever Alembic compares
        if kind == "table":  # not a partition, nor a virtual one, nor one in which that keeps itself
            return not name.startswith(PARTITIONS) and not any(
                name == table or name.startswith(f"{table}_") for table in virtual
            )
        if kind == "index" and connection.dialect.name != "postgresql":
            return not item.dialect_kwargs.get("postgresql_using")
        return True

    return include


def main() -> int:
    """Compare on SQLite; the tests do the same on PostgreSQL."""
    with tempfile.TemporaryDirectory() as folder:
        engine = write_engine(f"sqlite:///{Path(folder) / 'drift.db'}", 1)
        found = differences(engine)
        engine.dispose()
    for difference in found:
        sys.stderr.write(f"{difference}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
