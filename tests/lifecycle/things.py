"""What the model is about: releases, environments, deployments, and what belongs to them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

NEVER = datetime.max.replace(tzinfo=UTC)
BEFORE = datetime.min.replace(tzinfo=UTC)


@dataclass(eq=False)
class Release:
    """A release."""

    id: str
    service: str
    author: str
    status: str = "DRAFT"
    held: bool = False

    def __repr__(self) -> str:
        return f"{self.service}@{self.id[-6:]} ({self.status}{', held' * self.held})"

    @property
    def faults(self) -> int:
        """How many reasons there are not to start a deployment of it."""
        return (self.status in {"DRAFT", "ABANDONED"}) + self.held

    @property
    def deployable(self) -> bool:
        """Whether a deployment of it may be made: one of a draft waits."""
        return not self.held and self.status != "ABANDONED"


@dataclass(eq=False)
class Environment:
    """A place where services run.

    Attributes:
        source: The environment it promotes from.
        required: How many must approve.
        asks_for_rollbacks: Whether they must approve rollbacks, too.
        freezes: When nothing may start, from and until.
    """

    name: str
    production: bool = False
    source: "Environment | None" = None
    soak: timedelta = timedelta()
    required: int = 0
    approval_ttl: timedelta = timedelta()
    asks_for_rollbacks: bool = False
    active: bool = True
    locked_until: datetime = BEFORE
    freezes: list[tuple[datetime, datetime]] = field(default_factory=list)

    def __repr__(self) -> str:
        return self.name


@dataclass(eq=False)
class Stage:
    """A step of a deployment's pipeline; `due` is when it is timed out unless it has ended."""

    name: str
    timeout: timedelta
    status: str = "PENDING"
    due: datetime = NEVER

    @property
    def passed(self) -> bool:
        """Whether the next one may start."""
        return self.status in {"SUCCEEDED", "SKIPPED"}

    def end(self, status: str) -> None:
        """Run no longer."""
        self.status, self.due = status, NEVER


@dataclass(eq=False)
class Request:
    """A request for approval, open until a time unless someone approved."""

    until: datetime
    by: str = ""


@dataclass(eq=False)
class Lease:
    """Who carries a deployment out."""

    token: int
    ttl: timedelta
    until: datetime


@dataclass(eq=False)
class Deployment:
    """One way of a release into an environment.

    Attributes:
        status: WAITING for what the server shows as PENDING or READY, which is a matter of the gates.
        reason: Why a hotfix skips the environment before.
        undoes: What it rolls back.
        id: The server's, once it has answered.
        leases: Ids of those it gave out, by their fencing tokens from 1.
    """

    release: Release
    environment: Environment
    author: str
    stages: list[Stage]
    kind: str = ""
    reason: str = ""
    status: str = "WAITING"
    outcome: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    lease: Lease | None = None
    deployed_at: datetime = BEFORE
    completed_at: datetime = BEFORE
    undoes: "Deployment | None" = None
    quarantine: bool = False
    number: int = 0
    id: str = ""
    rollback_id: str = ""
    leases: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"#{self.number} {self.kind} of {self.release} to {self.environment} ({self.status})"

    @property
    def waits(self) -> bool:
        """Whether it was neither started nor ended."""
        return self.status == "WAITING"

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status not in {"WAITING", "IN_PROGRESS"}

    @property
    def queue(self) -> tuple[str, str]:
        """Those with the same one go one after the other."""
        return self.release.service, self.environment.name

    @property
    def place(self) -> tuple[bool, int]:
        """Where it stands in its queue: rollbacks go first, then whoever came first."""
        return self.kind != "ROLLBACK", self.number

    @property
    def goes_around(self) -> bool:
        """Whether it need not come from the environment before."""
        return self.kind == "ROLLBACK" or (self.kind == "HOTFIX" and bool(self.reason))

    def fresh_stages(self) -> list[Stage]:
        """Return its stages as they were before the first of them started."""
        return [Stage(stage.name, stage.timeout) for stage in self.stages]
