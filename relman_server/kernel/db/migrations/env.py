"""How Alembic reaches the database: over the connection that kernel/db/schema.py opened, never by a URL."""

from alembic import context

from relman_server.kernel.db import schema

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=schema.metadata(),
    render_as_batch=True,  # SQLite cannot alter a table; batch mode rebuilds it
    compare_type=True,
)
context.run_migrations()
