"""Queries of users."""

from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select

from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.kernel.sql import contains
from relman_server.users.inputs import ListUsers
from relman_server.users.model import User

# All but the password's hash: nobody outside logs in by reading.
_COLUMNS = [column for column in User.__table__.columns if column.name != "password_hash"]
_ORDERING = Ordering(
    {"username": User.username, "email": User.email, "created_at": User.created_at}, default="username", tie=User.id
)


def named(reference: str) -> ColumnElement[bool]:
    """Return the condition that a user is the one referred to: by id, email or username."""
    user_id = parse_id(reference)
    if user_id is not None:
        return User.id == user_id
    return or_(User.username == reference, User.email == reference.lower())


@cache
def _users() -> Select[Any]:
    return select(*_COLUMNS)


def get_user(tx: Reading, reference: str) -> Record:
    """Return a user; raises NotFound."""
    found = tx.row(_users().where(named(reference)))
    if found is None:
        raise NotFound("user", reference)
    return found


def get_user_by_id(tx: Reading, user_id: UUID) -> Record:
    """Return a user; raises NotFound."""
    return get_user(tx, str(user_id))


def lock_user(tx: Transaction, reference: str) -> User:
    """Return a user for changing; raises NotFound."""
    user_id = tx.scalar(select(User.id).where(named(reference)))
    user = tx.lock(User, user_id) if user_id else None
    if user is None:
        raise NotFound("user", reference)
    return user


def find_login(tx: Reading, login: str) -> Record | None:
    """Return id, username, password_hash, is_active, ... of who logs in by email or username; None if nobody does."""
    return tx.row(select(*User.__table__.columns).where(or_(User.username == login, User.email == login.lower())))


def user_with_hash(tx: Reading, user_id: UUID) -> Record:
    """Return id and password_hash of a user; raises NotFound."""
    found = tx.row(select(User.id, User.password_hash).where(User.id == user_id))
    if found is None:
        raise NotFound("user", str(user_id))
    return found


def list_users(tx: Reading, wanted: ListUsers) -> Listed:
    """Return a page of users."""
    statement = _users()
    if wanted.is_active is not None:
        statement = statement.where(User.is_active == wanted.is_active)
    if wanted.query:
        statement = statement.where(contains(wanted.query, User.username, User.email, User.full_name))
    return paginate(tx, statement, _ORDERING, wanted)


def lock_admins(tx: Transaction) -> None:
    """Keep everyone else from making an admin none: two who do so to each other would both leave the other one."""
    tx.rows(
        select(User.id)
        .where(User.is_admin, User.is_active)
        .order_by(User.id)
        .with_for_update(key_share=True)  # what refers to an admin may still be written
    )


def active_admins(tx: Reading) -> int:
    """Return how many active admins there are."""
    return int(tx.scalar(select(func.count()).where(User.is_admin, User.is_active)))


def token_versions(tx: Reading) -> dict[UUID, int | None]:
    """Return the token version of every user whose credentials ever changed; None for inactive ones."""
    rows = tx.rows(
        select(User.id, User.token_version, User.is_active).where(
            or_(User.token_version > 1, User.is_active.is_(False))
        )
    )
    return {row.id: row.token_version if row.is_active else None for row in rows}
