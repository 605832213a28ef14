"""What logic and stores are given: a transaction, with the time, the caller and the means to read and change rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any, TypeVar, cast
from uuid import UUID

from sqlalchemy import Connection, CursorResult, Executable, Row, Table, event, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from relman_server.kernel.db import audit, failures
from relman_server.kernel.db.model import Resource, etag
from relman_server.kernel.db.prepared import Prepared
from relman_server.kernel.errors import Aborted, RelmanError
from relman_server.kernel.events import Events
from relman_server.kernel.identity import Call, Identity
from relman_server.kernel.ids import new_id

R = TypeVar("R", bound=Resource)
T = TypeVar("T")
U = TypeVar("U")
Record = Row[Any]
"""A row of a select: columns are attributes. Which ones, the store function that returns it says."""


Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""Values of a statement's bind parameters. Hot statements are built once, and only these differ from call to call."""


class Reading:
    """A look at the database: one connection, for the duration of one function.

    Attributes:
        now: The time, one and the same throughout.
        call: The RPC that is served.
        engine: "sqlite" or "postgresql".
    """

    def __init__(self, connection: Connection, call: Call, now: datetime) -> None:
        self._connection = connection
        self._execute: Callable[..., Any] = connection.execute
        self.call = call
        self.now = now
        self.engine = connection.dialect.name

    @property
    def caller(self) -> Identity:
        """Who calls; raises Unauthenticated when nobody is known."""
        return self.call.caller

    def rows(self, statement: Executable | Prepared, parameters: Parameters | None = None) -> Sequence[Record]:
        """Return all rows."""
        if isinstance(statement, Prepared):
            return self._rows(statement, parameters)
        return self._execute(statement, parameters).all()  # type: ignore[no-any-return]  # of a Result, whatever executes

    def row(self, statement: Executable | Prepared, parameters: Parameters | None = None) -> Record | None:
        """Return the only row, or None."""
        if isinstance(statement, Prepared):
            found = self._rows(statement, parameters)
            assert len(found) <= 1
            return found[0] if found else None
        return self._execute(statement, parameters).one_or_none()  # type: ignore[no-any-return]  # as above

    def tuples(self, statement: Executable, parameters: Parameters | None = None) -> Iterator[tuple[Any, ...]]:
        """Yield all rows as the driver gives them: without names, and with no type but the driver's own.

        For very many rows: they cost half of what those of `rows` do. SQLite finds them while they are taken, so of
        those that are left nothing is read; PostgreSQL has sent them all by then.
        """
        with closing(self._connection.execute(statement, parameters)) as result:
            cursor: Any = result.cursor  # of the driver
            yield from cursor if self.engine == "sqlite" else cursor.fetchall()

    def scalar(self, statement: Executable | Prepared, parameters: Parameters | None = None) -> Any:
        """Return the first column of the first row, or None."""
        if isinstance(statement, Prepared):
            found = self._rows(statement, parameters)
            return found[0][0] if found else None
        return self._execute(statement, parameters).scalar()

    def both(self, one: "Callable[[Reading], T]", other: "Callable[[Reading], U]") -> tuple[T, U]:
        """Return what two looks find. In a snapshot they may happen at the same time, in two threads."""
        return one(self), other(self)

    def _rows(self, prepared: Prepared, parameters: Parameters | None) -> Sequence[Any]:
        assert isinstance(parameters, dict)
        return prepared.rows(self._connection, parameters)


_ADD_ENTRIES = insert(cast("Table", audit.AuditEntry.__table__))


class Transaction(Reading):
    """A change in the making: it commits as a whole when its function returns, and rolls back when it raises.

    The function may run again from the start after a deadlock, so what must happen once, and outside the database,
    goes into `after_commit`.
    """

    def __init__(self, session: Session, call: Call, now: datetime, events: Events) -> None:
        super().__init__(session.connection(), call, now)
        self._execute = session.execute
        self._session = session
        self._events = events
        self._recorder = audit.Recorder()
        self._hooks: list[Callable[[], None]] = []
        self._connection.info["recorder"] = self._recorder
        event.listen(session, "before_flush", lambda session, *_: self._recorder.before_flush(session, now))

    def tuples(self, statement: Executable, parameters: Parameters | None = None) -> Iterator[tuple[Any, ...]]:
        """As of a Reading."""
        self._session.flush()  # what is pending has to be found
        return super().tuples(statement, parameters)

    def _rows(self, prepared: Prepared, parameters: Parameters | None) -> Sequence[Any]:
        self._session.flush()  # as above
        return super()._rows(prepared, parameters)

    def add(self, entity: object, *, conflict: RelmanError | None = None) -> None:
        """Insert a row; raise `conflict` when one with the same key exists."""
        self.add_all([entity], conflict=conflict)

    def add_all(self, entities: Sequence[object], *, conflict: RelmanError | None = None) -> None:
        """Insert rows of one kind in one statement; raise `conflict` when one with the same key exists."""
        self._session.add_all(entities)
        self.flush(conflict=conflict)

    def delete(self, entity: object, *, conflict: RelmanError | None = None) -> None:
        """Delete a row; raise `conflict` when others refer to it."""
        self._session.delete(entity)
        self._flush(conflict, failures.is_reference)

    def flush(self, *, conflict: RelmanError | None = None) -> None:
        """Send pending changes now; raise `conflict` when a row with the same key exists.

        Raises Aborted when something that they refer to was deleted meanwhile.
        """
        self._flush(conflict, failures.is_duplicate)

    def _flush(self, conflict: RelmanError | None, is_conflict: Callable[[IntegrityError], bool]) -> None:
        try:
            self._session.flush()
        except IntegrityError as error:
            if conflict is not None and is_conflict(error):
                raise conflict from error
            if failures.is_reference(error):
                raise Aborted("Something that it refers to was deleted at the same moment; look again.") from error
            raise
        except StaleDataError as error:
            raise Aborted("Someone else changed it at the same moment; repeat the call.") from error

    def lock(self, model: type[R], row_id: UUID) -> R | None:
        """Return a row for changing, locked until the end of the transaction; None when there is none."""
        statement = select(model).where(model.id == row_id).with_for_update(of=model)
        return self._session.scalars(statement.execution_options(populate_existing=True)).one_or_none()

    def entities(self, statement: Executable) -> Sequence[Any]:
        """Return the rows of a select of a model, for changing."""
        return self._session.scalars(statement).all()

    def execute(self, statement: Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """Run a bulk insert, update or delete."""
        return self._session.execute(statement, parameters)  # type: ignore[return-value]  # of DML it is a CursorResult

    def match_etag(self, entity: Resource, expected: str | None) -> None:
        """Raise Aborted STALE_ETAG when an etag is given and is not the row's."""
        if expected and expected != etag(entity.id, entity.row_version):
            raise Aborted(
                "It changed since it was read: read it again, and decide again.",
                reason="STALE_ETAG",
                metadata={"current_etag": etag(entity.id, entity.row_version)},
            )

    def audit(
        self,
        action: str,
        entity: object,
        *,
        resource_type: str | None = None,
        resource_id: str | None = None,
        outcome: audit.AuditOutcome = audit.AuditOutcome.SUCCESS,
        **details: Any,  # JSON of whatever the action is about
    ) -> None:
        """Record what was done, with what changed in the row since it was read; committed with the change.

        Args:
            action: `resource.verb`, the one that the RPC's policy declares, or a consequence of it.
            entity: The row that was created, changed or deleted.
            resource_type: The field's word for it; by default the action's first half.
            resource_id: By default the row's id.
            outcome: How the attempt ended.
            details: What else to know, for example a reason.
        """
        self._session.flush()
        changes = self._recorder.changes_of(entity)
        identity = self.call.identity
        self._recorder.entries.append(
            {
                "id": new_id(),
                "user_id": identity.user_id if identity else None,
                "username": identity.username if identity else self.call.nobody,
                "action": action,
                "resource_type": resource_type or action.partition(".")[0],
                "resource_id": resource_id or str(getattr(entity, "id", "")),
                "details": {"changes": changes}
                | {k: audit.plain(v) for k, v in details.items() if v not in (None, "")},
                "ip_address": self.call.address,
                "user_agent": self.call.user_agent,
                "request_id": self.call.request_id,
                "outcome": str(outcome),
                "created_at": self.now,
            }
        )

    def emit(self, event: object) -> None:
        """Tell the resources above, in this transaction."""
        self._session.flush()
        self._events.publish(self, event)

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call the hook once the change is on disk, in the worker thread; it must be quick and not raise."""
        self._hooks.append(hook)

    def finish(self) -> list[Callable[[], None]]:
        """Write what is pending, check that it was audited, and return what to do after the commit."""
        self.flush()
        audit.check(self._recorder, self.call.policy.action if self.call.policy else None)
        if self._recorder.entries:
            self._connection.execute(_ADD_ENTRIES, self._recorder.entries)
        return self._hooks
