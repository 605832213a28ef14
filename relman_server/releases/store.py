"""Queries of releases."""

from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, bindparam, false, literal, select

from relman_server.catalog import store as catalog
from relman_server.catalog.model import Service
from relman_server.kernel.db.model import alias_of
from relman_server.kernel.db.prepared import Prepared
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Listing, Ordering
from relman_server.kernel.sql import contains, referred
from relman_server.releases.inputs import ListReleases
from relman_server.releases.model import Release
from relman_server.teams import store as teams

_ORDERING = Ordering(
    {"created_at": Release.created_at, "version": Release.version, "status": Release.status},
    default="created_at desc",
    tie=Release.id,
)
_before = alias_of(Release)  # once: an alias costs more to make than a query to run


def named(reference: str) -> ColumnElement[bool]:
    """Return the condition that a release, joined with its service, is the one referred to: id or `service@version`."""
    release_id = parse_id(reference)
    if release_id is not None:
        return Release.id == release_id
    service, _, version = reference.partition("@")
    if not version:
        return false()
    return and_(catalog.named(service), Release.version == version.removeprefix("v"))


@cache
def _releases() -> Select[Any]:
    columns = (*Release.__table__.columns, Service.name.label("service_name"))
    return select(*columns).join(Service, Service.id == Release.service_id)


_BY_ID = Prepared(lambda: _releases().where(Release.id == bindparam("id")))


def get_release(tx: Reading, reference: str) -> Record:
    """Return a release with its service_name; raises NotFound."""
    release_id = parse_id(reference)
    found = tx.row(_BY_ID, {"id": release_id}) if release_id else tx.row(_releases().where(named(reference)))
    if found is None:
        raise NotFound("release", reference)
    return found


def get_release_by_id(tx: Reading, release_id: UUID) -> Record:
    """Return a release with its service_name; raises NotFound."""
    return get_release(tx, str(release_id))


def release_and_role(tx: Reading, reference: str) -> Record:
    """Return a release with service_name, owner_id and the `caller_role` in the service's team; raises NotFound."""
    role = teams.caller_role(tx.caller.user_id, Service.team_id)
    found = tx.row(_releases().add_columns(Service.owner_id, role).where(named(reference)))
    if found is None:
        raise NotFound("release", reference)
    return found


def lock_release(tx: Transaction, reference: str) -> Record:
    """Return `Release` for changing, service_name, owner_id and `caller_role`; raises NotFound."""
    role = teams.caller_role(tx.caller.user_id, Service.team_id)
    found = tx.row(
        select(Release, Service.name.label("service_name"), Service.owner_id, role)
        .join(Service, Service.id == Release.service_id)
        .where(named(reference))
        .with_for_update(of=Release)
    )
    if found is None:
        raise NotFound("release", reference)
    return found


def newest_published(tx: Reading, service_id: UUID) -> UUID | None:
    """Return the service's release that was published last; None before the first."""
    found: UUID | None = tx.scalar(_NEWEST_PUBLISHED, {"service": service_id})
    return found


_NEWEST_PUBLISHED = Prepared(
    lambda: (
        select(Release.id)
        .where(Release.service_id == bindparam("service"), Release.published_at.is_not(None))
        .order_by(Release.published_at.desc(), Release.id.desc())
        .limit(1)
    )
)


_LIST = Listing(
    _releases,
    _ORDERING,
    {
        # By the service's id, so that the index on it gives the order, too.
        "service_id": lambda it: Release.service_id == select(Service.id).where(Service.id == it).scalar_subquery(),
        "service_name": lambda it: Release.service_id == select(Service.id).where(Service.name == it).scalar_subquery(),
        "status": lambda it: Release.status == it,
        "start_date": lambda it: Release.created_at >= it,
        "end_date": lambda it: Release.created_at < it,
    },
)


def list_releases(tx: Reading, wanted: ListReleases) -> Listed:
    """Return a page of releases; raises NotFound for an unknown service."""
    values = {"status": wanted.status, "start_date": wanted.start_date, "end_date": wanted.end_date}
    query = [contains(wanted.query, Release.version, Release.release_notes)] if wanted.query else []
    listed = _LIST.page(tx, wanted, referred("service", wanted.service) | values, *query)
    if wanted.service and not listed.rows:
        catalog.get_service(tx, wanted.service)
    return listed


def chain(tx: Reading, start: UUID, depth: int) -> Sequence[Record]:
    """Return a release and those before it, newest first, each with its service_name and `depth` from 0.

    Follows previous_release_id, at most `depth` steps, so a cycle ends, too.
    """
    links = select(Release.id, Release.previous_release_id, literal(0).label("depth")).where(Release.id == start)
    link = links.cte("link", recursive=True)
    link = link.union_all(
        select(_before.id, _before.previous_release_id, link.c.depth + 1)
        .join(link, _before.id == link.c.previous_release_id)
        .where(link.c.depth < depth)
    )
    return tx.rows(
        _releases().add_columns(link.c.depth).join(link, link.c.id == Release.id).order_by(link.c.depth.asc())
    )


def leads_to(tx: Reading, start: UUID, target: UUID) -> bool:
    """Return whether a release is another, or has it among those before it."""
    link = select(Release.id, Release.previous_release_id).where(Release.id == start).cte("link", recursive=True)
    # UNION, not UNION ALL: a row that was found before leads nowhere new, so a circle ends.
    link = link.union(
        select(_before.id, _before.previous_release_id).join(link, _before.id == link.c.previous_release_id)
    )
    return tx.scalar(select(link.c.id).where(link.c.id == target).limit(1)) is not None
