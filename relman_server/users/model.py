"""The row of a user."""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import SENSITIVE, Resource


class User(Resource):
    """A person or a machine that calls relman.

    Attributes:
        email: Lower case, so that uniqueness knows no case.
        password_hash: argon2id; None when the user cannot log in with a password.
        token_version: Tokens issued under an older one are refused: it rises with every change of password, of
            activity and of role.
    """

    __tablename__ = "user_account"  # "user" is a word of SQL
    __table_args__ = (Index(None, "created_at", "id"),)

    email: Mapped[str] = mapped_column(unique=True)
    username: Mapped[str] = mapped_column(unique=True)
    full_name: Mapped[str]
    password_hash: Mapped[str | None] = mapped_column(info=SENSITIVE)
    is_active: Mapped[bool]
    is_admin: Mapped[bool]
    is_auditor: Mapped[bool]
    last_login_at: Mapped[datetime | None]
    token_version: Mapped[int] = mapped_column(info={"internal": True})
