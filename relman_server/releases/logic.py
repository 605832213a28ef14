"""Rules of releases."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from relman_server.catalog import logic as catalog
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import (
    AlreadyExists,
    Condition,
    FailedPrecondition,
    InvalidInput,
    Violation,
    wrong_state,
)
from relman_server.releases import store
from relman_server.releases.inputs import Abandonment, History, Hold, NewRelease, ReleaseChange, ReleasedChange
from relman_server.releases.model import Chain, Release, ReleaseStatus

# Where each release went: rows of the resource above, by release.
DeploymentsOf = Callable[[Reading, Sequence[UUID]], Mapping[UUID, Sequence[Record]]]


@dataclass(frozen=True)
class ReleaseChanged:
    """A release may be deployed from now on, or no longer."""

    release_id: UUID


def create_release(tx: Transaction, new: NewRelease) -> Record:
    """Record a draft release of a service.

    Raises NotFound for an unknown service or previous release, PermissionDenied for someone outside its team,
    InvalidInput for a previous release of another service, and AlreadyExists when the service has that version.
    """
    service = catalog.require_service(tx, new.service)
    catalog.require_team(tx.caller, service)
    named = new.previous_release
    previous = _previous(tx, named, service.id) if named else store.newest_published(tx, service.id)
    release = Release(
        service_id=service.id,
        version=new.version,
        status=ReleaseStatus.DRAFT,
        release_notes=new.release_notes,
        git_commit=new.git_commit,
        changes=_stored(new.changes),
        previous_release_id=previous,
        published_at=None,
        quarantine_reason="",
        quarantined_by=None,
        quarantined_at=None,
        created_by=tx.caller.user_id,
    )
    tx.add(release, conflict=AlreadyExists("release", f"{service.name}@{new.version}"))
    tx.audit("release.create", release)
    return store.get_release_by_id(tx, release.id)


def update_release(tx: Transaction, change: ReleaseChange) -> Record:
    """Change a release: the notes always, the rest while it is a draft.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, FailedPrecondition for what only a draft allows, and
    AlreadyExists when the service has that version.
    """
    found, release = _lock(tx, change.release, change.etag)
    wanted = change.wanted()
    frozen = sorted(wanted.keys() - {"release_notes"})
    if frozen and release.status != ReleaseStatus.DRAFT:
        raise _wrong(
            found, release, f"Only a draft's {', '.join(frozen)} may change; this release is {release.status}."
        )
    if "changes" in wanted:
        wanted["changes"] = _stored(change.changes)
    if "previous_release" in wanted:
        name = wanted.pop("previous_release")
        previous = _previous(tx, name, release.service_id) if name else None
        if previous is not None and store.leads_to(tx, previous, release.id):
            raise InvalidInput(
                Violation(
                    "previous_release", f"would lead in a circle: it comes after {found.service_name}@{release.version}"
                )
            )
        wanted["previous_release_id"] = previous
    for name, value in wanted.items():
        setattr(release, name, value)
    tx.flush(conflict=AlreadyExists("release", f"{found.service_name}@{release.version}"))
    tx.audit("release.update", release)
    return store.get_release_by_id(tx, release.id)


def delete_release(tx: Transaction, reference: str, etag: str) -> None:
    """Delete a draft.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition for anything but a draft that
    nothing refers to.
    """
    found, release = _lock(tx, reference, etag)
    if release.status != ReleaseStatus.DRAFT:
        raise _wrong(found, release, f"Only a draft may be deleted; this release is {release.status}. Abandon it.")
    name = f"{found.service_name}@{release.version}"
    used = Condition("IN_USE", name, "delete what refers to it, or abandon it")
    message = f"{name} has deployments, or is the previous release of others."
    tx.delete(release, conflict=FailedPrecondition(message, used, reason="IN_USE"))
    tx.audit("release.delete", release)


def publish_release(tx: Transaction, reference: str, etag: str) -> Record:
    """Make a draft deployable.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition for anything but a draft.
    """
    found, release = _lock(tx, reference, etag)
    if release.status != ReleaseStatus.DRAFT:
        raise _wrong(found, release, f"Only a draft may be published; this release is {release.status}.")
    release.status = ReleaseStatus.PUBLISHED
    release.published_at = tx.now
    return _done(tx, "release.publish", release)


def abandon_release(tx: Transaction, said: Abandonment) -> Record:
    """Give a release up; it cannot be deployed any more.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition for one that is deployed.
    """
    found, release = _lock(tx, said.release, said.etag)
    if release.status in {ReleaseStatus.DEPLOYED, ReleaseStatus.ABANDONED}:
        raise _wrong(found, release, f"A release that is {release.status} cannot be abandoned.")
    release.status = ReleaseStatus.ABANDONED
    return _done(tx, "release.abandon", release, reason=said.reason)


def quarantine_release(tx: Transaction, hold: Hold) -> Record:
    """Hold a release everywhere.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when it is held already.
    """
    found, release = _lock(tx, hold.release, hold.etag)
    if release.quarantined_at is not None:
        raise _wrong(
            found, release, f"The release is in quarantine already: {release.quarantine_reason}", "QUARANTINED"
        )
    release.quarantine_reason = hold.reason
    release.quarantined_by = tx.caller.user_id
    release.quarantined_at = tx.now
    return _done(tx, "release.quarantine", release, reason=hold.reason)


def hold(tx: Transaction, release_id: UUID, reason: str, *, by: UUID | None) -> None:
    """Hold a release that was rolled back, unless it is held already."""
    release = tx.lock(Release, release_id)
    assert release is not None
    if release.quarantined_at is None:
        release.quarantine_reason = reason
        release.quarantined_by = by
        release.quarantined_at = tx.now
        tx.audit("release.quarantine", release, reason=reason)
        tx.emit(ReleaseChanged(release_id))


def clear_quarantine(tx: Transaction, hold: Hold) -> Record:
    """End the hold on a release.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when it is not held.
    """
    found, release = _lock(tx, hold.release, hold.etag)
    if release.quarantined_at is None:
        raise _wrong(found, release, "The release is not in quarantine.")
    release.quarantine_reason = ""
    release.quarantined_by = None
    release.quarantined_at = None
    return _done(tx, "release.clear_quarantine", release, reason=hold.reason)


def history(tx: Reading, wanted: History, deployments_of: DeploymentsOf) -> Chain:
    """Return the chain of releases before one, with where each was deployed; raises NotFound."""
    start = store.get_release(tx, wanted.release)
    found = _until_it_repeats(store.chain(tx, start.id, wanted.depth))
    releases = found[: wanted.depth]
    return Chain(releases, deployments_of(tx, [row.id for row in releases]), len(found) > len(releases))


def _until_it_repeats(chain: Sequence[Record]) -> Sequence[Record]:
    """Return the chain up to where it comes back to itself, which only a damaged database lets it."""
    seen: set[UUID] = set()
    for place, row in enumerate(chain):
        if row.id in seen:
            return chain[:place]
        seen.add(row.id)
    return chain


def deployed_to_production(tx: Transaction, release_id: UUID, *, succeeded: bool) -> None:
    """Note how a release's newest production deployment ended."""
    release = tx.lock(Release, release_id)
    assert release is not None
    before = release.status
    if succeeded and release.status in {ReleaseStatus.PUBLISHED, ReleaseStatus.FAILED}:
        release.status = ReleaseStatus.DEPLOYED
    elif not succeeded and release.status == ReleaseStatus.PUBLISHED:
        release.status = ReleaseStatus.FAILED
    if release.status != before:
        tx.audit("release.deployed" if succeeded else "release.failed", release)


def _lock(tx: Transaction, reference: str, etag: str) -> tuple[Record, Release]:
    found = store.lock_release(tx, reference)
    catalog.require_team(tx.caller, found)
    release: Release = found.Release
    tx.match_etag(release, etag)
    return found, release


def _done(tx: Transaction, action: str, release: Release, reason: str = "") -> Record:
    tx.audit(action, release, reason=reason)
    tx.emit(ReleaseChanged(release.id))
    return store.get_release_by_id(tx, release.id)


def _wrong(found: Record, release: Release, message: str, state: str = "") -> FailedPrecondition:
    return wrong_state(f"{found.service_name}@{release.version}", state or release.status, message)


def _previous(tx: Reading, reference: str, service_id: UUID) -> UUID:
    previous = store.get_release(tx, reference)
    if previous.service_id != service_id:
        raise InvalidInput(Violation("previous_release", "must be a release of the same service"))
    found: UUID = previous.id
    return found


def _stored(changes: list[ReleasedChange]) -> list[dict[str, Any]]:  # JSON
    return [change.model_dump(mode="json") for change in changes]
