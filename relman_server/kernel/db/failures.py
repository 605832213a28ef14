"""What went wrong in the database, said in relman's own words; the driver's words go to the log only."""

import sqlite3
import sys
from typing import TYPE_CHECKING, TypeGuard

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from relman_server.kernel.errors import Aborted, InvalidInput, RelmanError, Unavailable

if TYPE_CHECKING:
    import psycopg

RETRIED = {"40001", "40P01"}  # serialization failure, deadlock
_READ_ONLY = {"25006", "53100", "53200"}  # read-only transaction, disk full, out of memory
# A number too large for its column, a character that the database cannot hold: inputs should have refused it.
_UNSTORABLE = {"22003", "22021"}
_BUSY = {"55P03", "57014"}  # lock timeout, statement timeout
_SQLITE_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def retryable(error: DBAPIError) -> bool:
    """Whether the same function may well succeed when run again at once."""
    return _is_postgres(error.orig) and error.orig.sqlstate in RETRIED


def is_duplicate(error: IntegrityError) -> bool:
    """Whether a row with the same key exists."""
    return _constraint(error) in {"23505", sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}


def is_reference(error: IntegrityError) -> bool:
    """Whether a row refers to one that does not exist, or others refer to one that is deleted."""
    return _constraint(error) in {"23503", sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY}


def _constraint(error: IntegrityError) -> str | int | None:
    return error.orig.sqlstate if _is_postgres(error.orig) else getattr(error.orig, "sqlite_errorcode", None)


def _is_postgres(error: object) -> "TypeGuard[psycopg.Error]":
    """Whether the driver of PostgreSQL raised it; an embedded server never loads that, and saves 12 MiB."""
    driver = sys.modules.get("psycopg")
    return driver is not None and isinstance(error, driver.Error)


def translate(error: Exception) -> RelmanError | None:
    """Return what to tell the caller; None for what should never happen (a programming error)."""
    if isinstance(error, PoolTimeout):
        return Unavailable("The database is busy; try again in a moment.")
    cause = error.orig if isinstance(error, DBAPIError) else error
    if _is_postgres(cause):
        return _postgres(cause, operational=isinstance(error, OperationalError | InterfaceError))
    if isinstance(cause, sqlite3.Error):
        return _sqlite(cause)
    return None


def _postgres(error: "psycopg.Error", *, operational: bool) -> RelmanError | None:
    state = error.sqlstate
    if state in RETRIED:
        return Aborted("Too many changed the same thing at once; repeat the call.")
    if state in _UNSTORABLE:
        return InvalidInput(message="A value in the request is larger than anything that is stored there.")
    if state in _READ_ONLY:
        return _refuses_writes()
    if state in _BUSY:
        return Unavailable("The database is busy; nothing was changed. Try again in a moment.")
    # 08: connection, 53: resources, 57P: the server is going down or starting. None: it does not answer at all.
    if operational and (state is None or state[:2] in {"08", "53"} or state.startswith("57P")):
        return Unavailable("The database does not answer; try again in a moment.")
    return None


def _sqlite(error: sqlite3.Error) -> RelmanError | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code; extended ones stand above it
    if code in _SQLITE_READ_ONLY:
        return _refuses_writes()
    if code in _SQLITE_BUSY:
        return Unavailable("The database is locked by another program; nothing was changed. Try again in a moment.")
    if code == sqlite3.SQLITE_IOERR:
        return Unavailable("The database file cannot be read or written; nothing was changed.")
    return None


def _refuses_writes() -> RelmanError:
    return Unavailable(
        "The database takes no writes (read-only, or its disk is full); nothing was changed.",
        reason="DATABASE_READ_ONLY",
    )
