"""Rules of users."""

from dataclasses import dataclass
from uuid import UUID

from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import AlreadyExists, FailedPrecondition, PermissionDenied
from relman_server.kernel.identity import require_admin
from relman_server.users import store
from relman_server.users.inputs import NewUser, Registration, UserChange
from relman_server.users.model import User


@dataclass(frozen=True)
class CredentialsChanged:
    """Tokens of a user issued before this are no longer good."""

    user_id: UUID
    token_version: int | None  # None: no token is


@dataclass(frozen=True)
class RightsChanged:
    """A user became active or inactive, or has other roles."""

    user_id: UUID


def create_user(tx: Transaction, new: NewUser, password_hash: str | None) -> Record:
    """Create a user as an admin; without a hash, one who cannot log in with a password.

    Raises AlreadyExists when the email or the username is taken.
    """
    return _add(tx, "user.create", new, password_hash, is_admin=new.is_admin, is_auditor=new.is_auditor)


def register(tx: Transaction, new: Registration, password_hash: str) -> Record:
    """Create a user for whoever asks.

    Raises AlreadyExists when the email or the username is taken.
    """
    return _add(tx, "user.register", new, password_hash, is_admin=False, is_auditor=False)


def create_first_admin(tx: Transaction, new: NewUser, password_hash: str) -> Record | None:
    """Create the admin a new server starts with; return None when there is an active one already."""
    if store.active_admins(tx):
        return None
    return _add(tx, "user.create", new, password_hash, is_admin=True, is_auditor=False)


def _add(
    tx: Transaction,
    action: str,
    new: NewUser | Registration,
    password_hash: str | None,
    *,
    is_admin: bool,
    is_auditor: bool,
) -> Record:
    user = User(
        email=new.email,
        username=new.username,
        full_name=new.full_name,
        password_hash=password_hash,
        is_active=True,
        is_admin=is_admin,
        is_auditor=is_auditor,
        token_version=1,
    )
    tx.add(user, conflict=AlreadyExists("user", f"{new.username} <{new.email}>"))
    tx.audit(action, user)
    return store.get_user_by_id(tx, user.id)


def update_user(tx: Transaction, change: UserChange) -> Record:
    """Change a user: admins everything, others their own email and name.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, AlreadyExists when the email is taken, and
    FailedPrecondition when nobody would be admin any more.
    """
    changes = change.wanted()
    if "is_admin" in changes:
        store.lock_admins(tx)
    user = store.lock_user(tx, change.user)
    if user.id != tx.caller.user_id:
        require_admin(tx.caller, "change another user")
    if not tx.caller.is_admin and changes.keys() & {"is_admin", "is_auditor"}:
        raise PermissionDenied("Only an admin may give or take the roles admin and auditor.")
    tx.match_etag(user, change.etag)
    roles = (user.is_admin, user.is_auditor)
    for name, value in changes.items():
        setattr(user, name, value)
    if roles != (user.is_admin, user.is_auditor):
        _end_tokens(tx, user)
        tx.emit(RightsChanged(user.id))
    tx.flush(conflict=AlreadyExists("user", change.email))
    _require_an_admin(tx)
    tx.audit("user.update", user)
    return store.get_user_by_id(tx, user.id)


def deactivate_user(tx: Transaction, reference: str, etag: str) -> Record:
    """End a user's access at once. Deactivating an inactive user changes nothing.

    Raises NotFound, Aborted for a stale etag, and FailedPrecondition for the last active admin.
    """
    store.lock_admins(tx)
    user = store.lock_user(tx, reference)
    tx.match_etag(user, etag)
    if user.is_active:
        user.is_active = False
        _end_tokens(tx, user)
        tx.flush()
        _require_an_admin(tx)
        tx.emit(RightsChanged(user.id))
    tx.audit("user.deactivate", user)
    return store.get_user_by_id(tx, user.id)


def activate_user(tx: Transaction, reference: str, etag: str) -> Record:
    """Give a user access again; tokens from before stay ended.

    Raises NotFound and Aborted for a stale etag.
    """
    user = store.lock_user(tx, reference)
    tx.match_etag(user, etag)
    if not user.is_active:
        user.is_active = True
        _end_tokens(tx, user)
        tx.emit(RightsChanged(user.id))
    tx.audit("user.activate", user)
    return store.get_user_by_id(tx, user.id)


def set_password(tx: Transaction, user: User, password_hash: str) -> None:
    """Store a new password and end every token of the user."""
    user.password_hash = password_hash
    _end_tokens(tx, user)


def _end_tokens(tx: Transaction, user: User) -> None:
    user.token_version += 1
    tx.emit(CredentialsChanged(user.id, user.token_version if user.is_active else None))


def _require_an_admin(tx: Transaction) -> None:
    if not store.active_admins(tx):
        raise FailedPrecondition("This is the last active admin: make someone else one first.")
