"""Everything there is in the model, and which gates are closed."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from tests.lifecycle.things import Deployment, Environment, Release

FOREVER = datetime.max.replace(tzinfo=UTC)
PASSABLE = ("PROMOTION", "SOAK", "FREEZE", "LOCK")


class Refused(Exception):  # noqa: N818 - what happens, and no error
    """The server must refuse a call, with this status."""


def require(allowed: object, status: str = "FAILED_PRECONDITION") -> None:
    """Raise Refused unless something holds."""
    if not allowed:
        raise Refused(status)


class Gates:
    """Everything there is, and what may happen to it."""

    def __init__(self, now: Callable[[], datetime], maintainer: str, approvers: set[str]) -> None:
        self._now = now
        self.maintainer = maintainer
        self.approvers = approvers
        self.releases: list[Release] = []
        self.environments: list[Environment] = []
        self.deployments: list[Deployment] = []
        self.last_look = self.steady_since = self.now

    @property
    def now(self) -> datetime:
        """The time, which is the server's."""
        return self._now()

    # Gates

    def gates(self, wanted: Deployment) -> list[str]:
        """Return which gates are closed to a waiting deployment."""
        there, found = wanted.environment, ["RELEASE"] * wanted.release.faults
        found += ["INACTIVE"] * (not there.active)
        if there.source is not None and not wanted.goes_around:
            since = min((done.completed_at for done in self._successes(wanted.release, there.source)), default=None)
            if since is None:
                found.append("PROMOTION")
            elif self.now < since + there.soak:
                found.append("SOAK")
        found += ["APPROVAL"] * (not all(request.by for request in wanted.requests))
        if wanted.kind != "ROLLBACK":
            found += ["FREEZE"] * sum(start <= self.now < end for start, end in there.freezes)
        found += ["LOCK"] * (self.now < there.locked_until)
        found += ["QUEUE"] * any(self._goes_first(other, wanted) for other in self._queue(wanted))
        return found

    def _queue(self, of: Deployment) -> Iterator[Deployment]:
        """Yield the other deployments of the same service to the same environment."""
        for other in self.deployments:
            if other is not of and other.queue == of.queue:
                yield other

    def _goes_first(self, other: Deployment, wanted: Deployment) -> bool:
        return other.status == "IN_PROGRESS" or (other.waits and other.place < wanted.place)

    def _successes(self, release: Release, there: Environment) -> list[Deployment]:
        """Return the successes of a release somewhere that were not rolled back."""
        return [
            done
            for done in self.deployments
            if done.release is release and done.environment is there and done.status == "SUCCEEDED"
        ]

    # Releases

    def publish(self, release: Release) -> None:
        require(release.status == "DRAFT")
        release.status = "PUBLISHED"

    def abandon(self, release: Release) -> None:
        require(release.status not in {"DEPLOYED", "ABANDONED"})
        release.status = "ABANDONED"

    def hold(self, release: Release) -> None:
        require(not release.held)
        release.held = True

    def let_go(self, release: Release) -> None:
        require(release.held)
        release.held = False

    # Environments

    def lock(self, there: Environment, ttl: timedelta | None) -> None:
        there.locked_until = self.now + ttl if ttl else FOREVER

    def unlock(self, there: Environment) -> None:
        require(self.now < there.locked_until)
        there.locked_until = self.now
