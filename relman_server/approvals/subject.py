"""What approvals are about: a deployment, as far as they need to know it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from uuid import UUID


@dataclass(frozen=True)
class Subject:
    """A deployment and what its environment asks for. Deployments are above this folder, and hand it in.

    Attributes:
        deployment_id: None while it is only thought of.
        revision: Number of its newest event.
        author_id: Who created the deployment.
        release_author_id: Who created its release.
        required: How many people must approve.
        approver_team_ids: Whose members may; empty means admins may.
        allow_self_approval: Whether the release's author may.
        ttl: How long a request stays open.
    """

    deployment_id: UUID | None
    revision: int
    release_id: UUID
    service_id: UUID
    environment_id: UUID
    environment_name: str
    kind: str | None
    labels: Mapping[str, str]
    author_id: UUID | None
    release_author_id: UUID | None
    required: int
    approver_team_ids: frozenset[UUID]
    allow_self_approval: bool
    ttl: timedelta

    @cached_property
    def content(self) -> str:
        """Digest of what is approved: an approval counts for this and for nothing else."""
        what = [str(self.release_id), str(self.environment_id), self.kind, dict(self.labels)]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    @property
    def authors(self) -> frozenset[UUID | None]:
        """Those who may not approve it because it is their own."""
        return frozenset({self.author_id} if self.allow_self_approval else {self.author_id, self.release_author_id})
