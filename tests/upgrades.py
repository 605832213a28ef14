"""Databases as an older release left them."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from relman_server.kernel.db import schema


def upgrade(engine: Engine, revision: str) -> None:
    """Bring the tables to a revision, the newest or one before."""
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
