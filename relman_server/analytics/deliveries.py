"""Which change reached which environment when: kept up to date as deployments succeed and are deleted."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import delete, insert, select

from relman_server.analytics.model import Basis, DeliveredChange
from relman_server.deployments.history import DeploymentDeleted, DeploymentMoved
from relman_server.deployments.model import Deployment, Outcome
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.releases.model import Release

Change = tuple[UUID, datetime, Basis]
"""Of a release: its id, when it was made, and how that is known."""


def change_id(service_id: UUID, commit: str) -> UUID:
    """Return the id of a service's commit, the same in whatever release it is."""
    return uuid5(service_id, commit)


def deployment_moved(tx: Transaction, moved: DeploymentMoved) -> None:
    """Note what reached an environment first by a deployment that has just succeeded."""
    deployment = moved.deployment
    if deployment.outcome != Outcome.SUCCEEDED:
        return
    release = tx.row(_RELEASE.where(Release.id == deployment.release_id))
    assert release is not None
    assert deployment.completed_at is not None
    changes = _changes_of(tx, deployment.service_id, release)
    known = set(_known(tx, deployment.environment_id, [change for change, *_ in changes]))
    _add(tx, (_row(deployment, change) for change in changes if change[0] not in known))


def deployment_deleted(tx: Transaction, deleted: DeploymentDeleted) -> None:
    """Find out anew what reached the environment when, now that a deployment is gone."""
    rebuild(tx, deleted.service_id, deleted.environment_id)


def rebuild(tx: Transaction, service_id: UUID, environment_id: UUID) -> None:
    """Find out anew what of a service reached an environment when."""
    here = (DeliveredChange.service_id == service_id, DeliveredChange.environment_id == environment_id)
    tx.execute(delete(DeliveredChange).where(*here))
    first: dict[UUID, dict[str, Any]] = {}
    for row in tx.rows(_successes(service_id, environment_id)):
        for change in _changes_of(tx, service_id, row):
            first.setdefault(change[0], _row(row, change))
    _add(tx, first.values())


_RELEASE = select(Release.id.label("release_id"), Release.changes, Release.git_commit, Release.created_at)


def _successes(service_id: UUID, environment_id: UUID) -> Any:  # a select
    return (
        _RELEASE.add_columns(Deployment.id, Deployment.service_id, Deployment.environment_id, Deployment.completed_at)
        .join(Deployment, Deployment.release_id == Release.id)
        .where(
            Deployment.service_id == service_id,
            Deployment.environment_id == environment_id,
            Deployment.outcome == Outcome.SUCCEEDED,
        )
        .order_by(Deployment.completed_at, Deployment.id)
    )


def _changes_of(tx: Transaction, service_id: UUID, release: Record) -> list[Change]:
    """Return the changes of a release whose time is known; without any, the release as the one change that it is."""
    timed = list(_timed(service_id, release.changes))
    if timed:
        return timed
    key = change_id(service_id, release.git_commit or str(release.release_id))
    made = _made(tx, key) if release.git_commit else None
    return [(key, made, Basis.GIT_COMMIT)] if made else [(key, release.created_at, Basis.RELEASE)]


def _timed(service_id: UUID, changes: Sequence[dict[str, Any]]) -> Iterator[Change]:
    found = set()
    for change in changes:
        key = change_id(service_id, change["commit"])
        if change.get("committed_at") and key not in found:
            found.add(key)
            yield key, datetime.fromisoformat(change["committed_at"]), Basis.CHANGES


def _made(tx: Transaction, key: UUID) -> datetime | None:
    """Return when a commit was made, when another release of the service said so and got anywhere."""
    said = (DeliveredChange.change_id == key, DeliveredChange.basis == Basis.CHANGES)
    found: datetime | None = tx.scalar(select(DeliveredChange.committed_at).where(*said).limit(1))
    return found


def _known(tx: Transaction, environment_id: UUID, keys: Sequence[UUID]) -> Iterator[UUID]:
    there = (DeliveredChange.environment_id == environment_id, DeliveredChange.change_id.in_(keys))
    yield from (row.change_id for row in tx.rows(select(DeliveredChange.change_id).where(*there)))


def _row(deployment: Any, change: Change) -> dict[str, Any]:  # a Deployment, or a row with its columns; a new row
    key, committed_at, basis = change
    return {
        "change_id": key,
        "environment_id": deployment.environment_id,
        "service_id": deployment.service_id,
        "deployment_id": deployment.id,
        "delivered_at": deployment.completed_at,
        "committed_at": committed_at,
        "basis": basis,
    }


def _add(tx: Transaction, rows: Iterable[dict[str, Any]]) -> None:
    if new := list(rows):
        tx.execute(insert(DeliveredChange), new)
