"""The row of a session."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import SENSITIVE, UNAUDITED, Base
from relman_server.kernel.ids import new_id


class Session(Base):
    """One login and what came of it by refreshing: a family of refresh tokens, of which one is good at a time.

    Attributes:
        refresh_hash: SHA-256 of the secret of the newest refresh token.
        previous_hash: Of the one before: good for a few seconds after `rotated_at`, for a client that lost the answer.
        token_version: The user's when the session was made.
    """

    __tablename__ = "auth_session"
    # Logins are audited as what they are; each refresh would only be noise.
    __table_args__ = (Index(None, "user_id", "created_at"), Index(None, "expires_at"), {"info": UNAUDITED})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    refresh_hash: Mapped[bytes] = mapped_column(info=SENSITIVE)
    previous_hash: Mapped[bytes | None] = mapped_column(info=SENSITIVE)
    rotated_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    token_version: Mapped[int]
    ip_address: Mapped[str]
    user_agent: Mapped[str]
    created_at: Mapped[datetime]
