"""Queries of runbooks and their versions."""

from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Select, and_, bindparam, delete, exists, func, insert, null, select

from relman_server.catalog import store as catalog
from relman_server.catalog.model import Service
from relman_server.environments import store as environments
from relman_server.environments.model import Environment
from relman_server.kernel.db.prepared import Prepared
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.runbooks.inputs import ListRunbooks, WhichVersion
from relman_server.runbooks.model import OldVersion, Runbook, RunbookTag, Searchable
from relman_server.teams import store as teams

_ORDERING = Ordering(
    {"title": Runbook.title, "created_at": Runbook.created_at, "updated_at": Runbook.updated_at},
    default="title",
    tie=Runbook.id,
)
_NAMES = (
    func.coalesce(Service.name, "").label("service_name"),
    func.coalesce(Environment.name, "").label("environment_name"),
)


def runbook_id(reference: str) -> UUID:
    """Return the id that a reference is; raises NotFound for what is no id."""
    found = parse_id(reference)
    if found is None:
        raise NotFound("runbook", reference)
    return found


def _named(*columns: Any) -> Select[Any]:  # columns, or a mapped class
    return (
        select(*columns, *_NAMES)
        .select_from(Runbook)
        .outerjoin(Service, Service.id == Runbook.service_id)
        .outerjoin(Environment, Environment.id == Runbook.environment_id)
    )


@cache
def _runbooks() -> Select[Any]:
    return _named(*Runbook.__table__.columns)


def get_runbook_by_id(tx: Reading, wanted: UUID) -> Record:
    """Return a runbook with service_name and environment_name; raises NotFound."""
    found = tx.row(_runbooks().where(Runbook.id == wanted))
    if found is None:
        raise NotFound("runbook", str(wanted))
    return found


def get_version(tx: Reading, wanted: WhichVersion) -> Record:
    """Return a runbook in one of its versions, an older one without row_version; raises NotFound."""
    newest = get_runbook_by_id(tx, runbook_id(wanted.runbook))
    if wanted.version in {0, newest.version}:
        return newest
    old = OldVersion.__table__.columns
    columns: list[Any] = [column for column in old if column.name != "runbook_id"]  # of different types
    found = tx.row(
        select(Runbook.id, Runbook.created_by, Runbook.created_at, null().label("row_version"), *columns)
        .join(Runbook, Runbook.id == OldVersion.runbook_id)
        .where(OldVersion.runbook_id == newest.id, OldVersion.version == wanted.version)
    )
    if found is None:
        raise NotFound("runbook", f"{wanted.runbook} in version {wanted.version}")
    return found


AT_ONCE = 25
"""Runbooks that `runbooks_at` reads."""


def _runbooks_at() -> Select[Any]:
    places = [bindparam(f"place_{number}", type_=BigInteger) for number in range(AT_ONCE)]
    found = _runbooks().add_columns(Searchable.place).join(Searchable, Searchable.runbook_id == Runbook.id)
    return found.where(Searchable.place.in_(places))


_AT = Prepared(_runbooks_at)
_NOWHERE = -1


def runbooks_at(tx: Reading, places: Sequence[int]) -> dict[int, Record]:
    """Return runbooks that searches find, with service_name and environment_name, by their place; AT_ONCE at most."""
    parameters = {f"place_{number}": _NOWHERE for number in range(AT_ONCE)}
    parameters |= {f"place_{number}": place for number, place in enumerate(places)}
    return {row.place: row for row in tx.rows(_AT, parameters)}


def lock_runbook(tx: Transaction, reference: str) -> Record:
    """Return `Runbook` for changing, service_name, environment_name, owner_id and `caller_role`; raises NotFound."""
    role = teams.caller_role(tx.caller.user_id, Service.team_id)
    found = tx.row(
        _named(Runbook, Service.owner_id, role).where(Runbook.id == runbook_id(reference)).with_for_update(of=Runbook)
    )
    if found is None:
        raise NotFound("runbook", reference)
    return found


def list_runbooks(tx: Reading, wanted: ListRunbooks) -> Listed:
    """Return a page of runbooks; raises NotFound for an unknown service or environment."""
    statement = _runbooks()
    if wanted.service:
        statement = statement.where(Runbook.service_id == catalog.get_service(tx, wanted.service).id)
    if wanted.environment:
        statement = statement.where(Runbook.environment_id == environments.environment_id(tx, wanted.environment))
    if wanted.tag:
        carries = and_(RunbookTag.runbook_id == Runbook.id, RunbookTag.tag == wanted.tag)
        statement = statement.where(exists().where(carries))
    if wanted.is_active is not None:
        statement = statement.where(Runbook.is_active == wanted.is_active)
    return paginate(tx, statement, _ORDERING, wanted)


def keep_version(tx: Transaction, found: Record) -> None:
    """Store the version that a runbook has, before it gets a newer one."""
    runbook: Runbook = found.Runbook
    names = ("version", "title", "content", "service_id", "environment_id", "is_active", "updated_by", "updated_at")
    tx.execute(
        insert(OldVersion).values(
            runbook_id=runbook.id,
            tags=list(runbook.tags),
            service_name=found.service_name,
            environment_name=found.environment_name,
            **{name: getattr(runbook, name) for name in names},
        )
    )


def set_tags(tx: Transaction, runbook: Runbook, tags: Sequence[str]) -> None:
    """Keep the tags of a runbook where lists look for them."""
    tx.execute(delete(RunbookTag).where(RunbookTag.runbook_id == runbook.id))
    if tags:
        tx.execute(insert(RunbookTag), [{"tag": tag, "runbook_id": runbook.id} for tag in tags])
