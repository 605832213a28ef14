"""Queries of deployments and their events."""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, or_, select

from relman_server.catalog import store as catalog
from relman_server.catalog.model import Service
from relman_server.deployments.inputs import ListDeployments, ListEvents
from relman_server.deployments.model import (
    Deployment,
    DeploymentEvent,
    DeploymentKind,
    Lease,
    Stage,
    has_succeeded,
    is_waiting,
)
from relman_server.environments import store as environments
from relman_server.environments.model import Environment
from relman_server.kernel.db.model import alias_of
from relman_server.kernel.db.prepared import Prepared
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import InvalidInput, NotFound, Violation
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Listing, Ordering, paginate
from relman_server.kernel.sql import referred
from relman_server.releases import store as releases
from relman_server.releases.model import Release
from relman_server.teams import store as teams

_ORDERING = Ordering(
    {
        "created_at": Deployment.created_at,
        # What has not ended stands where it was created.
        "completed_at": func.coalesce(Deployment.completed_at, Deployment.created_at),
        "status": Deployment.status,
    },
    default="created_at desc",
    tie=Deployment.id,
)
_EVENT_ORDERING = Ordering(
    {"revision": DeploymentEvent.revision}, default="revision", tie=DeploymentEvent.deployment_id
)
_source = alias_of(Environment)  # once: an alias costs more to make than a query to run


def deployment_id(reference: str) -> UUID:
    """Return the id that a reference to a deployment is; raises InvalidInput for anything else."""
    found = parse_id(reference)
    if found is None:
        raise InvalidInput(Violation("deployment", "must be the id of a deployment: a UUID of 36 characters"))
    return found


def _joined(*columns: Any) -> Select[Any]:  # columns, or a mapped class
    return (
        select(*columns)
        .join(Release, Release.id == Deployment.release_id)
        .join(Service, Service.id == Deployment.service_id)
        .join(Environment, Environment.id == Deployment.environment_id)
    )


_NAMES = (
    Release.version.label("release_version"),
    Service.name.label("service_name"),
    Environment.name.label("environment_name"),
)


@cache
def _deployments() -> Select[Any]:
    return _joined(*Deployment.__table__.columns, *_NAMES)


_BY_ID = Prepared(lambda: _deployments().where(Deployment.id == bindparam("id")))


def get_deployment(tx: Reading, reference: str) -> Record:
    """Return a deployment with release_version, service_name and environment_name; raises NotFound."""
    return get_deployment_by_id(tx, deployment_id(reference))


def get_deployment_by_id(tx: Reading, wanted: UUID) -> Record:
    """Return a deployment with release_version, service_name and environment_name; raises NotFound."""
    found = tx.row(_BY_ID, {"id": wanted})
    if found is None:
        raise NotFound("deployment", str(wanted))
    return found


def deployments_by_id(tx: Reading, wanted: Collection[UUID]) -> dict[UUID, Record]:
    """Return deployments as `get_deployment` does, by id."""
    return {row.id: row for row in tx.rows(_deployments().where(Deployment.id.in_(wanted)))}


def heads(tx: Reading, wanted: Collection[UUID]) -> Sequence[Record]:
    """Return id, revision and status of the deployments that exist, in one statement."""
    return tx.rows(select(Deployment.id, Deployment.revision, Deployment.status).where(Deployment.id.in_(wanted)))


def lock_deployment(tx: Transaction, wanted: UUID, *, with_queue: bool = False) -> Record:
    """Return `Deployment` for changing, service_name, owner_id, `caller_role` and environment_type; raises NotFound.

    Args:
        tx: Where to read.
        wanted: Id of the deployment.
        with_queue: Also keep everyone else from adding to the queues of the service, and from leaving them.
    """
    role = teams.caller_role(tx.caller.user_id, Service.team_id)
    found = tx.row(
        _joined(Deployment, *_NAMES, Service.owner_id, Environment.environment_type, role)
        .where(Deployment.id == wanted)
        # Weaker than FOR UPDATE: log chunks, which refer to the deployment, may be written meanwhile.
        .with_for_update(of=(Service, Deployment) if with_queue else Deployment, key_share=True)
    )
    if found is None:
        raise NotFound("deployment", str(wanted))
    return found


def lock_with_overdue_stage(tx: Transaction) -> Record | None:
    """As `_lock_first`, of those with a stage that should have ended by now, the one where that is longest ago."""
    return _lock_first(tx, Stage, Stage.due_at)


def lock_with_expired_lease(tx: Transaction) -> Record | None:
    """As `_lock_first`, of those whose lease ran out, the one where that is longest ago."""
    return _lock_first(tx, Lease, Lease.expires_at)


def _lock_first(tx: Transaction, part: Any, due: Any) -> Record | None:  # a mapped class, and a column of it
    """Return the deployment with the part that is due first, locked with its queue; None when none is due.

    As `lock_deployment`. What someone else has locked is passed over. The part is not locked, and may have changed.
    """
    return tx.row(
        _joined(Deployment, *_NAMES, Service.owner_id, Environment.environment_type)
        .join(part, part.deployment_id == Deployment.id)
        .where(due <= tx.now)
        .order_by(due)
        .limit(1)
        .with_for_update(of=(Service, Deployment), key_share=True, skip_locked=True)
    )


def waiting_for_a_time(tx: Transaction, limit: int) -> Sequence[Deployment]:
    """Return some waiting deployments whose time to be looked at has come, for changing, oldest first.

    Those that someone else has locked are passed over.
    """
    return tx.entities(
        select(Deployment)
        .where(Deployment.look_again_at <= tx.now, is_waiting())
        .order_by(Deployment.created_at, Deployment.id)
        .limit(limit)
        .with_for_update(of=Deployment, key_share=True, skip_locked=True)
    )


def hold_surroundings(tx: Transaction, wanted: UUID) -> None:
    """Keep a deployment's release, service and environment from changing; to be called before it is locked itself.

    Who changes one of them locks it first and then the deployments. On PostgreSQL, a transaction that updates a row a
    second time locks what the row refers to, which would be the other way around.
    """
    tx.rows(
        _joined(Deployment.id)
        .where(Deployment.id == wanted)
        .with_for_update(of=(Release, Service, Environment), read=True, key_share=True)
    )


_LIST = Listing(
    _deployments,
    _ORDERING,
    {
        "service_id": lambda it: Deployment.service_id == it,
        "service_name": lambda it: (
            Deployment.service_id == select(Service.id).where(Service.name == it).scalar_subquery()
        ),
        "environment_id": lambda it: Deployment.environment_id == it,
        "environment_name": lambda it: (
            Deployment.environment_id == select(Environment.id).where(Environment.name == it).scalar_subquery()
        ),
        "status": lambda it: Deployment.status == it,
        "kind": lambda it: Deployment.kind == it,
        "start_date": lambda it: Deployment.created_at >= it,
        "end_date": lambda it: Deployment.created_at < it,
    },
)


def list_deployments(tx: Reading, wanted: ListDeployments) -> Listed:
    """Return a page of deployments; raises NotFound for an unknown release, service or environment."""
    values = {
        **referred("service", wanted.service),
        **referred("environment", wanted.environment),
        "status": wanted.status,
        "kind": wanted.kind,
        "start_date": wanted.start_date,
        "end_date": wanted.end_date,
    }
    of_release = []
    if wanted.release:
        release = select(Release.id).join(Service, Service.id == Release.service_id)
        named = release.where(releases.named(wanted.release)).scalar_subquery()
        of_release = [Deployment.release_id == named]
    listed = _LIST.page(tx, wanted, values, *of_release)
    if not listed.rows:
        _require_filters(tx, wanted)
    return listed


def _require_filters(tx: Reading, wanted: ListDeployments) -> None:
    """Raise NotFound for what a filter names and is not there: an empty page would hide the misspelling."""
    filter_ids(tx, service=wanted.service, environment=wanted.environment, release=wanted.release)


def filter_ids(
    tx: Reading, *, service: str | None = None, environment: str | None = None, release: str | None = None
) -> frozenset[UUID]:
    """Return the ids of what filters name, in one statement; raises NotFound for what is not there."""
    sought: dict[str, tuple[str, Select[Any]]] = {}
    if release:
        of_service = select(Release.id).join(Service, Service.id == Release.service_id)
        sought["release"] = (release, of_service.where(releases.named(release)))
    if service:
        sought["service"] = (service, select(Service.id).where(catalog.named(service)))
    if environment:
        sought["environment"] = (environment, select(Environment.id).where(environments.named(environment)))
    if not sought:
        return frozenset()
    found = tx.row(select(*(statement.scalar_subquery().label(kind) for kind, (_, statement) in sought.items())))
    assert found is not None
    for kind, (reference, _) in sought.items():
        if getattr(found, kind) is None:
            raise NotFound(kind, reference)
    return frozenset(found)


def same_queue(deployment: Deployment) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return the conditions that a deployment is of the same service, into the same environment."""
    return (
        Deployment.service_id == deployment.service_id,
        Deployment.environment_id == deployment.environment_id,
    )


def behind(deployment: Deployment) -> ColumnElement[bool]:
    """Return the condition that a deployment comes after another in the queue, as `facts.facts_of` says."""
    if deployment.kind == DeploymentKind.ROLLBACK:
        return Deployment.id != deployment.id
    return or_(
        Deployment.created_at > deployment.created_at,
        and_(Deployment.created_at == deployment.created_at, Deployment.id > deployment.id),
    )


def waiting_deployments(tx: Transaction, *conditions: ColumnElement[bool]) -> Sequence[Deployment]:
    """Return the waiting deployments that meet the conditions, for changing, oldest first."""
    return tx.entities(
        select(Deployment)
        .where(is_waiting(), *conditions)
        .order_by(Deployment.created_at, Deployment.id)
        .with_for_update(of=Deployment, key_share=True)
    )


def newest_creation(tx: Reading, service_id: UUID) -> datetime | None:
    """Return when the service's newest deployment was created; None before the first."""
    found: datetime | None = tx.scalar(
        select(Deployment.created_at)
        .where(Deployment.service_id == service_id)
        .order_by(Deployment.created_at.desc())
        .limit(1)
    )
    return found


def next_environments(tx: Reading, release_id: UUID) -> Sequence[Record]:
    """Return the active environments (id, name, `source` name) that promote from where a release succeeded last.

    Empty `id` and `name` when nothing promotes from there; no row when the release succeeded nowhere.
    """
    last = (
        select(Deployment.environment_id)
        .where(Deployment.release_id == release_id, has_succeeded())
        .order_by(Deployment.completed_at.desc(), Deployment.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return tx.rows(
        select(Environment.id, Environment.name, _source.name.label("source"))
        .select_from(_source)
        .outerjoin(Environment, and_(Environment.promotes_from == _source.id, Environment.is_active))
        .where(_source.id == last)
        .order_by(Environment.name)
    )


def deployments_of(tx: Reading, release_ids: Sequence[UUID]) -> dict[UUID, list[Record]]:
    """Return, by release, its newest deployment in every environment it went to, newest first."""
    rank = func.row_number().over(
        partition_by=(Deployment.release_id, Deployment.environment_id),
        order_by=(Deployment.created_at.desc(), Deployment.id.desc()),
    )
    newest = (
        select(
            Deployment.id.label("deployment_id"),
            Deployment.release_id,
            Deployment.environment_id,
            Deployment.status,
            Deployment.completed_at,
            Deployment.created_at,
            rank.label("rank"),
        )
        .where(Deployment.release_id.in_(release_ids))
        .subquery()
    )
    rows = tx.rows(
        select(newest, Environment.name.label("environment_name"))
        .join(Environment, Environment.id == newest.c.environment_id)
        .where(newest.c.rank == 1)
        .order_by(newest.c.created_at.desc())
    )
    found: dict[UUID, list[Record]] = {}
    for row in rows:
        found.setdefault(row.release_id, []).append(row)
    return found


def list_events(tx: Reading, wanted: ListEvents) -> Listed:
    """Return a page of a deployment's events; raises NotFound."""
    found = deployment_id(wanted.deployment)
    listed = paginate(
        tx,
        select(*DeploymentEvent.__table__.columns).where(
            DeploymentEvent.deployment_id == found, DeploymentEvent.revision > wanted.after_revision
        ),
        _EVENT_ORDERING,
        wanted,
    )
    if not listed.rows:
        get_deployment_by_id(tx, found)
    return listed


def events_after(tx: Reading, deployment: UUID, revision: int, limit: int) -> Sequence[Record]:
    """Return the events of a deployment after a revision, oldest first."""
    return tx.rows(
        select(*DeploymentEvent.__table__.columns)
        .where(DeploymentEvent.deployment_id == deployment, DeploymentEvent.revision > revision)
        .order_by(DeploymentEvent.revision)
        .limit(limit)
    )
