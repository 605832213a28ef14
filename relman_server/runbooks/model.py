"""The rows of runbooks, of their older versions, and of what searches read."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Sequence, Text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import UNAUDITED, Base, Resource


class Runbook(Resource):
    """What to do when something goes wrong, in its newest version.

    Attributes:
        content: Markdown. Audit rows tell its digest and length; the texts themselves are in the versions.
        service_id, environment_id: What it is about; None means all. What a runbook names cannot be deleted: with its
            row gone, the runbook would be about everything.
        version: Number of the newest version, from 1.
    """

    __tablename__ = "runbook"
    __table_args__ = (
        Index(None, "title", "id"),
        Index(None, "created_at", "id"),
        Index(None, "updated_at", "id"),
        Index(None, "service_id", "title", "id"),
        Index(None, "environment_id", "title", "id"),
    )

    title: Mapped[str]
    content: Mapped[str] = mapped_column(info={"internal": True})
    service_id: Mapped[UUID | None] = mapped_column(ForeignKey("service.id"))
    environment_id: Mapped[UUID | None] = mapped_column(ForeignKey("environment.id"))
    tags: Mapped[list[str]]
    is_active: Mapped[bool]
    version: Mapped[int]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    updated_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))


class OldVersion(Base):
    """A version of a runbook that a newer one replaced, with the names of what it was about at that time."""

    __tablename__ = "runbook_version"
    __table_args__ = ({"info": UNAUDITED},)  # a copy of what was audited when it was new

    runbook_id: Mapped[UUID] = mapped_column(ForeignKey("runbook.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    content: Mapped[str]
    service_id: Mapped[UUID | None]
    service_name: Mapped[str]
    environment_id: Mapped[UUID | None]
    environment_name: Mapped[str]
    tags: Mapped[list[str]]
    is_active: Mapped[bool]
    updated_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    updated_at: Mapped[datetime]


class RunbookTag(Base):
    """A tag of a runbook's newest version, for lists of those that carry it."""

    __tablename__ = "runbook_tag"
    __table_args__ = (Index(None, "runbook_id"), {"info": UNAUDITED})

    tag: Mapped[str] = mapped_column(primary_key=True)
    runbook_id: Mapped[UUID] = mapped_column(ForeignKey("runbook.id", ondelete="CASCADE"), primary_key=True)


PLACES = Sequence("runbook_place")
"""On PostgreSQL, counts changes of runbooks; SQLite has one writer, who takes the next place."""


class Searchable(Base):
    """What searches know of a runbook that is in use; made by indexing.py.

    Attributes:
        place: Rises by one with every change of any runbook: the newest come first where nothing else decides. On
            SQLite it is also the rowid in the full-text index `runbook_index`.
        document: Its terms, as the full-text index takes them: a tsvector on PostgreSQL, and on SQLite the text that
            takes the runbook out of the index again.
        stems: All its words in their order, to look phrases up.
        title, tags: Theirs, for ranking.
        counts: How often the words of the content are in it, for ranking.
        length: Words of the content.
    """

    __tablename__ = "runbook_search"
    __table_args__ = (
        Index(
            "ix_runbook_search_document", "document", postgresql_using="gin", postgresql_with={"fastupdate": "off"}
        ).ddl_if(dialect="postgresql"),
        {"info": UNAUDITED},
    )

    place: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    runbook_id: Mapped[UUID] = mapped_column(ForeignKey("runbook.id", ondelete="CASCADE"), unique=True)
    document: Mapped[str] = mapped_column(Text().with_variant(TSVECTOR(), "postgresql"))
    stems: Mapped[str]
    title: Mapped[str]
    tags: Mapped[str]
    counts: Mapped[str]
    length: Mapped[int]
