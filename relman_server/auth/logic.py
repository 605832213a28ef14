"""Rules of logging in and staying so."""

import hmac
from dataclasses import dataclass
from datetime import timedelta

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

    def log_in(self, tx: Transaction, attempt: Login, found: Record) -> Tokens:
        """Open a session for a user whose password `check_password` found right."""
        user = user_store.lock_user(tx, str(found.id))
        if not user.is_active or user.password_hash != found.password_hash:
            raise _wrong_credentials()
        if needs_rehash(user.password_hash or ""):
            user.password_hash = hash_password(attempt.password)
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

    def change_password(self, tx: Transaction, change: PasswordChange) -> None:
        """Set the caller's password and end every session of the caller.

        Raises InvalidInput when the current password is wrong.
        """
        user = user_store.lock_user(tx, str(tx.caller.user_id))
        if not verify_password(change.current_password, user.password_hash):
            raise InvalidInput(Violation("current_password", "is not your password"))
        users.set_password(tx, user, change.new_password)
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


def check_password(found: Record | None, attempt: Login) -> Record:
    """Return the user that was found for a login, as slow as for one that was not.

    Outside of transactions, and of their threads: it takes 50 ms and 64 MiB.

    Raises Unauthenticated WRONG_CREDENTIALS, whatever of the two is wrong.
    """
    usable = found is not None and found.is_active
    right = verify_password(attempt.password, found.password_hash if found and usable else None)
    if found is None or not right:
        raise _wrong_credentials()
    return found


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
