"""The database: functions run to their end in worker threads, as one transaction or as plain reads.

Why threads over a synchronous engine: measured, half the CPU of an asynchronous one; and a cancelled call cannot tear a
transaction, because nothing cancels the thread (docs/adr/0002-transactions-in-threads.md).
"""

import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, TypeVarTuple, overload

import structlog
from sqlalchemy import Executable, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from relman_server.kernel.clock import Clock
from relman_server.kernel.db import audit, failures, idempotency
from relman_server.kernel.db.engine import read_engine, write_engine
from relman_server.kernel.db.snapshot import Aside, Snapshot, moment
from relman_server.kernel.db.transaction import Reading, Transaction
from relman_server.kernel.errors import RelmanError
from relman_server.kernel.events import Events
from relman_server.kernel.identity import Call, current_call
from relman_server.kernel.workers import Workers

Ts = TypeVarTuple("Ts")
T = TypeVar("T")
A = TypeVar("A")

ATTEMPTS = 5
MAX_WAITING = 1000
SQLITE_READERS = 4

log = structlog.get_logger(__name__)


class Replayed(Exception):  # noqa: N818 - not an error: the way out of a transaction that need not run
    """The request was carried out before; this is its answer, serialized."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer


class Database:
    """One database and the threads that talk to it: as many threads as connections.

    Args:
        url: SQLAlchemy URL, `sqlite:///FILE` or `postgresql+psycopg://...`.
        clock: Where transactions get the time from.
        events: Who is told of changes inside transactions.
        connections: Connections for reads, and as many for writes (SQLite: one writer).
    """

    def __init__(self, url: str, *, clock: Clock, events: Events | None = None, connections: int = 8) -> None:
        self.events = events or Events()
        self._clock = clock
        self.writes = write_engine(url, connections)
        self.engine = self.writes.dialect.name
        readers = SQLITE_READERS if self.engine == "sqlite" else connections
        self.reads = read_engine(url, readers)
        audit.watch(self.writes)
        writers = 1 if self.engine == "sqlite" else connections
        self._writers = Workers("write", writers, waiting=MAX_WAITING)
        self._readers = Workers("read", readers, waiting=MAX_WAITING)
        self._aside = None if self.engine == "sqlite" else Aside(self.reads)

    @overload
    async def write(self, fn: Callable[[Transaction, *Ts], T], *args: *Ts) -> T: ...
    @overload
    async def write(
        self, fn: Callable[[Transaction, *Ts], T], *args: *Ts, into: Callable[[T], A], dry_run: bool = False
    ) -> A: ...

    async def write(  # type: ignore[misc]  # mypy cannot compare *Ts with *args
        self,
        fn: Callable[..., Any],
        *args: Any,
        into: Callable[[Any], Any] | None = None,
        dry_run: bool = False,
    ) -> Any:
        """Run `fn(tx, *args)` as one transaction and return its result.

        The function is run again, from the start, after a deadlock or serialization failure.

        Args:
            fn: What to do; it commits when it returns and rolls back when it raises.
            args: Its arguments after the transaction.
            into: Turns the result into the call's response message, inside the transaction: with a request_id the
                answer is kept beside its effect, and a repeated request returns it without running `fn`.
            dry_run: Do everything, then roll back (validate_only).

        Raises:
            ResourceExhausted: Too many calls are waiting already.
            Unavailable: The database does not answer, or takes no writes.
        """
        call = current_call.get()
        return await self._writers.run(lambda: self._write(call, fn, args, into, dry_run=dry_run))

    @overload
    async def read(self, fn: Callable[[Reading, *Ts], T], *args: *Ts) -> T: ...
    @overload
    async def read(self, fn: Callable[[Reading, *Ts], T], *args: *Ts, into: Callable[[T], A]) -> A: ...

    async def read(  # type: ignore[misc]  # mypy cannot compare *Ts with *args
        self, fn: Callable[..., Any], *args: Any, into: Callable[[Any], Any] | None = None
    ) -> Any:
        """Run `fn(reading, *args)` and return its result; every statement sees the newest commits.

        Raises:
            ResourceExhausted: Too many calls are waiting already.
            Unavailable: The database does not answer.
        """
        call = current_call.get()
        return await self._readers.run(lambda: self._read(call, fn, args, into, snapshot=False))

    @overload
    async def snapshot(self, fn: Callable[[Reading, *Ts], T], *args: *Ts) -> T: ...
    @overload
    async def snapshot(self, fn: Callable[[Reading, *Ts], T], *args: *Ts, into: Callable[[T], A]) -> A: ...

    async def snapshot(  # type: ignore[misc]  # mypy cannot compare *Ts with *args
        self, fn: Callable[..., Any], *args: Any, into: Callable[[Any], Any] | None = None
    ) -> Any:
        """As `read`, with all statements seeing the database as it was at the first."""
        call = current_call.get()
        return await self._readers.run(lambda: self._read(call, fn, args, into, snapshot=True))

    @property
    def connections_in_use(self) -> int:
        """How many connections are at work right now, for reads and for writes."""
        pools = (engine.pool for engine in (self.reads, self.writes))
        return sum(pool.checkedout() for pool in pools if isinstance(pool, QueuePool))

    def close(self) -> None:
        """Wait for what runs, and close every connection."""
        self._writers.close()
        self._readers.close()
        if self._aside is not None:
            self._aside.close()
        self.writes.dispose()
        self.reads.dispose()

    def _write(
        self,
        call: Call,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        into: Callable[[Any], Any] | None,
        *,
        dry_run: bool,
    ) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            call.check_deadline()
            committing = False
            try:
                with Session(self.writes, expire_on_commit=False) as session:
                    tx = Transaction(session, call, self._clock.now(), self.events)
                    repeated = call.repeat is not None and into is not None and not dry_run
                    if repeated and (known := idempotency.recall(tx)) is not None:
                        raise Replayed(known)
                    result = fn(tx, *args)
                    answer = into(result) if into else result
                    hooks = tx.finish()
                    if repeated:
                        idempotency.remember(tx, answer.SerializeToString())
                    if dry_run:
                        return answer
                    committing = True
                    session.commit()
                for hook in hooks:
                    hook()
            except DBAPIError as error:
                again = failures.retryable(error) or (error.connection_invalidated and not committing)
                if not again or attempt == ATTEMPTS:
                    self._raise(error)
                time.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret
            except Exception as error:  # noqa: BLE001 - sorted out, and always raised again
                self._raise(error)
            else:
                return answer
        raise AssertionError("unreachable: the last attempt raises")

    def _read(
        self,
        call: Call,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        into: Callable[[Any], Any] | None,
        *,
        snapshot: bool,
    ) -> Any:
        for attempt in (1, 2):
            call.check_deadline()
            try:
                with self.reads.connect() as pooled:
                    if snapshot:
                        with moment(pooled) as connection:
                            result = fn(Snapshot(connection, call, self._clock.now(), self._aside), *args)
                    else:
                        result = fn(Reading(pooled, call, self._clock.now()), *args)
                    return into(result) if into else result
            except DBAPIError as error:
                # A connection of the pool was cut while it lay idle: the pool is fresh now, and reads may repeat.
                if attempt == 2 or not error.connection_invalidated:
                    self._raise(error)
            except Exception as error:  # noqa: BLE001 - sorted out, and always raised again
                self._raise(error)
        raise AssertionError("unreachable: the second attempt raises")

    def _raise(self, error: Exception) -> None:
        """Raise what the caller may know; the log gets the rest."""
        if isinstance(error, RelmanError | Replayed):
            raise error
        translated = failures.translate(error)
        if translated is None:
            raise error
        log.warning("database failure", error=str(error).splitlines()[0], reason=translated.reason)
        raise translated from error

    async def ping(self) -> timedelta:
        """Ask the database for a sign of life; return how long it took. Raises as `read` does."""
        started = time.monotonic()
        await self.read(_one)
        return timedelta(seconds=time.monotonic() - started)

    async def server_version(self) -> str:
        """Return the version of the database."""
        return await self.read(_version)


def _one(tx: Reading) -> None:
    statement: Executable = text("select 1")
    tx.scalar(statement)


def _version(tx: Reading) -> str:
    query = "select sqlite_version()" if tx.engine == "sqlite" else "show server_version"
    return str(tx.scalar(text(query)))
