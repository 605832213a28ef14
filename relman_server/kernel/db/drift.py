"""Fail when the models and the migrations disagree: `python -m relman_server.kernel.db.drift`."""

import sys
import tempfile
import warnings
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from relman_server.kernel.db import schema
from relman_server.kernel.db.engine import write_engine


def differences(engine: Engine) -> list[str]:
    """Migrate an empty database and return what its schema lacks or has too much, in Alembic's words."""
    schema.migrate(engine)
    with engine.connect() as connection, warnings.catch_warnings():
        # SQLite does not tell what an index of an expression is of; PostgreSQL does, and is compared too.
        warnings.filterwarnings("ignore", message=".*expression-based index")
        options = {"compare_type": True, "include_name": _is_compared}
        context = MigrationContext.configure(connection, opts=options)
        return [str(difference) for difference in compare_metadata(context, schema.metadata())]


def _is_compared(name: str | None, kind: str, _: object) -> bool:
    """Partitions are no tables of the model."""
    return kind != "table" or name is None or not name.startswith("audit_log_")


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
