"""What callers may say about teams; every bound is here."""

from typing import Annotated

from pydantic import StringConstraints

from relman_server.kernel.inputs import Change, Input, Line, Name, OptionalReference, Page, Query, Reference
from relman_server.teams.model import TeamRole

Description = Annotated[str, StringConstraints(max_length=2000)]
Channel = Annotated[Line, StringConstraints(max_length=100)]


class NewTeam(Input):
    """A team, whose first maintainer is the caller."""

    name: Name
    description: Description = ""
    slack_channel: Channel = ""


class TeamChange(Change):
    """What to change of a team."""

    team: Reference
    name: Name = ""
    description: Description = ""
    slack_channel: Channel = ""


class ListTeams(Page):
    """Which teams to list."""

    ordered_by = ("name", "created_at")

    user: OptionalReference = None
    query: Query = ""


class NewMember(Input):
    """A user who joins a team."""

    team: Reference
    user: Reference
    role: TeamRole = TeamRole.MEMBER


class MemberChange(Input):
    """What a member may do from now on."""

    team: Reference
    user: Reference
    role: TeamRole


class ListMembers(Page):
    """Which members of a team to list."""

    ordered_by = ("username", "created_at")

    team: Reference
    role: TeamRole | None = None
