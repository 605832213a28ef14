"""The decision: what keeps a deployment from starting. One pure function, and everything that asks calls it.

CheckDeployment, validate_only, StartDeployment and every re-evaluation ask the same question of the same facts, so a
dry run and the real thing cannot differ.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from relman_server.approvals.quorum import Quorum
from relman_server.deployments.model import BlockerKind, DeploymentKind
from relman_server.policies import windows
from relman_server.policies.windows import ActivePolicy
from relman_server.releases.model import ReleaseStatus


@dataclass(frozen=True)
class Facts:
    """What the decision depends on.

    Attributes:
        release_name: `service@version`, for people.
        quarantined_at: Since when the release is held; None when it is not.
        freezes: The active deploy policies that hold for the service and the environment.
        locked_at: Since when the environment is locked; None when it is not.
        lock_expires_at: When the lock ends by itself; None means never.
        running_release_id: The release of the service that runs in the environment; None when none does.
        in_front: The deployment at the head of the queue before this one, in progress or waiting; None when this one
            is next.
        kind: Why the deployment was made; None when it is not made yet.
        hotfix_reason: Why a HOTFIX skips the environment before; empty when it does not.
        source_id: The environment before, which the environment promotes from; None when there is none.
        soaking_since: When the release first succeeded there; None when it has not, or was rolled back.
        soak_seconds: How long it must have been there.
        approvals: How far the approvals are.
    """

    release_id: UUID
    release_name: str
    release_status: str
    quarantine_reason: str
    quarantined_at: datetime | None
    service_id: UUID
    service_name: str
    service_active: bool
    environment_id: UUID
    environment_name: str
    environment_active: bool
    freezes: Sequence[ActivePolicy]
    locked_at: datetime | None
    lock_reason: str
    lock_expires_at: datetime | None
    locked_by: str | None
    running_release_id: UUID | None
    in_front: UUID | None
    kind: str | None
    hotfix_reason: str
    source_id: UUID | None
    source_name: str | None
    soaking_since: datetime | None
    soak_seconds: int
    approvals: Quorum

    @property
    def ordinary_kind(self) -> DeploymentKind:
        """REDEPLOY for a release that is what runs there, else PLANNED."""
        runs_there = self.running_release_id == self.release_id
        return DeploymentKind.REDEPLOY if runs_there else DeploymentKind.PLANNED


@dataclass(frozen=True)
class Blocker:
    """A closed gate.

    Attributes:
        kind: Which.
        message: A sentence for a person.
        subject_id: What closes it.
        until: When it opens by itself; None when that is not known.
        waiting_for: Who can act: usernames, and team names as "team payments".
    """

    kind: BlockerKind
    message: str
    subject_id: UUID
    until: datetime | None = None
    waiting_for: Sequence[str] = field(default_factory=tuple)

    def stored(self) -> dict[str, Any]:  # JSON
        """Return it as the deployment's row keeps it."""
        return {
            "kind": str(self.kind),
            "message": self.message,
            "subject_id": str(self.subject_id),
            "until": self.until.isoformat() if self.until else None,
            "waiting_for": list(self.waiting_for),
        }


Gate = Callable[[Facts, datetime], Iterator[Blocker]]


def evaluate(facts: Facts, now: datetime) -> list[Blocker]:
    """Return every closed gate, in the order a person would look at them; empty when the deployment may start."""
    return [blocker for gate in GATES for blocker in gate(facts, now)]


def changes_at(facts: Facts, blockers: Sequence[Blocker], now: datetime) -> datetime | None:
    """Return when the answer may change by itself; None when only someone's doing can change it.

    Open gates count too: a freeze that begins closes one.
    """
    times = [blocker.until for blocker in blockers if blocker.kind is not BlockerKind.FREEZE]
    times += [windows.next_change(policy.windows, now) for policy in _freezes(facts)]
    return min((time for time in times if time is not None), default=None)


def _release(facts: Facts, _: datetime) -> Iterator[Blocker]:
    return release(facts)


def release(facts: Facts) -> Iterator[Blocker]:
    """Yield what is against the release itself."""
    name, subject = facts.release_name, facts.release_id
    if facts.release_status == ReleaseStatus.DRAFT:
        yield Blocker(BlockerKind.RELEASE, f"{name} is a draft: publish it first.", subject)
    if facts.release_status == ReleaseStatus.ABANDONED:
        yield Blocker(BlockerKind.RELEASE, f"{name} was abandoned: choose another release.", subject)
    if facts.quarantined_at is not None:
        yield Blocker(BlockerKind.RELEASE, f"{name} is in quarantine: {facts.quarantine_reason}", subject)


def _inactive(facts: Facts, _: datetime) -> Iterator[Blocker]:
    if not facts.service_active:
        yield Blocker(BlockerKind.INACTIVE, f"The service {facts.service_name} is not active.", facts.service_id)
    if not facts.environment_active:
        message = f"The environment {facts.environment_name} is not active."
        yield Blocker(BlockerKind.INACTIVE, message, facts.environment_id)


def _promotion(facts: Facts, _: datetime) -> Iterator[Blocker]:
    if facts.source_id is None or facts.soaking_since is not None or _goes_around(facts):
        return
    message = (
        f"{facts.release_name} has not succeeded in {facts.source_name} yet,"
        f" which {facts.environment_name} promotes from."
    )
    yield Blocker(BlockerKind.PROMOTION, message, facts.source_id)


def _soak(facts: Facts, now: datetime) -> Iterator[Blocker]:
    if facts.source_id is None or facts.soaking_since is None or _goes_around(facts):
        return
    until = facts.soaking_since + timedelta(seconds=facts.soak_seconds)
    if until > now:
        message = (
            f"{facts.release_name} must have run in {facts.source_name} for {spoken(facts.soak_seconds)};"
            f" it has been there since {facts.soaking_since:%Y-%m-%d %H:%M} UTC."
        )
        yield Blocker(BlockerKind.SOAK, message, facts.source_id, until=until)


def _goes_around(facts: Facts) -> bool:
    """Whether the deployment need not come from the environment before: a rollback, or a hotfix that says why."""
    return facts.kind == DeploymentKind.ROLLBACK or (facts.kind == DeploymentKind.HOTFIX and bool(facts.hotfix_reason))


def spoken(seconds: int) -> str:
    """Return a span as people say it: "2 h 30 min"."""
    parts = []
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"


def _freeze(facts: Facts, now: datetime) -> Iterator[Blocker]:
    for policy in _freezes(facts):
        frozen = windows.open_until(policy.windows, now)
        if frozen is not None:
            ends = f"until {frozen.until:%Y-%m-%d %H:%M} UTC" if frozen.until else "and does not end by itself"
            message = f"The freeze {policy.name} holds for {facts.environment_name} {ends}."
            yield Blocker(BlockerKind.FREEZE, message, policy.id, until=frozen.until)


def _freezes(facts: Facts) -> Sequence[ActivePolicy]:
    """Return the policies that can freeze the deployment: none for a rollback, which must not wait for one to end."""
    return () if facts.kind == DeploymentKind.ROLLBACK else facts.freezes


def _approval(facts: Facts, _: datetime) -> Iterator[Blocker]:
    quorum = facts.approvals
    if not quorum.missing:
        return
    names = ", ".join(quorum.waiting_for)
    message = f"Waiting for {quorum.missing} of {quorum.needed} approvals{f': {names}' if names else ''}."
    if quorum.asked < quorum.missing:
        again = "Nobody answered in time: ask" if quorum.expired else "Nobody is asked: ask"
        message += f" {again} with CreateApproval."
    if quorum.possible < quorum.needed:
        able = f"only {quorum.possible}" if quorum.possible else "nobody"
        message += f" It needs {quorum.needed}, {able} can approve."
    yield Blocker(BlockerKind.APPROVAL, message, facts.environment_id, waiting_for=quorum.waiting_for)


def _lock(facts: Facts, now: datetime) -> Iterator[Blocker]:
    if facts.locked_at is None or (facts.lock_expires_at is not None and facts.lock_expires_at <= now):
        return
    by = f" by {facts.locked_by}" if facts.locked_by else ""
    message = f"{facts.environment_name} is locked{by}: {facts.lock_reason}"
    yield Blocker(
        BlockerKind.LOCK,
        message,
        facts.environment_id,
        until=facts.lock_expires_at,
        waiting_for=[facts.locked_by] if facts.locked_by else [],
    )


def _queue(facts: Facts, _: datetime) -> Iterator[Blocker]:
    if facts.in_front is not None:
        message = f"Another deployment of {facts.service_name} goes first in {facts.environment_name}."
        yield Blocker(BlockerKind.QUEUE, message, facts.in_front)


GATES: tuple[Gate, ...] = (_release, _inactive, _promotion, _soak, _approval, _freeze, _lock, _queue)
