"""The schema: its migrations, applied and compared. Every resource's model.py belongs to it by being there."""

import importlib
import importlib.util
import pkgutil
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData

import relman_server
from relman_server.kernel.db.model import Base

MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaMismatch(Exception):  # noqa: N818 - a state of affairs, said in one line
    """The database's schema is not the one this version needs."""


def metadata() -> MetaData:
    """Return every table there is, the kernel's and those of all resources."""
    importlib.import_module("relman_server.kernel.db.audit")
    importlib.import_module("relman_server.kernel.db.idempotency")
    for package in pkgutil.iter_modules(relman_server.__path__):
        name = f"relman_server.{package.name}.model"
        if package.ispkg and importlib.util.find_spec(name):
            importlib.import_module(name)
    return Base.metadata


@cache
def _scripts() -> ScriptDirectory:
    """Read the migrations once: Alembic compiles each of them every time it does."""
    return ScriptDirectory(str(MIGRATIONS))


def newest() -> str:
    """Return the revision that this version needs."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


def _known() -> set[str]:
    return {script.revision for script in _scripts().walk_revisions()}


def current(engine: Engine) -> str | None:
    """Return the revision a database has; None when it is empty."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def migrate(engine: Engine) -> None:
    """Bring a database to the newest revision, all of it or nothing; concurrent callers wait for each other.

    Raises SchemaMismatch when the database is of a newer version.
    """
    found = current(engine)
    if found is not None and found not in _known():
        raise SchemaMismatch(f"the database was written by a newer relman (schema {found}); upgrade relman")
    if found == newest():
        return
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Held to the end of the transaction; 0x72656c6d is "relm".
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1919249517)")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def require_newest(engine: Engine) -> None:
    """Raise SchemaMismatch, saying what to do, unless a database has the revision this version needs."""
    found = current(engine)
    if found == newest():
        return
    if found is not None and found not in _known():
        raise SchemaMismatch(f"the database was written by a newer relman (schema {found}); upgrade relman")
    raise SchemaMismatch("the database's schema is missing or older than this relman; run `relman-server migrate`")
