"""A small model of releases and deployments in plain Python: what the server must answer, said once more, simply."""

from dataclasses import dataclass, field

WAITING = {"PENDING", "READY"}
FINAL = {"SUCCEEDED", "FAILED", "CANCELLED"}


@dataclass
class ModelRelease:
    """A release: may it be deployed?"""

    id: str
    service: str
    status: str = "DRAFT"
    held: bool = False

    @property
    def reasons(self) -> int:
        """How many reasons there are not to deploy it."""
        return (self.status in {"DRAFT", "ABANDONED"}) + self.held

    @property
    def may_be_deployed(self) -> bool:
        """Whether a deployment of it may be made: one of a draft waits, one of what was given up is refused."""
        return not self.held and self.status != "ABANDONED"


@dataclass
class ModelEnvironment:
    """An environment; times in seconds of the test's clock."""

    name: str
    production: bool
    locked: bool = False
    locked_until: float | None = None

    def lock_holds(self, now: float) -> bool:
        """Whether a lock keeps everything from starting."""
        return self.locked and (self.locked_until is None or now < self.locked_until)


@dataclass
class ModelDeployment:
    """A deployment and its stages; `changes` counts what the audit log must have at least."""

    id: str
    number: int
    release: ModelRelease
    environment: ModelEnvironment
    status: str = "WAITING"
    stages: list[str] = field(default_factory=list)
    changes: int = 1


@dataclass
class Model:
    """Everything there is."""

    now: float = 0.0
    releases: list[ModelRelease] = field(default_factory=list)
    environments: list[ModelEnvironment] = field(default_factory=list)
    deployments: list[ModelDeployment] = field(default_factory=list)

    def gates(self, wanted: ModelDeployment) -> list[str]:
        """Return which gates are closed to a waiting deployment."""
        found = ["RELEASE"] * wanted.release.reasons
        if wanted.environment.lock_holds(self.now):
            found.append("LOCK")
        if any(self._goes_first(other, wanted) for other in self.deployments):
            found.append("QUEUE")
        return found

    def _goes_first(self, other: ModelDeployment, wanted: ModelDeployment) -> bool:
        if other is wanted or other.environment is not wanted.environment:
            return False
        if other.release.service != wanted.release.service:
            return False
        return other.status == "IN_PROGRESS" or (other.status == "WAITING" and other.number < wanted.number)

    def can_start_stage(self, deployment: ModelDeployment, index: int) -> bool:
        """Whether it is a stage's turn."""
        return (
            deployment.status == "IN_PROGRESS"
            and deployment.stages[index] == "PENDING"
            and all(stage in {"SUCCEEDED", "SKIPPED"} for stage in deployment.stages[:index])
        )

    def can_succeed(self, deployment: ModelDeployment) -> bool:
        """Whether every stage has passed."""
        return deployment.status == "IN_PROGRESS" and all(
            stage in {"SUCCEEDED", "SKIPPED"} for stage in deployment.stages
        )

    def end(self, deployment: ModelDeployment, status: str) -> None:
        """End a deployment, and what has not ended of it."""
        deployment.status = status
        deployment.stages = ["CANCELLED" if stage in {"PENDING", "RUNNING"} else stage for stage in deployment.stages]
        release = deployment.release
        if deployment.environment.production and status == "SUCCEEDED" and release.status in {"PUBLISHED", "FAILED"}:
            release.status = "DEPLOYED"
        if deployment.environment.production and status == "FAILED" and release.status == "PUBLISHED":
            release.status = "FAILED"
