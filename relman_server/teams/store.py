"""Queries of teams and their members."""

from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, Label, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute

from relman_server.kernel.db.model import alias_of
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.kernel.sql import contains, ids_of
from relman_server.teams.inputs import ListMembers, ListTeams
from relman_server.teams.model import Team, TeamMember, TeamRole
from relman_server.users import store as users
from relman_server.users.model import User

_ORDERING = Ordering({"name": Team.name, "created_at": Team.created_at}, default="name", tie=Team.id)
_MEMBER_ORDERING = Ordering(
    {"username": User.username, "created_at": TeamMember.created_at}, default="username", tie=TeamMember.user_id
)
_member = alias_of(TeamMember)  # once: an alias costs more to make than a query to run


def named(reference: str) -> ColumnElement[bool]:
    """Return the condition that a team is the one referred to: by id or name."""
    team_id = parse_id(reference)
    return Team.id == team_id if team_id is not None else Team.name == reference


def caller_role(user_id: UUID | BindParameter[UUID], team_id: InstrumentedAttribute[Any]) -> Label[Any]:
    """Return the column `caller_role`: what a user may do in the team of a row; NULL for who is not in it.

    A resource above selects it beside its own columns, so that a row and the right to it come in one statement.

    Args:
        user_id: Whose role, or the parameter that says it.
        team_id: The row's column that says which team; may be NULL.
    """
    role = select(_member.role).where(_member.team_id == team_id, _member.user_id == user_id)
    return role.scalar_subquery().label("caller_role")


@cache
def _teams() -> Select[Any]:
    members = select(func.count()).select_from(TeamMember).where(TeamMember.team_id == Team.id)
    return select(*Team.__table__.columns, members.scalar_subquery().label("member_count"))


def get_team(tx: Reading, reference: str) -> Record:
    """Return a team with its member_count; raises NotFound."""
    found = tx.row(_teams().where(named(reference)))
    if found is None:
        raise NotFound("team", reference)
    return found


def get_team_by_id(tx: Reading, team_id: UUID) -> Record:
    """Return a team with its member_count; raises NotFound."""
    return get_team(tx, str(team_id))


def lock_team(tx: Transaction, reference: str) -> Record:
    """Return `Team`, for changing it or its members, and the `caller_role` in it; raises NotFound."""
    found = tx.row(
        select(Team, caller_role(tx.caller.user_id, Team.id)).where(named(reference)).with_for_update(of=Team)
    )
    if found is None:
        raise NotFound("team", reference)
    return found


def list_teams(tx: Reading, wanted: ListTeams) -> Listed:
    """Return a page of teams; raises NotFound for an unknown user."""
    statement = _teams()
    if wanted.user:
        theirs = select(TeamMember.team_id).join(User, User.id == TeamMember.user_id).where(users.named(wanted.user))
        statement = statement.where(Team.id.in_(theirs))
    if wanted.query:
        statement = statement.where(contains(wanted.query, Team.name, Team.description))
    listed = paginate(tx, statement, _ORDERING, wanted)
    if wanted.user and not listed.total_size:
        users.get_user(tx, wanted.user)
    return listed


def team_and_role(tx: Reading, reference: str) -> Record:
    """Return `id` and `name` of a team and the `caller_role` in it; raises NotFound."""
    found = tx.row(select(Team.id, Team.name, caller_role(tx.caller.user_id, Team.id)).where(named(reference)))
    if found is None:
        raise NotFound("team", reference)
    return found


def team_ids(tx: Transaction, references: Sequence[str]) -> list[UUID]:
    """Return the ids of teams in the order given, each once; they stay until the end of the transaction.

    Raises NotFound with every reference that names none.
    """
    return ids_of(tx, Team, references, "team")


@cache
def _members() -> Select[Any]:
    columns: list[Any] = [TeamMember.team_id, TeamMember.user_id, User.username, TeamMember.role, TeamMember.created_at]
    return select(*columns).join(User, User.id == TeamMember.user_id)


def get_member(tx: Reading, member: TeamMember) -> Record:
    """Return a member with its username."""
    found = tx.row(_members().where(TeamMember.team_id == member.team_id, TeamMember.user_id == member.user_id))
    assert found is not None
    return found


def find_member(tx: Transaction, team: Team, reference: str) -> TeamMember:
    """Return a member for changing, of a team that is locked; raises NotFound."""
    user = users.get_user(tx, reference)
    found = tx.entities(select(TeamMember).where(TeamMember.team_id == team.id, TeamMember.user_id == user.id))
    if not found:
        raise NotFound("team member", f"{team.name}/{user.username}")
    member: TeamMember = found[0]
    return member


def list_members(tx: Reading, wanted: ListMembers) -> Listed:
    """Return a page of a team's members; raises NotFound for an unknown team."""
    statement = _members().join(Team, Team.id == TeamMember.team_id).where(named(wanted.team))
    if wanted.role:
        statement = statement.where(TeamMember.role == wanted.role)
    listed = paginate(tx, statement, _MEMBER_ORDERING, wanted)
    if not listed.total_size:
        get_team(tx, wanted.team)
    return listed


def maintainers(tx: Reading, team_id: UUID) -> int:
    """Return how many maintainers a team has."""
    return int(
        tx.scalar(select(func.count()).where(TeamMember.team_id == team_id, TeamMember.role == TeamRole.MAINTAINER))
    )
