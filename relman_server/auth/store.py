"""Queries of sessions."""

from uuid import UUID

from sqlalchemy import delete, select, update

from relman_server.auth.model import Session
from relman_server.kernel.db.transaction import Transaction


def lock_session(tx: Transaction, session_id: UUID) -> Session | None:
    """Return a session for changing, locked to the end of the transaction."""
    found = tx.entities(select(Session).where(Session.id == session_id).with_for_update())
    return found[0] if found else None


def end_sessions(tx: Transaction, user_id: UUID) -> None:
    """End every session of a user."""
    tx.execute(
        update(Session).where(Session.user_id == user_id, Session.revoked_at.is_(None)).values(revoked_at=tx.now)
    )


def forget_sessions(tx: Transaction) -> None:
    """Remove sessions that nobody can refresh any more."""
    tx.execute(delete(Session).where(Session.expires_at < tx.now))
