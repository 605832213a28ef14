"""Queries of approvals."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Subquery,
    Uuid,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute

from relman_server.approvals.inputs import ListApprovals
from relman_server.approvals.model import Approval, ApprovalStatus, Place
from relman_server.catalog import store as catalog
from relman_server.catalog.model import Service
from relman_server.environments import store as environments
from relman_server.environments.model import Environment
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import InvalidInput, NotFound, Violation
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.teams.model import Team, TeamMember
from relman_server.users import store as users
from relman_server.users.model import User

_ORDERING = Ordering(
    {"created_at": Approval.created_at, "expires_at": Approval.expires_at, "status": Approval.status},
    default="created_at desc",
    tie=Approval.id,
)


def approval_id(reference: str) -> UUID:
    """Return the id that a reference to an approval is; raises InvalidInput for anything else."""
    found = parse_id(reference)
    if found is None:
        raise InvalidInput(Violation("approval", "must be the id of an approval: a UUID of 36 characters"))
    return found


def is_waiting(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """Return the condition that an approval can be answered."""
    return and_(_is_pending(), Approval.expires_at > now)


def is_due(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """Return the condition that nobody answered in time, and it is not marked yet."""
    return and_(_is_pending(), Approval.expires_at <= now)


def _is_pending() -> ColumnElement[bool]:
    # In the statement itself: only so do planners see that the partial index holds what is asked for.
    return Approval.status == literal(ApprovalStatus.PENDING, literal_execute=True)


def is_approved() -> ColumnElement[bool]:
    """Return the condition that an approval was given and counts."""
    return and_(Approval.status == ApprovalStatus.APPROVED, Approval.place.is_not(None))


def _approvals(now: datetime) -> Select[Any]:
    """Select every column; what is past its time is EXPIRED, whether or not it is marked."""
    status = case((is_due(now), ApprovalStatus.EXPIRED), else_=Approval.status).label("status")
    return select(*(column for column in Approval.__table__.columns if column.name != "status"), status)


def get_approval(tx: Reading, reference: str) -> Record:
    """Return an approval as it stands now; raises NotFound."""
    found = tx.row(_approvals(tx.now).where(Approval.id == approval_id(reference)))
    if found is None:
        raise NotFound("approval", reference)
    return found


def get_approval_by_id(tx: Reading, wanted: UUID) -> Record:
    """Return an approval as it stands now; raises NotFound."""
    return get_approval(tx, str(wanted))


def deployment_of(tx: Reading, reference: str) -> UUID:
    """Return the deployment that an approval is about; raises NotFound."""
    found: UUID | None = tx.scalar(select(Approval.deployment_id).where(Approval.id == approval_id(reference)))
    if found is None:
        raise NotFound("approval", reference)
    return found


def list_approvals(tx: Reading, wanted: ListApprovals) -> Listed:
    """Return a page of approvals; raises NotFound for an unknown approver, service or environment."""
    statement = _approvals(tx.now)
    if wanted.status is ApprovalStatus.PENDING:
        statement = statement.where(is_waiting(tx.now))
    elif wanted.status is ApprovalStatus.EXPIRED:
        statement = statement.where(or_(Approval.status == ApprovalStatus.EXPIRED, is_due(tx.now)))
    elif wanted.status:
        statement = statement.where(Approval.status == wanted.status)
    if wanted.deployment:
        statement = statement.where(Approval.deployment_id == wanted.deployment)
    if wanted.approver:
        approver = select(User.id).where(users.named(wanted.approver)).scalar_subquery()
        statement = statement.where(Approval.approver_id == approver)
    if wanted.service:
        service = select(Service.id).where(catalog.named(wanted.service)).scalar_subquery()
        statement = statement.where(Approval.service_id == service)
    if wanted.environment:
        environment = select(Environment.id).where(environments.named(wanted.environment)).scalar_subquery()
        statement = statement.where(Approval.environment_id == environment)
    listed = paginate(tx, statement, _ORDERING, wanted)
    if not listed.rows:
        _require_filters(tx, wanted)
    return listed


def _require_filters(tx: Reading, wanted: ListApprovals) -> None:
    """Raise NotFound for what a filter names and is not there: an empty page would hide the misspelling."""
    if wanted.approver:
        users.get_user(tx, wanted.approver)
    if wanted.service:
        catalog.get_service(tx, wanted.service)
    if wanted.environment:
        environments.get_environment(tx, wanted.environment)


def counting(tx: Transaction, deployments: Collection[UUID]) -> Mapping[UUID, list[Approval]]:
    """Return the approvals that count for something, by deployment, for changing, oldest first.

    The deployments' rows must be locked: whoever changes an approval has locked its deployment before.
    """
    found: dict[UUID, list[Approval]] = {deployment: [] for deployment in deployments}
    rows: Sequence[Approval] = tx.entities(
        select(Approval)
        .where(Approval.deployment_id.in_(deployments), Approval.place.is_not(None))
        .order_by(Approval.created_at, Approval.id)
    )
    for row in rows:
        found[row.deployment_id].append(row)
    return found


def cancel_pending(tx: Transaction, deployment_id: UUID) -> None:
    """Cancel what nobody has answered; the deployment must be locked."""
    tx.execute(
        update(Approval)
        .where(Approval.deployment_id == deployment_id, Approval.status == ApprovalStatus.PENDING)
        .values(status=ApprovalStatus.CANCELLED, place=None, updated_at=tx.now, row_version=Approval.row_version + 1)
        .execution_options(synchronize_session=False)
    )


def people(
    tx: Reading, *, teams: Collection[UUID], admins: bool, deployments: Collection[UUID] = ()
) -> Sequence[Record]:
    """Return the people concerned, in one statement: `source`, `source_id`, `source_name`, user_id and username.

    Args:
        tx: Where to read.
        teams: Teams of which to return the active members: source "TEAM"; a team without any has a row without a user.
        admins: Whether to return the active admins: source "ADMIN".
        deployments: Deployments of which to return who is asked by name and who approved: the approval's status.
    """
    user: list[Any] = [User.id.label("user_id"), User.username]
    no_name = literal("").label("source_name")
    parts: list[Select[Any]] = []
    if teams:
        team: list[Any] = [literal("TEAM").label("source"), Team.id.label("source_id"), Team.name.label("source_name")]
        members = select(*team, *user).select_from(Team).outerjoin(TeamMember, TeamMember.team_id == Team.id)
        active = and_(User.id == TeamMember.user_id, User.is_active)
        parts.append(members.outerjoin(User, active).where(Team.id.in_(teams)))
    if admins:
        admin: list[Any] = [literal("ADMIN").label("source"), cast(null(), Uuid()).label("source_id"), no_name]
        parts.append(select(*admin, *user).where(User.is_admin, User.is_active))
    if deployments:
        approval: list[Any] = [Approval.status.label("source"), Approval.deployment_id.label("source_id"), no_name]
        concerned = select(*approval, *user).join(User, User.id == Approval.approver_id)
        of_these = Approval.deployment_id.in_(deployments)
        parts.append(concerned.where(of_these, or_(is_waiting(tx.now), is_approved())))
    return tx.rows(union_all(*parts)) if parts else []


def is_asked_for(deployment_id: InstrumentedAttribute[UUID]) -> ColumnElement[bool]:
    """Return the condition that approvals of a deployment are asked for, and not all are given."""
    return exists().where(
        Approval.deployment_id == deployment_id, Approval.place.is_not(None), Approval.status != ApprovalStatus.APPROVED
    )


def first_due() -> Select[Any]:
    """Select when the next request expires; NULL when none is open."""
    return select(func.min(Approval.expires_at)).where(_is_pending())


def due_deployments(now: datetime, limit: int) -> Select[Any]:
    """Select the deployments of at most `limit` requests that nobody answered in time, the longest overdue first."""
    return select(Approval.deployment_id).where(is_due(now)).order_by(Approval.expires_at).limit(limit)


def tallies(deployments: BindParameter[Any], now: BindParameter[datetime]) -> Subquery:
    """Select, by `deployment_id`, the columns of a Tally; the parameters say of which deployments, and when."""
    additional = Approval.place == Place.ADDITIONAL
    return (
        select(
            Approval.deployment_id,
            _number(is_approved()).label("given"),
            func.min(case((is_approved(), Approval.content))).label("lowest_content"),
            func.max(case((is_approved(), Approval.content))).label("highest_content"),
            _number(additional).label("additional"),
            _number(and_(additional, Approval.status != ApprovalStatus.APPROVED)).label("additional_open"),
            _number(is_waiting(now)).label("asked"),
            _number(or_(Approval.status == ApprovalStatus.EXPIRED, is_due(now))).label("expired"),
        )
        .where(Approval.deployment_id.in_(deployments), Approval.place.is_not(None))
        .group_by(Approval.deployment_id)
        .subquery("tally")
    )


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
