"""`relman team`: who owns services."""

from typing import Annotated

import typer

from relman_client.cli.inputs import LimitOption, enum_of
from relman_client.cli.options import new_app
from relman_client.cli.output import Columns, when, word
from relman_client.cli.session import Session, connected
from relman_client.v1 import team_pb2 as pb

app = new_app("Teams: who owns services.")

TEAMS: Columns[pb.Team] = {
    "name": lambda team: team.name,
    "members": lambda team: str(team.member_count),
    "slack": lambda team: team.slack_channel,
    "description": lambda team: team.description,
    "created": lambda team: when(team, "created_at"),
}
MEMBERS: Columns[pb.TeamMember] = {
    "user": lambda member: member.username,
    "role": lambda member: word(member, "role"),
    "joined": lambda member: when(member, "created_at"),
}

TeamArgument = Annotated[str, typer.Argument(metavar="TEAM", help="Name or id.")]
UserArgument = Annotated[str, typer.Argument(metavar="USER", help="Email, username or id.")]
Slack = Annotated[str | None, typer.Option("--slack", metavar="CHANNEL", help="Where to reach it.")]
Description = Annotated[str | None, typer.Option("--description", help="What it is about.")]


@app.command("create")
@connected
def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique: lower-case letters, digits and hyphens.")],
    description: Description = None,
    slack: Slack = None,
) -> None:
    """Create a team with you as its maintainer."""
    request = pb.CreateTeamRequest(name=name, description=description or "", slack_channel=slack or "")
    session.show(session.client.teams.CreateTeam(request))


@app.command("get")
@connected
def get(session: Session, team: TeamArgument) -> None:
    """Show a team."""
    session.show(session.client.teams.GetTeam(pb.GetTeamRequest(team=team)))


@app.command("list")
@connected
def list_(
    session: Session,
    user: Annotated[str, typer.Option("--user", help="Only those this user is in.")] = "",
    query: Annotated[str, typer.Option("--query", "-q", help="Only those whose name or description has this.")] = "",
    limit: LimitOption = 50,
) -> None:
    """List teams."""
    request = pb.ListTeamsRequest(user=user, query=query)
    session.show_list(session.client.teams.ListTeams, request, "teams", TEAMS, limit=limit, empty="no teams")


@app.command("update")
@connected
def update(
    session: Session,
    team: TeamArgument,
    name: Annotated[str | None, typer.Option("--name", help="A new name.")] = None,
    description: Description = None,
    slack: Slack = None,
) -> None:
    """Change what is given."""
    request = pb.UpdateTeamRequest(team=team, name=name, description=description, slack_channel=slack)
    session.show(session.client.teams.UpdateTeam(request))


@app.command("delete")
@connected
def delete(session: Session, team: TeamArgument) -> None:
    """Delete a team that owns no service."""
    session.client.teams.DeleteTeam(pb.DeleteTeamRequest(team=team))
    session.done(f"team {team} is deleted")


@app.command("members")
@connected
def members(session: Session, team: TeamArgument, limit: LimitOption = 0) -> None:
    """List the members of a team."""
    request = pb.ListTeamMembersRequest(team=team)
    call = session.client.teams.ListTeamMembers
    session.show_list(call, request, "team_members", MEMBERS, limit=limit, empty="no members")


@app.command("add")
@connected
def add(
    session: Session,
    team: TeamArgument,
    user: UserArgument,
    role: Annotated[str, typer.Option("--role", help="member or maintainer.")] = "member",
) -> None:
    """Add a user to a team."""
    value = enum_of(pb.TeamRole, role, "--role")
    session.show(session.client.teams.AddTeamMember(pb.AddTeamMemberRequest(team=team, user=user, role=value)))


@app.command("set-role")
@connected
def set_role(
    session: Session,
    team: TeamArgument,
    user: UserArgument,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="member or maintainer.")],
) -> None:
    """Change what a member may do."""
    value = enum_of(pb.TeamRole, role, "ROLE")
    session.show(session.client.teams.UpdateTeamMember(pb.UpdateTeamMemberRequest(team=team, user=user, role=value)))


@app.command("remove")
@connected
def remove(session: Session, team: TeamArgument, user: UserArgument) -> None:
    """Remove a user from a team."""
    session.client.teams.RemoveTeamMember(pb.RemoveTeamMemberRequest(team=team, user=user))
    session.done(f"{user} is no longer in team {team}")
