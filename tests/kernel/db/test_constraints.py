"""What a broken constraint means for the caller: a key that is taken, or something that is gone."""

from uuid import UUID

import pytest
from sqlalchemy.exc import IntegrityError

from relman_server.catalog.model import Service
from relman_server.kernel.db.transaction import Transaction
from relman_server.kernel.errors import Aborted, AlreadyExists, FailedPrecondition, RelmanError
from relman_server.kernel.ids import new_id
from relman_server.teams.model import Team
from tests.factories import RunningServer, unique

TAKEN = AlreadyExists("team", "it")


def _team(name: str) -> Team:
    return Team(name=name, description="", slack_channel="")


def _service(team: UUID, owner: UUID | None) -> Service:
    texts = {"description": "", "repository_url": "", "slack_channel": ""}
    return Service(name=unique("service"), team_id=team, owner_id=owner, is_active=True, **texts)


def _twice(tx: Transaction, name: str) -> None:
    for _ in range(2):
        tx.add(_team(name), conflict=TAKEN)


def _of_nothing(tx: Transaction, owner: UUID | None, conflict: RelmanError | None) -> None:
    tx.add(_service(new_id(), owner), conflict=conflict)


def _deleted_in_use(tx: Transaction, owner: UUID | None, conflict: RelmanError) -> None:
    team = _team(unique("team"))
    tx.add(team)
    tx.add(_service(team.id, owner))
    tx.delete(team, conflict=conflict)


def _without_a_description(tx: Transaction) -> None:
    team = _team(unique("team"))
    team.description = None  # type: ignore[assignment]  # on purpose
    tx.add(team, conflict=TAKEN)


async def test_a_key_that_is_taken_is_the_conflict(shared_server: RunningServer) -> None:
    with pytest.raises(AlreadyExists):
        await shared_server.app.db.write(_twice, unique("team"))


@pytest.mark.parametrize("conflict", [TAKEN, None])
async def test_what_is_gone_is_not_said_to_exist_already(
    shared_server: RunningServer, conflict: RelmanError | None
) -> None:
    with pytest.raises(Aborted, match="deleted at the same moment"):
        await shared_server.app.db.write(_of_nothing, shared_server.admin.user_id, conflict)


async def test_what_others_refer_to_is_the_conflict_of_a_deletion(shared_server: RunningServer) -> None:
    used = FailedPrecondition("it is used", reason="IN_USE")
    with pytest.raises(FailedPrecondition, match="it is used"):
        await shared_server.app.db.write(_deleted_in_use, shared_server.admin.user_id, used)


async def test_a_fault_of_ours_is_nobody_elses(shared_server: RunningServer) -> None:
    with pytest.raises(IntegrityError):
        await shared_server.app.db.write(_without_a_description)
