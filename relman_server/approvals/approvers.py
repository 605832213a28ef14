"""Who may approve: the members of the environment's approver teams, or admins when it has none; never the authors."""

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from relman_server.approvals import store
from relman_server.approvals.subject import Subject
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.errors import PermissionDenied

Users = dict[UUID, str]  # usernames by id


@dataclass(frozen=True)
class People:
    """Those whom the approvals of some deployments concern.

    Attributes:
        teams: Names of the approver teams.
        groups: The active members of each approver team, by its id; None: the active admins.
        asked: Who is asked by name, by deployment.
        approved: Who has approved, by deployment.
    """

    teams: dict[UUID, str] = field(default_factory=dict)
    groups: dict[UUID | None, Users] = field(default_factory=dict)
    asked: dict[UUID | None, Users] = field(default_factory=dict)
    approved: dict[UUID | None, Users] = field(default_factory=dict)

    def approvers(self, subject: Subject) -> Users:
        """Return who may approve a deployment."""
        found: Users = {}
        for group in subject.approver_team_ids or [None]:
            found |= self.groups.get(group, {})
        return {user: name for user, name in found.items() if user not in subject.authors}

    def team_names(self, subject: Subject) -> list[str]:
        """Return the names of a deployment's approver teams; none when admins approve."""
        return sorted(self.teams[team] for team in subject.approver_team_ids)


def read_people(tx: Reading, subjects: Collection[Subject], *, with_answers: bool = False) -> People:
    """Return the people whom approvals concern, in one statement; who is asked and who approved, where wanted."""
    found = People()
    places = {"TEAM": found.groups, "ADMIN": found.groups, "PENDING": found.asked, "APPROVED": found.approved}
    for row in store.people(
        tx,
        teams={team for subject in subjects for team in subject.approver_team_ids},
        admins=any(not subject.approver_team_ids for subject in subjects),
        deployments=[subject.deployment_id for subject in subjects if with_answers and subject.deployment_id],
    ):
        if row.source == "TEAM":
            found.teams[row.source_id] = row.source_name
        if row.user_id is not None:
            places[row.source].setdefault(row.source_id, {})[row.user_id] = row.username
    return found


def require_approver(tx: Reading, subject: Subject) -> None:
    """Raise PermissionDenied unless the caller may decide on a deployment."""
    people = read_people(tx, [subject])
    caller, there = tx.caller.user_id, subject.environment_name
    if caller in people.approvers(subject):
        return
    if caller == subject.author_id:
        raise PermissionDenied("You created this deployment: somebody else has to decide on it.")
    if caller in subject.authors:
        raise PermissionDenied(f"You created the release: for {there} somebody else has to decide on its deployment.")
    raise PermissionDenied(f"Only {spoken(people.team_names(subject))} may decide on deployments to {there}.")


def spoken(teams: list[str]) -> str:
    """Return whose word counts, for a sentence: members of these teams, or admins."""
    if not teams:
        return "admins"
    return f"members of the {'team' if len(teams) == 1 else 'teams'} {', '.join(teams)}"
