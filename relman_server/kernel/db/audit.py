"""The audit log: rows written by the transaction that makes the change, and the guard that none is forgotten.

The read side is in the folder `audit`.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from math import isfinite
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Connection, Dialect, Index, Text, TextClause, event, inspect, text
from sqlalchemy.engine import Engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.types import TypeDecorator

from relman_client.audit_chain import canonical
from relman_server.kernel.db.model import UNAUDITED, Base
from relman_server.kernel.ids import new_id

MASK = "***"
REFUSED = "outcome <> 'SUCCESS'"


class AuditOutcome(StrEnum):
    """How an attempt ended."""

    SUCCESS = "SUCCESS"
    DENIED = "DENIED"
    FAILED = "FAILED"


class CanonicalJson(TypeDecorator[dict[str, Any]]):
    """JSON kept as the text that is hashed, so that no database writes numbers or orders keys in its own way."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Write the canonical form."""
        return None if value is None else canonical(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> dict[str, Any] | None:  # noqa: ARG002 - as above
        """Read it."""
        return None if value is None else dict(json.loads(value))


class AuditPosition(ColumnElement[int]):
    """The next position in the audit log, taken together with what lets the sealer know that it is about to commit.

    On PostgreSQL that is a lock, shared with everyone who writes; SQLite runs one transaction after the other, and
    there positions go on after those that were pruned.
    """

    inherit_cache = True
    type = BigInteger()


@compiles(AuditPosition, "postgresql")
def _of_postgresql(*_: object, **__: object) -> str:
    return "audit_next_position()"


@compiles(AuditPosition, "sqlite")
def _of_sqlite(*_: object, **__: object) -> str:
    newest = "coalesce((SELECT max(position) FROM audit_log), 0)"
    return f"(SELECT max({newest}, pruned_position) + 1 FROM audit_chain)"  # noqa: S608 - of literals


class AuditEntry(Base):
    """Who did what to which resource, from where, and what changed: `{"changes": {field: [old, new]}, ...}`.

    No row changes, and none goes but by retention: triggers see to that. On PostgreSQL the table has a partition for
    each month.

    Attributes:
        position: Place in the log. Of two rows, one may be committed before another with a lower position.
    """

    __tablename__ = "audit_log"
    __table_args__ = (
        Index(None, "created_at", "id"),
        Index(None, "resource_id", "created_at", "id"),
        Index(None, "resource_type", "created_at", "id"),
        Index(None, "user_id", "created_at", "id"),
        Index(None, "action", "created_at", "id"),
        Index(
            "ix_audit_log_refused",
            "created_at",
            "id",
            postgresql_where=text(REFUSED),
            sqlite_where=text(REFUSED),
        ),
        Index(None, "position"),
        {"info": UNAUDITED},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID | None]
    username: Mapped[str]
    action: Mapped[str]
    resource_type: Mapped[str]
    resource_id: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(CanonicalJson)  # JSON of whatever the resource consists of
    ip_address: Mapped[str]
    user_agent: Mapped[str]
    request_id: Mapped[str]
    outcome: Mapped[str]
    created_at: Mapped[datetime]
    position: Mapped[int] = mapped_column(BigInteger, default=AuditPosition())


class AuditChain(Base):
    """The audit log as a whole: a single row, locked by who seals or prunes.

    Attributes:
        id: Of the database, so that cursors of others are known as such.
        pruned_position: Rows up to here may be removed, and are being. It only rises.
        partitions_due: On PostgreSQL, when partitions for later months are to be made.
    """

    __tablename__ = "audit_chain"
    __table_args__ = ({"info": UNAUDITED},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    pruned_position: Mapped[int] = mapped_column(BigInteger)
    partitions_due: Mapped[datetime | None]


class AuditMissing(AssertionError):  # noqa: N818 - what is the matter, not that something is
    """A transaction changed audited rows and recorded nothing, or recorded another action than its RPC declares."""


Changes = dict[str, list[Any]]  # field -> [old, new], as JSON


@dataclass
class Recorder:
    """What one transaction changed, and what it recorded of it.

    Attributes:
        touched: Audited tables that statements of the transaction changed.
        entries: Audit rows to insert at the commit.
    """

    touched: set[str] = field(default_factory=set)
    entries: list[dict[str, Any]] = field(default_factory=list)  # columns of AuditEntry
    _changes: dict[int, tuple[object, Changes]] = field(default_factory=dict)

    def before_flush(self, session: Session, now: datetime) -> None:
        """Stamp new and changed rows with the time, and remember their old and new values."""
        for entity in session.new:
            for name in ("created_at", "updated_at"):
                if hasattr(entity, name) and getattr(entity, name) is None:
                    setattr(entity, name, now)
            self._note(entity, new=True)
        for entity in session.dirty:
            if session.is_modified(entity):
                if hasattr(entity, "updated_at"):
                    entity.updated_at = now
                self._note(entity, new=False)
        for entity in session.deleted:
            self._note(entity, new=False, deleted=True)

    def changes_of(self, entity: object) -> Changes:
        """Return what changed in a row since it was last asked, sensitive values masked."""
        return self._changes.pop(id(entity), (entity, {}))[1]

    def _note(self, entity: object, *, new: bool, deleted: bool = False) -> None:
        changes = self._changes.setdefault(id(entity), (entity, {}))[1]
        state = inspect(entity)
        assert state is not None
        for attribute in state.mapper.column_attrs:
            column = attribute.columns[0]
            if attribute.key in {"updated_at", "created_at", "row_version"} or column.info.get("internal"):
                continue
            history = state.attrs[attribute.key].history
            value = getattr(entity, attribute.key)
            old = None if new else (history.deleted[0] if history.deleted else value)
            current = None if deleted else value
            if old != current:
                sensitive = column.info.get("sensitive", False)
                before = changes.get(attribute.key, [plain(old, sensitive=sensitive)])[0]
                changes[attribute.key] = [before, plain(current, sensitive=sensitive)]


def plain(value: Any, *, sensitive: bool = False) -> Any:
    """Return a column's value as JSON can hold it; masked when nobody should see it."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return MASK if sensitive and value is not None else value
    if sensitive:
        return MASK
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else str(value)


# What SQLAlchemy writes, wherever in a statement it stands (a DELETE may hide in a query). Values are parameters, so a
# match is never content; a word that is no table ("FOR UPDATE OF") is passed over below.
_CHANGED = re.compile(r'\b(?:INSERT INTO|DELETE FROM|UPDATE) "?(\w+)"?')
# What people write can look like anything, so there it is enough that it may change something.
_MAY_CHANGE = re.compile(r"\b(?:insert|update|delete|merge|replace\s+into)\b", re.IGNORECASE)


def watch(engine: Engine) -> None:
    """Tell the transaction of a connection which audited tables its statements change, bulk statements too."""

    def before_execute(
        connection: Connection,
        clause: Any,  # SQLAlchemy passes any executable
        *_: object,
    ) -> None:
        if isinstance(clause, TextClause) and "recorder" in connection.info and _MAY_CHANGE.search(clause.text):
            raise AuditMissing("text statements cannot be watched: use insert(), update() or delete()")

    def before_cursor_execute(connection: Connection, _: object, statement: str, *__: object) -> None:
        recorder: Recorder | None = connection.info.get("recorder")
        if recorder is not None:
            recorder.touched |= {name for name in _CHANGED.findall(statement) if _is_audited(name)}

    event.listen(engine, "before_execute", before_execute)
    event.listen(engine, "before_cursor_execute", before_cursor_execute)


def _is_audited(name: str) -> bool:
    table = Base.metadata.tables.get(name)
    return table is not None and bool(table.info.get("audited", True))


def check(recorder: Recorder, declared: str | None) -> None:
    """Raise AuditMissing when changes were made that no entry speaks of.

    Args:
        recorder: What the transaction did.
        declared: Action that the RPC's policy names: the first entry must be of it. None for the server's own work.
    """
    actions = [entry["action"] for entry in recorder.entries]
    if recorder.touched and not actions:
        raise AuditMissing(f"changed {', '.join(sorted(recorder.touched))} and recorded nothing")
    if declared is not None and actions and declared not in actions:
        raise AuditMissing(f"recorded {', '.join(actions)}, but the contract declares {declared or 'nothing'}")
