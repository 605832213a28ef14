"""Rules of logging in and staying so."""

import hmac
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from relman_server.auth import store
from relman_server.auth.inputs import Login, PasswordChange, Refresh
from relman_server.auth.model import Session
from relman_server.auth.tokens import ACCESS_TTL, REFRESH_TTL, Signer, Tokens, hash_secret, new_secret
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import InvalidInput, PermissionDenied, Unauthenticated, Violation
from relman_server.kernel.identity import Identity
from relman_server.kernel.ids import parse_id
from relman_server.users import logic as users
from relman_server.users import store as user_store
from relman_server.users.inputs import Registration
from relman_server.users.model import User
from relman_server.users.passwords import hash_password, needs_rehash, verify_password

# A client that lost the answer to a refresh tries again with the token it has.
LOST_ANSWER = timedelta(seconds=30)


@dataclass(frozen=True)
class Checked:
    """A password that was found right, outside of any transaction: hashing takes 50 ms and 64 MiB.

    Attributes:
        user_id: Whose it is.
        password_hash: What it was compared with; when that has changed by the time of the transaction, it is wrong.
        new_hash: What to store in its place; empty to leave it.
    """

    user_id: UUID
    password_hash: str
    new_hash: str


@dataclass(frozen=True)
class Authentication:
    """Logging in, refreshing, changing passwords.

    Attributes:
        signer: Issues access tokens.
        registration_open: Whether anyone may register.
    """

    signer: Signer
    registration_open: bool

    def require_open_registration(self) -> None:
        """Raise PermissionDenied REGISTRATION_CLOSED unless anyone may register."""
        if not self.registration_open:
            raise PermissionDenied(
                "This server does not accept registrations; ask an admin for a user.", reason="REGISTRATION_CLOSED"
            )

    def register(self, tx: Transaction, new: Registration, password_hash: str) -> Record:
        """Create a user for whoever asks.

        Raises PermissionDenied REGISTRATION_CLOSED, and AlreadyExists when the email or the username is taken.
        """
        self.require_open_registration()
        return users.register(tx, new, password_hash)

    def log_in(self, tx: Transaction, checked: "Checked") -> Tokens:
        """Open a session for a user whose password `check_password` found right."""
        user = user_store.lock_user(tx, str(checked.user_id))
        if not user.is_active or user.password_hash != checked.password_hash:
            raise _wrong_credentials()
        if checked.new_hash:
            user.password_hash = checked.new_hash
        user.last_login_at = tx.now
        secret = new_secret()
        session = Session(
            user_id=user.id,
            refresh_hash=hash_secret(secret),
            previous_hash=None,
            rotated_at=tx.now,
            expires_at=tx.now + REFRESH_TTL,
            revoked_at=None,
            token_version=user.token_version,
            ip_address=tx.call.address,
            user_agent=tx.call.user_agent,
            created_at=tx.now,
        )
        tx.add(session)
        tx.call.identity = self._identity(tx, user)
        tx.audit("session.create", session)
        return self._tokens(tx, session, secret)

    def refresh(self, tx: Transaction, request: Refresh) -> Tokens:
        """Rotate a session's tokens.

        A refresh token is good once; presenting an old one ends the session, since one of the two who hold it stole
        it. The one just replaced is accepted for a few seconds more.

        Raises Unauthenticated TOKEN_INVALID, TOKEN_EXPIRED or TOKEN_REVOKED.
        """
        name, _, secret = request.refresh_token.partition(".")
        session_id = parse_id(name)
        session = store.lock_session(tx, session_id) if session_id else None
        if session is None or not secret:
            raise Unauthenticated("The refresh token is not one of this server's; log in again.")
        if session.revoked_at is not None:
            raise Unauthenticated("The session was ended; log in again.", reason="TOKEN_REVOKED")
        if session.expires_at <= tx.now:
            raise Unauthenticated("The session has expired; log in again.", reason="TOKEN_EXPIRED")
        user = user_store.lock_user(tx, str(session.user_id))
        if not user.is_active or user.token_version != session.token_version:
            raise Unauthenticated("The session was ended; log in again.", reason="TOKEN_REVOKED")
        given = hash_secret(secret)
        newest = hmac.compare_digest(given, session.refresh_hash)
        lost = (
            session.previous_hash is not None
            and hmac.compare_digest(given, session.previous_hash)
            and tx.now - session.rotated_at <= LOST_ANSWER
        )
        if not newest and not lost:
            raise ReusedRefreshToken(session)
        following = new_secret()
        if newest:
            session.previous_hash = session.refresh_hash
            session.rotated_at = tx.now
        session.refresh_hash = hash_secret(following)
        session.expires_at = tx.now + REFRESH_TTL
        tx.call.identity = self._identity(tx, user)
        tx.audit("session.refresh", session)
        return self._tokens(tx, session, following)

    def change_password(self, tx: Transaction, checked: "Checked | None") -> None:
        """Set the caller's password, and end every session of the caller.

        Args:
            tx: The transaction.
            checked: What `check_change` found. That it was wrong is said here only: a repeated request, which brings
                the password from before, is answered as the first was.

        Raises InvalidInput when the current password is wrong, or was changed meanwhile.
        """
        user = user_store.lock_user(tx, str(tx.caller.user_id))
        if checked is None or user.password_hash != checked.password_hash:
            raise InvalidInput(Violation("current_password", "is not your password"))
        users.set_password(tx, user, checked.new_hash)
        store.end_sessions(tx, user.id)
        tx.audit("user.change_password", user)

    def _identity(self, tx: Transaction, user: User) -> Identity:
        return Identity(
            user_id=user.id,
            username=user.username,
            token_version=user.token_version,
            expires_at=tx.now + ACCESS_TTL,
            is_admin=user.is_admin,
            is_auditor=user.is_auditor,
        )

    def _tokens(self, tx: Transaction, session: Session, secret: str) -> Tokens:
        return Tokens(self.signer.issue(tx.caller, tx.now), f"{session.id}.{secret}", session.expires_at)


class ReusedRefreshToken(Unauthenticated):
    """An old refresh token came back: the session must end, in a transaction that commits."""

    def __init__(self, session: Session) -> None:
        super().__init__(
            "The refresh token was used before; the session is ended. Log in again.", reason="TOKEN_REVOKED"
        )
        self.session_id = session.id
        self.user_id = session.user_id


def find_login(tx: Reading, attempt: Login) -> Record | None:
    """Return who may be meant by a login; None when nobody is."""
    return user_store.find_login(tx, attempt.login)


def check_password(found: Record | None, attempt: Login) -> Checked:
    """Compare the password of a login with that of the user who was found for it, as slow when none was.

    A hash of an older kind is to be replaced.

    Raises Unauthenticated WRONG_CREDENTIALS, whatever of the two is wrong.
    """
    usable = found is not None and found.is_active
    right = verify_password(attempt.password, found.password_hash if found and usable else None)
    if found is None or not right:
        raise _wrong_credentials()
    renewed = hash_password(attempt.password) if needs_rehash(found.password_hash) else ""
    return Checked(found.id, found.password_hash, renewed)


def caller_with_hash(tx: Reading) -> Record:
    """Return the caller with their password's hash; raises NotFound."""
    return user_store.user_with_hash(tx, tx.caller.user_id)


def check_change(caller: Record, change: PasswordChange) -> Checked | None:
    """Compare the current password of a change with the caller's; return None when it is wrong."""
    if not verify_password(change.current_password, caller.password_hash):
        return None
    return Checked(caller.id, caller.password_hash, hash_password(change.new_password))


def end_reused(tx: Transaction, reuse: ReusedRefreshToken) -> None:
    """End the session whose old refresh token came back."""
    session = store.lock_session(tx, reuse.session_id)
    if session is not None and session.revoked_at is None:
        session.revoked_at = tx.now
        tx.audit("session.refresh", session, reuse=True)


def current_user(tx: Reading) -> Record:
    """Return the caller."""
    return user_store.get_user_by_id(tx, tx.caller.user_id)


def _wrong_credentials() -> Unauthenticated:
    return Unauthenticated("Login and password do not match an active user.", reason="WRONG_CREDENTIALS")
