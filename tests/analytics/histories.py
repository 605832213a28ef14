"""Random histories: what happened to the deployments of a few services, as plain data."""

import random
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

STAGING, EUROPE, AMERICA = "staging", "europe", "america"
PLACES = (STAGING, EUROPE, AMERICA)
"""In the order in which a release gets there."""

BEGIN = datetime(2023, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Change:
    """A commit of a release; without a time when nobody said it."""

    commit: str
    committed_at: datetime | None


@dataclass(frozen=True)
class Release:
    """A release."""

    id: uuid.UUID
    service: str
    version: str
    created_at: datetime
    git_commit: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Deployment:
    """A deployment as it is at the end of the history."""

    id: uuid.UUID
    release: Release
    place: str
    kind: str
    outcome: str | None
    completed_at: datetime
    impacted: bool
    remediates: uuid.UUID | None = None
    rolled_back: bool = False

    @property
    def service(self) -> str:
        """Name of its service."""
        return self.release.service


@dataclass(frozen=True)
class Incident:
    """An incident; without a deployment nobody linked it."""

    service: str
    place: str
    deployment: uuid.UUID | None
    detected_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True)
class Rollback:
    """A rollback, and the deployment that it made."""

    undone: uuid.UUID
    made: uuid.UUID
    succeeded: bool


@dataclass
class History:
    """Everything that happened."""

    services: list[str]
    releases: list[Release] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    rollbacks: list[Rollback] = field(default_factory=list)


class Teller:
    """Makes up a history; the same seed makes the same one."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._names = iter(range(1_000_000))
        self.history = History([f"s{seed}-{number}" for number in range(self._random.randint(1, 3))])
        for service in self.history.services:
            self._tell(service)

    def _id(self) -> uuid.UUID:
        return uuid.UUID(int=self._random.getrandbits(128), version=4)

    def _often(self, chance: float) -> bool:
        return self._random.random() < chance

    def _span(self, longest: timedelta) -> timedelta:
        return timedelta(microseconds=self._random.randrange(1, longest // timedelta(microseconds=1)))

    def _tell(self, service: str) -> None:
        now = BEGIN + self._span(timedelta(days=100))
        pace = timedelta(hours=self._random.choice((5, 30, 90)))
        commits: list[Change] = []
        earlier: list[Release] = []
        for number in range(self._random.randint(1, 30)):
            release = self._release(service, f"1.{number}.0", now, commits)
            earlier.append(release)
            for place in PLACES:
                if self._often(0.8):
                    now += self._span(pace)
                    self._deploy(self._random.choice(earlier[-3:]) if self._often(0.2) else release, place, now)
        for _ in range(self._random.randint(0, 3)):
            detected = BEGIN + self._span(timedelta(days=200))
            self.history.incidents.append(Incident(service, self._random.choice(PLACES), None, detected, None))

    def _release(self, service: str, version: str, now: datetime, commits: list[Change]) -> Release:
        made = self._random.randint(0, 4)
        for _ in range(made):
            ahead = timedelta(hours=-9) if self._often(0.05) else timedelta()
            commits.append(Change(f"{next(self._names):040x}", now - ahead - self._span(timedelta(days=40))))
        listed = commits[-made:] if made else []
        if commits and self._often(0.2):  # once more, of an earlier release
            listed = [*listed, self._random.choice(commits)]
        changes = tuple(replace(change, committed_at=None) if self._often(0.1) else change for change in listed)
        commit = self._random.choice([*(change.commit for change in commits[-5:]), "", f"{next(self._names):040x}"])
        release = Release(self._id(), service, version, now - self._span(timedelta(days=3)), commit, changes)
        self.history.releases.append(release)
        return release

    def _deploy(self, release: Release, place: str, now: datetime) -> None:
        before = [each for each in self.history.deployments if each.service == release.service]
        there = [each for each in before if each.place == place and each.outcome and not each.rolled_back]
        kind = self._random.choices(("PLANNED", "HOTFIX", "REDEPLOY", "ROLLBACK"), (70, 15, 7, 8))[0]
        outcome = self._random.choices(("SUCCEEDED", "FAILED", None), (70, 22, 8))[0]
        made = Deployment(
            self._id(), release, place, kind, outcome, now, self._often(0.4 if outcome != "SUCCEEDED" else 0.02)
        )
        if kind == "HOTFIX" and before and self._often(0.8):
            made = replace(made, remediates=self._random.choice(before[-6:]).id)
        if kind == "ROLLBACK" and there:
            self._undo(there[-1], made)
        self.history.deployments.append(made)
        if self._often(0.2):
            for _ in range(self._random.randint(1, 2)):
                self._incident(made)

    def _undo(self, undone: Deployment, made: Deployment) -> None:
        succeeded = made.outcome == "SUCCEEDED"
        self.history.rollbacks.append(Rollback(undone.id, made.id, succeeded))
        if succeeded:
            place = self.history.deployments.index(undone)
            self.history.deployments[place] = replace(undone, rolled_back=True)

    def _incident(self, cause: Deployment) -> None:
        detected = cause.completed_at + self._span(timedelta(hours=20)) - timedelta(hours=4)
        resolved = None if self._often(0.15) else detected + self._span(timedelta(hours=30))
        self.history.incidents.append(Incident(cause.service, cause.place, cause.id, detected, resolved))
