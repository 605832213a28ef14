"""The row of a release, and the chain that releases form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import Resource
from relman_server.kernel.db.transaction import Record


class ReleaseStatus(StrEnum):
    """Where a release stands."""

    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    DEPLOYED = "DEPLOYED"
    FAILED = "FAILED"
    ABANDONED = "ABANDONED"


class Release(Resource):
    """A version of a service that can be deployed.

    Attributes:
        changes: `{commit, author, title, committed_at}` of each commit since the release before, times as ISO text.
        published_at: When it left DRAFT: the newest published one is the default previous release.
        quarantine_*: The hold on it; `quarantined_at` is None when there is none.
    """

    __tablename__ = "release"
    __table_args__ = (
        UniqueConstraint("service_id", "version"),
        Index(None, "service_id", "created_at", "id"),
        Index(None, "service_id", "published_at"),
        Index(None, "created_at", "id"),
        Index(None, "previous_release_id"),
    )

    service_id: Mapped[UUID] = mapped_column(ForeignKey("service.id"))
    version: Mapped[str]
    status: Mapped[str]
    release_notes: Mapped[str]
    git_commit: Mapped[str]
    changes: Mapped[list[dict[str, Any]]]  # JSON
    previous_release_id: Mapped[UUID | None] = mapped_column(ForeignKey("release.id"))
    published_at: Mapped[datetime | None]
    quarantine_reason: Mapped[str]
    quarantined_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    quarantined_at: Mapped[datetime | None]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))


@dataclass(frozen=True)
class Chain:
    """A release's history.

    Attributes:
        releases: Newest first.
        deployments: Where each went.
        truncated: Whether the chain goes on.
    """

    releases: Sequence[Record]
    deployments: Mapping[UUID, Sequence[Record]]
    truncated: bool
