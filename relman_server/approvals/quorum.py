"""How many approvals a deployment has, how many it needs, and who can give the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relman_server.approvals.approvers import People, read_people
from relman_server.approvals.subject import Subject
from relman_server.kernel.db.transaction import Reading

MAX_NAMES = 20  # the contract's bound on `waiting_for`


@dataclass(frozen=True)
class Tally:
    """The approvals of a deployment that count for something, by number.

    Attributes:
        given: How many were given.
        lowest_content: What they were given for; the same as the highest, unless something went wrong.
        additional: Requests beyond what the environment asks for.
        additional_open: Those of them that were not approved.
        asked: Requests that wait for an answer.
        expired: Requests that nobody answered in time.
    """

    given: int = 0
    lowest_content: str | None = None
    highest_content: str | None = None
    additional: int = 0
    additional_open: int = 0
    asked: int = 0
    expired: int = 0


@dataclass(frozen=True)
class Quorum:
    """How far the approvals of a deployment are.

    Attributes:
        given: How many approved what it is now.
        missing: How many more have to.
        asked: Requests that wait for an answer.
        expired: Requests that nobody answered in time.
        possible: How many can have approved at the end; known while some are missing.
        waiting_for: Who can approve, as a Blocker says it; known while some are missing.
    """

    subject: Subject
    given: int
    missing: int
    asked: int
    expired: int
    possible: int = 0
    waiting_for: Sequence[str] = ()

    @property
    def needed(self) -> int:
        """How many have to approve in all."""
        return self.given + self.missing


def quorums(tx: Reading, found: Sequence[tuple[Subject, Tally]]) -> list[Quorum]:
    """Return how far approvals are: without a statement where none is missing, else in one for all deployments."""
    counted = [_count(subject, tally) for subject, tally in found]
    short = [quorum.subject for quorum in counted if quorum.missing]
    if not short:
        return counted
    people = read_people(tx, short, with_answers=True)
    return [_with_people(quorum, people) if quorum.missing else quorum for quorum in counted]


def _count(subject: Subject, tally: Tally) -> Quorum:
    # An approval binds to what was approved. Changes void it, so this only speaks when one was made past the rules.
    bound = tally.lowest_content == tally.highest_content == subject.content
    given = tally.given if bound else 0
    missing = max(subject.required + tally.additional - given, tally.additional_open, 0)
    # Before its first event a deployment's requests are still to be made, with it.
    asked = tally.asked if subject.revision else subject.required
    return Quorum(subject, given, missing, asked, tally.expired)


def _with_people(quorum: Quorum, people: People) -> Quorum:
    subject = quorum.subject
    able = people.approvers(subject)
    named = people.asked.get(subject.deployment_id, {})
    done = people.approved.get(subject.deployment_id, {})
    rest = able.keys() - named.keys() - done.keys()
    of_anyone = max(0, quorum.missing - len(named))
    possible = quorum.given + len(named.keys() & able.keys()) + min(of_anyone, len(rest))
    waiting_for = sorted(named.values())
    if of_anyone:
        teams = [f"team {name}" for name in people.team_names(subject)]
        waiting_for = (teams or sorted(able[user] for user in rest)) + waiting_for
    return replace(quorum, possible=possible, waiting_for=waiting_for[:MAX_NAMES])
