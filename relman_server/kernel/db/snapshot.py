"""One moment of the database, for all statements of a look; on PostgreSQL two connections may share it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.pool import QueuePool

from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.identity import Call

T = TypeVar("T")
U = TypeVar("U")


@contextmanager
def moment(pooled: Connection, exported: str | None = None) -> Iterator[Connection]:
    """Let all statements of the block see the database as it was at the first, or at a moment that is exported."""
    if pooled.dialect.name == "sqlite":
        pooled.exec_driver_sql("BEGIN")
        try:
            yield pooled
        finally:
            pooled.exec_driver_sql("ROLLBACK")
        return
    connection = pooled.execution_options(isolation_level="REPEATABLE READ")
    # Said, since what runs on the driver's cursor would begin it unnoticed, and nobody end it.
    with connection.begin():
        # It is committed, though there is nothing to: after a rollback psycopg forgets what it has prepared.
        if exported is not None:
            connection.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{exported}'")
        yield connection


class Snapshot(Reading):
    """A look at one moment. Arguments as of a Reading, and `aside`: what helps it."""

    def __init__(self, connection: Connection, call: Call, now: datetime, aside: "Aside | None") -> None:
        super().__init__(connection, call, now)
        self._aside = aside

    def both(self, one: Callable[[Reading], T], other: Callable[[Reading], U]) -> tuple[T, U]:
        """As of a Reading; at the same time where that can be."""
        if self._aside is None:
            return super().both(one, other)
        return self._aside.both(self, one, other)


class Aside:
    """A thread that looks at PostgreSQL for a snapshot, by another connection, while the snapshot's own thread does.

    It is for questions that take seconds, nearly all of them PostgreSQL's, which gives each connection a processor. A
    process has one, so that whoever asks much does not take everyone's connections.

    Args:
        engine: Has connections for reads.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, "relman-aside")
        self._free = threading.Lock()

    def both(self, tx: Reading, one: Callable[[Reading], T], other: Callable[[Reading], U]) -> tuple[T, U]:
        """Return what both find at the moment of `tx`; one after the other when there is no help."""
        if not self._free.acquire(blocking=False):
            return one(tx), other(tx)
        try:
            if not self._has_connection():
                return one(tx), other(tx)
            exported = tx.scalar(select(func.pg_export_snapshot()))
            looking = self._thread.submit(self._look, exported, tx, other)
            try:
                found = one(tx)
            finally:  # the moment lasts until both have seen it
                wait([looking])
            return found, looking.result()
        finally:
            self._free.release()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _has_connection(self) -> bool:
        pool = self._engine.pool
        return isinstance(pool, QueuePool) and pool.checkedout() < pool.size()

    def _look(self, exported: str, tx: Reading, other: Callable[[Reading], U]) -> U:
        with self._engine.connect() as pooled, moment(pooled, exported) as connection:
            return other(Reading(connection, tx.call, tx.now))
