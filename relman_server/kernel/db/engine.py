"""Engines: how connections to SQLite and PostgreSQL are opened, and what holds on every one of them."""

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import ConnectionPoolEntry

if TYPE_CHECKING:
    import psycopg

# hide_parameters throughout: what an unexpected error says is logged, and the values of a statement may be secrets.
BUSY_SECONDS = 5
STATEMENTS = 250
"""Compiled statements that an engine keeps, at 70 KB each, and for a while up to half as many more.

A day's work has some 130. Lists have one for each set of filters and each order; of those, the ones in use stay.
"""
LIMITS = {"statement_timeout": 30, "lock_timeout": 10, "idle_in_transaction_session_timeout": 30}
"""Seconds, on PostgreSQL."""
POOLED = "relman_pooled"
"""Notes of a connection that there is a pooler between."""
ALIVE: dict[str, Any] = {  # driver options
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""How a connection to PostgreSQL learns that the other end is gone."""


def write_engine(url: str | URL, connections: int) -> Engine:
    """Return the engine of transactions: they commit as a whole."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        # One writer: SQLite has no more, and waiting for each other inside the process would be busy work.
        engine = create_engine(parsed, pool_size=1, **_sqlite_options())
        _prepare_sqlite(engine)
        event.listen(engine, "begin", _begin_immediate)
        return engine
    engine = create_engine(parsed, **_postgres_options(connections))
    event.listen(engine, "connect", _prepare_postgres)
    event.listen(engine, "begin", _limit_pooled_transaction)
    return engine


def read_engine(url: str | URL, connections: int) -> Engine:
    """Return the engine of reads: every statement stands alone, one round trip and nothing around it."""
    parsed = make_url(url)
    options: dict[str, Any] = {  # engine options
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "pool_reset_on_return": None,
    }
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, pool_size=connections, **_sqlite_options(), **options)
        _prepare_sqlite(engine)
        return engine
    engine = create_engine(parsed, **_postgres_options(connections), **options)
    event.listen(engine, "connect", _prepare_postgres)
    return engine


def _sqlite_options() -> dict[str, Any]:  # engine options
    return {
        "max_overflow": 0,
        "pool_timeout": BUSY_SECONDS,
        "hide_parameters": True,
        "query_cache_size": STATEMENTS,
    }


def _postgres_options(connections: int) -> dict[str, Any]:  # engine options
    return {
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": 5,
        "hide_parameters": True,
        "query_cache_size": STATEMENTS,
        "connect_args": {"application_name": "relman", **ALIVE},
    }


def _prepare_postgres(connection: "psycopg.Connection", record: ConnectionPoolEntry) -> None:
    """Set what holds for the session; not as startup parameters, which poolers refuse."""
    # Poolers such as PgBouncer follow this one; psycopg reads times by it.
    connection.execute("SET TIME ZONE 'UTC'")
    if is_pooled(connection):
        # The next transaction may have another session: what was prepared or set in this one would not be there.
        connection.prepare_threshold = None
        record.info[POOLED] = True
    else:
        connection.execute(_limits("SET"))
    connection.commit()


def is_pooled(connection: "psycopg.Connection") -> bool:
    """Whether there is a pooler between: it gives its clients process numbers of its own."""
    return connection.execute("SELECT pg_backend_pid()").fetchone() != (connection.info.backend_pid,)


def _limit_pooled_transaction(connection: Connection) -> None:
    if POOLED in connection.info:
        cursor = connection.connection.cursor()
        cursor.execute(_limits("SET LOCAL"))
        cursor.close()


def _limits(command: str) -> bytes:
    """Return one message that sets how long statements, locks and idle transactions may last."""
    return "; ".join(f"{command} {name} = '{seconds}s'" for name, seconds in LIMITS.items()).encode()


def _prepare_sqlite(engine: Engine) -> None:
    def on_connect(connection: sqlite3.Connection, _: object) -> None:
        # Transactions are begun below, not by the driver (which would begin them deferred).
        connection.isolation_level = None
        # SQLite's own knows only ASCII: who looks for "Ärger" would not find it.
        connection.create_function("lower", 1, _lower, deterministic=True)
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        # A read-only file cannot be switched to WAL; it can still be read, so that is no reason to fail here.
        with suppress(sqlite3.OperationalError):
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # an acknowledged write survives a power cut
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.close()

    event.listen(engine, "connect", on_connect)


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _begin_immediate(connection: Connection) -> None:
    # Deferred transactions that read and then write lose to each other (SQLITE_BUSY at the first write); this one
    # waits its turn at the start.
    cursor = connection.connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    cursor.close()
