"""Which change reached which environment when: kept up to date as deployments succeed and are deleted."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from sqlalchemy import Text, cast, delete, exists, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from relman_server.analytics.model import Basis, DeliveredChange, DeliveryRoute
from relman_server.deployments.history import DeploymentDeleted, DeploymentMoved
from relman_server.deployments.model import Deployment, Outcome
from relman_server.incidents import blame
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.releases.model import Release

Change = tuple[UUID, datetime, Basis]
"""Of a release: its id, when it was made, and how that is known."""


def change_id(service_id: UUID, commit: str) -> UUID:
    """Return the id of a service's commit, the same in whatever release it is."""
    return uuid5(service_id, commit)


def route_id(places: str) -> UUID:
    """Return the id of a route, of its places as DeliveryRoute has them."""
    return uuid5(NAMESPACE_OID, places)


def deployment_moved(tx: Transaction, moved: DeploymentMoved) -> None:
    """Note what reached an environment first by a deployment that has just succeeded."""
    deployment = moved.deployment
    if deployment.outcome != Outcome.SUCCEEDED:
        return
    release = tx.row(_RELEASE.where(Release.id == deployment.release_id))
    assert release is not None
    changes = _changes_of(release, _Kept(tx, deployment))
    reached = _reached(tx, [change for change, *_ in changes])
    _add(tx, _news(deployment, changes, reached, opening=_is_opening(tx, deployment)))


def _is_opening(tx: Transaction, deployment: Deployment) -> bool:
    """Whether nothing of a service reached an environment before."""
    there = (
        DeliveredChange.service_id == deployment.service_id,
        DeliveredChange.environment_id == deployment.environment_id,
    )
    return not tx.scalar(select(exists().where(*there)))


def deployment_deleted(tx: Transaction, deleted: DeploymentDeleted) -> None:
    """Find out anew what reached which environment when, now that a deployment is gone that had brought something."""
    if deleted.deployment.outcome == Outcome.SUCCEEDED:
        _find_anew(tx, deleted.deployment.service_id)


def rebuild(tx: Transaction, service_id: UUID) -> None:
    """Find out anew what of a service reached which environment when, and which of its deployments are blamed."""
    blame.judge_service(tx, service_id)
    _find_anew(tx, service_id)


def _find_anew(tx: Transaction, service_id: UUID) -> None:
    tx.execute(delete(DeliveredChange).where(DeliveredChange.service_id == service_id))
    reached: Reached = {}
    known = _Known(service_id)
    rows: list[dict[str, Any]] = []
    opened: set[UUID] = set()
    for row in tx.rows(_successes(service_id)):
        rows += _news(row, _changes_of(row, known), reached, opening=row.environment_id not in opened)
        opened.add(row.environment_id)
    _add(tx, rows)


Reached = dict[UUID, list[UUID]]
"""The environments that a change reached, in that order."""

_RELEASE = select(Release.id.label("release_id"), Release.changes, Release.git_commit, Release.created_at)


def _successes(service_id: UUID) -> Any:  # a select
    return (
        _RELEASE.add_columns(Deployment.id, Deployment.service_id, Deployment.environment_id, Deployment.completed_at)
        .join(Deployment, Deployment.release_id == Release.id)
        .where(Deployment.service_id == service_id, Deployment.outcome == Outcome.SUCCEEDED)
        .order_by(Deployment.completed_at, Deployment.id)
    )


class _Known:
    """Knows when commits of a service were made: as the first release says that got anywhere and lists them.

    Args:
        service_id: The service.
    """

    def __init__(self, service_id: UUID) -> None:
        self.service_id = service_id
        self._noted: dict[UUID, datetime] = {}

    def note(self, changes: Sequence[Change]) -> None:
        """Note when changes were made."""
        for key, made, _ in changes:
            self._noted.setdefault(key, made)

    def made(self, commit: str) -> datetime | None:
        """Return when a commit was made."""
        return self._noted.get(change_id(self.service_id, commit))


class _Kept(_Known):
    """Knows the same of what is kept, at the end of a deployment.

    Args:
        tx: Where to look.
        deployment: Commits that had reached its environment before are no news: their age is not looked up.
    """

    def __init__(self, tx: Transaction, deployment: Deployment) -> None:
        super().__init__(deployment.service_id)
        assert deployment.completed_at is not None
        self._tx = tx
        self._place = deployment.environment_id
        self._now = deployment.completed_at

    def made(self, commit: str) -> datetime | None:
        """Return when a commit was made."""
        key = change_id(self.service_id, commit)
        arrived = self._tx.rows(select(*_ARRIVAL).where(DeliveredChange.change_id == key))
        if any(row.environment_id == self._place for row in arrived):
            return None
        by_basis = {basis: [row for row in arrived if row.basis == basis] for basis in Basis}
        if by_basis[Basis.GIT_COMMIT]:  # The same was found then.
            return by_basis[Basis.GIT_COMMIT][0].committed_at  # type: ignore[no-any-return]  # of a row
        said = [(row.delivered_at, row.deployment_id, row.committed_at) for row in by_basis[Basis.CHANGES]]
        for row in by_basis[Basis.RELEASE]:
            said += self._listed(commit, row, min(said)[0] if said else self._now)
        return min(said)[2] if said else None

    def _listed(self, commit: str, arrival: Record, until: datetime) -> Iterator[tuple[datetime, UUID, datetime]]:
        """Look through releases for those that list a commit where it had arrived unlisted.

        They brought nothing new, so no row says when it was made.

        Returns:
            When each was there by which deployment, and when the commit was made.
        """
        there = (
            Deployment.service_id == self.service_id,
            Deployment.environment_id == arrival.environment_id,
            Deployment.outcome == Outcome.SUCCEEDED,
            Deployment.completed_at.between(arrival.delivered_at, until),
        )
        listing = (
            select(Deployment.completed_at, Deployment.id, Release.changes)
            .join(Release, Release.id == Deployment.release_id)
            .where(*there, cast(Release.changes, Text).contains(commit))
        )
        key = change_id(self.service_id, commit)
        for row in self._tx.rows(listing):
            for found, made, _ in _timed(self.service_id, row.changes):
                if found == key:
                    yield row.completed_at, row.id, made


_ARRIVAL = (
    DeliveredChange.environment_id,
    DeliveredChange.deployment_id,
    DeliveredChange.delivered_at,
    DeliveredChange.committed_at,
    DeliveredChange.basis,
)


def _changes_of(release: Record, known: _Known) -> list[Change]:
    """Return the changes of a release whose time is known; without any, the release as the one change that it is."""
    timed = list(_timed(known.service_id, release.changes))
    if timed:
        known.note(timed)
        return timed
    key = change_id(known.service_id, release.git_commit or str(release.release_id))
    made = known.made(release.git_commit) if release.git_commit else None
    return [(key, made, Basis.GIT_COMMIT)] if made else [(key, release.created_at, Basis.RELEASE)]


def _timed(service_id: UUID, changes: Sequence[dict[str, Any]]) -> Iterator[Change]:
    found = set()
    for change in changes:
        key = change_id(service_id, change["commit"])
        if change.get("committed_at") and key not in found:
            found.add(key)
            yield key, datetime.fromisoformat(change["committed_at"]), Basis.CHANGES


def _reached(tx: Transaction, keys: Sequence[UUID]) -> Reached:
    rows = tx.rows(
        select(DeliveredChange.change_id, DeliveredChange.environment_id)
        .where(DeliveredChange.change_id.in_(keys))
        .order_by(DeliveredChange.delivered_at, DeliveredChange.deployment_id)
    )
    found: Reached = {}
    for row in rows:
        found.setdefault(row.change_id, []).append(row.environment_id)
    return found


def _news(deployment: Any, changes: Sequence[Change], reached: Reached, *, opening: bool) -> Iterator[dict[str, Any]]:
    """Return a row for each change that is new to where a deployment went, and note that it got there.

    Of routes, rows have the `places`.

    Args:
        deployment: A Deployment, or a row with its columns.
        changes: Of its release.
        reached: What got where before.
        opening: Whether it is the first success of its service there.
    """
    for key, committed_at, basis in changes:
        places = reached.setdefault(key, [])
        if deployment.environment_id in places:
            continue
        yield {
            "change_id": key,
            "environment_id": deployment.environment_id,
            "service_id": deployment.service_id,
            "deployment_id": deployment.id,
            "delivered_at": deployment.completed_at,
            "committed_at": committed_at,
            "basis": basis,
            "is_opening": opening,
            "places": ",".join(sorted(place.hex for place in places)),
        }
        places.append(deployment.environment_id)


def _add(tx: Transaction, rows: Iterable[dict[str, Any]]) -> None:
    new = list(rows)
    # In order, so that two who write down the same ones do not wait for each other.
    routes = {places: route_id(places) for places in sorted({row["places"] for row in new}) if places}
    if routes:
        add = sqlite.insert if tx.engine == "sqlite" else postgresql.insert
        found = [{"id": key, "places": places} for places, key in routes.items()]
        tx.execute(add(DeliveryRoute).on_conflict_do_nothing(), found)
    for row in new:
        row["route_id"] = routes.get(row.pop("places"))
    if new:
        tx.execute(insert(DeliveredChange), new)
