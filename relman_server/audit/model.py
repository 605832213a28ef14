"""The rows of sealed blocks; those of the audit log itself are the kernel's (kernel/db/audit.py)."""

from datetime import datetime

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import UNAUDITED, Base


class AuditBlock(Base):
    """Some rows, sealed: `relman_client.audit_chain.Block`, with the place of its last row. It never changes.

    Attributes:
        last_position: Of its last row; it seals the rows after those of the block before. A block without rows, made
            when a key is new, has that of the block before.
        newest_at: `created_at` of the newest of its rows.
    """

    __tablename__ = "audit_block"
    __table_args__ = (Index(None, "last_position", "number"), Index(None, "newest_at", "number"), {"info": UNAUDITED})

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    last_position: Mapped[int] = mapped_column(BigInteger)
    row_count: Mapped[int]
    rows_hash: Mapped[str]
    newest_at: Mapped[datetime]
    sealed_at: Mapped[datetime]
    previous_hash: Mapped[str]
    hash: Mapped[str]
    signature: Mapped[str]
