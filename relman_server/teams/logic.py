"""Rules of teams: maintainers keep the team, and a team keeps a maintainer."""

from dataclasses import dataclass
from uuid import UUID

from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import AlreadyExists, Condition, FailedPrecondition, PermissionDenied
from relman_server.teams import store
from relman_server.teams.inputs import MemberChange, NewMember, NewTeam, TeamChange
from relman_server.teams.model import Team, TeamMember, TeamRole
from relman_server.users import store as users


@dataclass(frozen=True)
class TeamDeleted:
    """A team is about to be gone: who cannot do without it refuses by raising FailedPrecondition IN_USE."""

    team_id: UUID


@dataclass(frozen=True)
class TeamChanged:
    """A team has another name, or other members."""

    team_id: UUID


def create_team(tx: Transaction, new: NewTeam) -> Record:
    """Create a team with the caller as its maintainer.

    Raises AlreadyExists when the name is taken.
    """
    team = Team(name=new.name, description=new.description, slack_channel=new.slack_channel)
    tx.add(team, conflict=AlreadyExists("team", new.name))
    tx.add(TeamMember(team_id=team.id, user_id=tx.caller.user_id, role=TeamRole.MAINTAINER))
    tx.audit("team.create", team)
    return store.get_team_by_id(tx, team.id)


def update_team(tx: Transaction, change: TeamChange) -> Record:
    """Change a team.

    Raises NotFound, PermissionDenied for who does not maintain it, Aborted for a stale etag, and AlreadyExists when the
    name is taken.
    """
    team = _lock_as_maintainer(tx, change.team)
    tx.match_etag(team, change.etag)
    for name, value in change.wanted().items():
        setattr(team, name, value)
    tx.flush(conflict=AlreadyExists("team", change.name))
    tx.audit("team.update", team)
    tx.emit(TeamChanged(team.id))
    return store.get_team_by_id(tx, team.id)


def delete_team(tx: Transaction, reference: str, etag: str) -> None:
    """Delete a team that nothing depends on.

    Raises NotFound, PermissionDenied for who does not maintain it, Aborted for a stale etag, and FailedPrecondition
    IN_USE while it owns services.
    """
    team = _lock_as_maintainer(tx, reference)
    tx.match_etag(team, etag)
    tx.emit(TeamDeleted(team.id))
    owns = Condition("IN_USE", team.name, "give its services to another team, or delete them")
    tx.delete(team, conflict=FailedPrecondition(f"The team {team.name} owns services.", owns, reason="IN_USE"))
    tx.audit("team.delete", team)


def add_member(tx: Transaction, new: NewMember) -> Record:
    """Add a user to a team.

    Raises NotFound for an unknown team or user, PermissionDenied for who does not maintain the team, and AlreadyExists
    for a member.
    """
    team = _lock_as_maintainer(tx, new.team)
    user = users.get_user(tx, new.user)
    member = TeamMember(team_id=team.id, user_id=user.id, role=new.role)
    tx.add(member, conflict=AlreadyExists("team member", f"{team.name}/{user.username}"))
    tx.audit("team.add_member", member, resource_id=str(team.id))
    tx.emit(TeamChanged(team.id))
    return store.get_member(tx, member)


def update_member(tx: Transaction, change: MemberChange) -> Record:
    """Change what a member may do.

    Raises NotFound for an unknown team, user or member, PermissionDenied for who does not maintain the team, and
    FailedPrecondition for the last maintainer.
    """
    team = _lock_as_maintainer(tx, change.team)
    member = store.find_member(tx, team, change.user)
    member.role = change.role
    tx.flush()
    _require_a_maintainer(tx, team)
    tx.audit("team.update_member", member, resource_id=str(team.id), user_id=str(member.user_id))
    return store.get_member(tx, member)


def remove_member(tx: Transaction, team_reference: str, user_reference: str) -> None:
    """Remove a user from a team, or leave it oneself.

    Raises NotFound for an unknown team, user or member, PermissionDenied for who neither maintains the team nor leaves
    it, and FailedPrecondition for the last maintainer.
    """
    found = store.lock_team(tx, team_reference)
    team: Team = found.Team
    user = users.get_user(tx, user_reference)
    if user.id != tx.caller.user_id:
        _require_maintainer(tx, found)
    member = store.find_member(tx, team, str(user.id))
    tx.delete(member)
    _require_a_maintainer(tx, team)
    tx.audit("team.remove_member", member, resource_id=str(team.id))
    tx.emit(TeamChanged(team.id))


def require_member(tx: Transaction, reference: str) -> UUID:
    """Return the id of a team that the caller may put something into: members may, and admins.

    Raises NotFound and PermissionDenied.
    """
    team = store.team_and_role(tx, reference)
    if team.caller_role is None and not tx.caller.is_admin:
        raise PermissionDenied(f"Only members of the team {team.name} or an admin may give it a service.")
    team_id: UUID = team.id
    return team_id


def _lock_as_maintainer(tx: Transaction, reference: str) -> Team:
    found = store.lock_team(tx, reference)
    _require_maintainer(tx, found)
    team: Team = found.Team
    return team


def _require_maintainer(tx: Transaction, found: Record) -> None:
    if found.caller_role != TeamRole.MAINTAINER and not tx.caller.is_admin:
        raise PermissionDenied(f"Only maintainers of the team {found.Team.name} or an admin may do this.")


def _require_a_maintainer(tx: Transaction, team: Team) -> None:
    if not store.maintainers(tx, team.id):
        last = Condition("LAST_MAINTAINER", team.name, "make another member a maintainer first")
        raise FailedPrecondition(f"The team {team.name} would be without a maintainer.", last)
