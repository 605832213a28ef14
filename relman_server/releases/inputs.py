"""What callers may say about releases; every bound is here."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from relman_server.kernel.inputs import (
    Between,
    Change,
    Input,
    Line,
    OptionalReference,
    Page,
    Query,
    Reason,
    Reference,
    RequiredReason,
    SemVer,
)
from relman_server.releases.model import ReleaseStatus

MAX_CHANGES = 1000
DEFAULT_DEPTH = 50
MAX_DEPTH = 500

_COMMIT = re.compile(r"[0-9a-f]{7,64}\Z")


def _commit(text: str) -> str:
    if not _COMMIT.match(text):
        raise ValueError("must be a commit hash: 7 to 64 of 0-9 and a-f")
    return text


CommitHash = Annotated[str, AfterValidator(_commit)]
OptionalCommit = Annotated[str, AfterValidator(lambda text: _commit(text) if text else text)]
Notes = Annotated[str, AfterValidator(lambda text: _within_bytes(text, 64 * 1024))]


def _within_bytes(text: str, limit: int) -> str:
    if len(text.encode()) > limit:
        raise ValueError(f"must be at most {limit} bytes long")
    return text


class ReleasedChange(Input):
    """One commit that came in with a release."""

    commit: CommitHash
    author: Annotated[Line, StringConstraints(max_length=200)] = ""
    title: Annotated[Line, StringConstraints(max_length=500)] = ""
    committed_at: datetime | None = None


Changes = Annotated[list[ReleasedChange], Field(max_length=MAX_CHANGES)]


class NewRelease(Input):
    """What a caller may say about a new release."""

    service: Reference
    version: SemVer
    git_commit: OptionalCommit = ""
    release_notes: Notes = ""
    changes: Changes = []
    previous_release: OptionalReference = None


class ReleaseChange(Change):
    """What to change of a release."""

    release: Reference
    version: SemVer = ""
    git_commit: OptionalCommit = ""
    release_notes: Notes = ""
    changes: Changes = []
    previous_release: OptionalReference = None


class ListReleases(Page, Between):
    """Which releases to list."""

    ordered_by = ("created_at", "version", "status")

    service: OptionalReference = None
    status: ReleaseStatus | None = None
    query: Query = ""


class Abandonment(Input):
    """Giving a release up."""

    release: Reference
    reason: Reason = ""
    etag: str = ""


class Hold(Input):
    """Putting a release into quarantine, or taking it out."""

    release: Reference
    reason: RequiredReason
    etag: str = ""


class History(Input):
    """Which chain of releases to follow."""

    release: Reference
    max_depth: Annotated[int, Field(ge=0)] = 0

    @property
    def depth(self) -> int:
        """How many releases at most."""
        return min(self.max_depth or DEFAULT_DEPTH, MAX_DEPTH)
