"""Queries of the audit log."""

from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, Text, cast, func, literal_column, select, type_coerce

from relman_server.audit.inputs import Filter, ListAuditLogs
from relman_server.audit.model import AuditBlock
from relman_server.kernel.db.audit import REFUSED, AuditChain, AuditEntry, AuditOutcome
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.kernel.errors import InvalidInput, NotFound, Violation
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Ordering, paginate

FindUser = Callable[[Reading, str], Record]
"""Returns the user that a reference means, or raises NotFound: users are above the audit log."""

SYSTEM = "system"
TYPED = ("created_at", "id", "user_id")
"""Columns of a row that are no texts."""
_ORDERING = Ordering({"created_at": AuditEntry.created_at}, default="created_at desc", tie=AuditEntry.id)


@cache
def _entries() -> Select[Any]:
    return select(*AuditEntry.__table__.columns, block_of(AuditEntry.position).label("block"))


def block_of(position: SQLColumnExpression[int]) -> ColumnElement[int]:
    """Return the number of the block that seals the row at a position; 0 when none does."""
    found = (
        select(AuditBlock.number)
        .where(AuditBlock.last_position >= position)
        .order_by(AuditBlock.last_position, AuditBlock.number)
        .limit(1)
    )
    return func.coalesce(found.scalar_subquery(), 0)


def get_audit_log(tx: Reading, reference: str) -> Record:
    """Return a row with the number of its `block`; raises NotFound."""
    row_id = parse_id(reference)
    if row_id is None:
        raise InvalidInput(Violation("audit_log", "must be the id of an audit log: a UUID of 36 characters"))
    found = tx.row(_entries().where(AuditEntry.id == row_id))
    if found is None:
        raise NotFound("audit_log", reference)
    return found


def list_audit_logs(tx: Reading, wanted: ListAuditLogs, find_user: FindUser) -> Listed:
    """Return a page of rows, each with the number of its `block`; raises NotFound for an unknown user."""
    return paginate(tx, _entries().where(*conditions(tx, wanted, find_user)), _ORDERING, wanted)


def conditions(tx: Reading, wanted: Filter, find_user: FindUser) -> list[ColumnElement[bool]]:
    """Return what a filter means; raises NotFound for an unknown user."""
    found: list[ColumnElement[bool]] = []
    if wanted.start_date:
        found.append(AuditEntry.created_at >= wanted.start_date)
    if wanted.end_date:
        found.append(AuditEntry.created_at < wanted.end_date)
    if wanted.action.endswith("*"):
        found.append(AuditEntry.action.startswith(wanted.action[:-1], autoescape=True))
    elif wanted.action:
        found.append(AuditEntry.action == wanted.action)
    if wanted.resource_id:
        found.append(AuditEntry.resource_id == wanted.resource_id)
    if wanted.resource_type:
        # Of one resource there are few rows, of one type there are many: the index of types is not for both.
        of_one = bool(wanted.resource_id)
        found.append((AuditEntry.resource_type + "" if of_one else AuditEntry.resource_type) == wanted.resource_type)
    if wanted.user:
        found.extend(_of_user(tx, wanted.user, find_user))
    if wanted.outcome:
        found.extend(_with_outcome(wanted.outcome))
    return found


def _of_user(tx: Reading, reference: str, find_user: FindUser) -> list[ColumnElement[bool]]:
    try:
        user_id: UUID = find_user(tx, reference).id
    except NotFound:
        if reference != SYSTEM:
            raise
        return [AuditEntry.user_id.is_(None), AuditEntry.username == SYSTEM]
    return [AuditEntry.user_id == user_id]


def _with_outcome(outcome: AuditOutcome) -> list[ColumnElement[bool]]:
    """Return the condition in words, not as a parameter: planners use an index of a part only when they see why."""
    same = AuditEntry.outcome == literal_column(f"'{outcome}'")
    return [same] if outcome is AuditOutcome.SUCCESS else [same, literal_column(REFUSED).self_group()]


# In the order of the log ----------------------------------------------------------------------------------------------


def chain(tx: Reading) -> Record:
    """Return the `id` of the log and its `pruned_position`."""
    found = tx.row(select(AuditChain.id, AuditChain.pruned_position))
    assert found is not None
    return found


def head(tx: Reading) -> Record | None:
    """Return the newest block; None before there is one."""
    return tx.row(select(*AuditBlock.__table__.columns).order_by(AuditBlock.number.desc()).limit(1))


def get_block(tx: Reading, number: int) -> Record | None:
    """Return a block; None when there is none of that number."""
    return tx.row(select(*AuditBlock.__table__.columns).where(AuditBlock.number == number))


def block_after(tx: Reading, position: int) -> int:
    """Return the number of the block that seals what comes right after a position; 0 when none does."""
    found = (
        select(AuditBlock.number)
        .where(AuditBlock.last_position > position)
        .order_by(AuditBlock.last_position, AuditBlock.number)
        .limit(1)
    )
    return tx.scalar(found) or 0


def settled_position(tx: Reading) -> int:
    """Return a position up to which every row there will ever be is committed.

    Raises Unavailable when somebody who writes takes too long to commit.
    """
    if tx.engine == "postgresql":
        return int(tx.scalar(select(func.audit_settled_position())))
    newest = select(func.max(AuditEntry.position)).scalar_subquery()
    return int(tx.scalar(select(func.coalesce(newest, AuditChain.pruned_position)).select_from(AuditChain)))


def unsealed(tx: Reading) -> int:
    """Return how many rows no block seals."""
    last = select(func.coalesce(func.max(AuditBlock.last_position), 0)).scalar_subquery()
    return int(tx.scalar(select(func.count()).where(AuditEntry.position > last)))


def details_text() -> ColumnElement[str]:
    """Return the details as the text they are."""
    return type_coerce(AuditEntry.details, Text)


def texts(engine: str) -> list[ColumnElement[str]]:
    """Return a row's columns as texts, in the order in which `audit_chain.row_line` takes them.

    On PostgreSQL they have its form, too; on SQLite they are as they are stored.
    """
    columns = AuditEntry.__table__.columns
    names = sorted(column.name for column in columns if column.name != "position")
    texts_of = {name: _text_on_postgres(columns[name]) for name in TYPED} if engine == "postgresql" else {}
    return [texts_of.get(name, type_coerce(columns[name], Text)).label(name) for name in names]


def _text_on_postgres(column: Any) -> Any:  # columns of different types
    if column.name == "created_at":
        return func.to_char(func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"', type_=Text)
    return func.coalesce(cast(column, Text), "", type_=Text)
