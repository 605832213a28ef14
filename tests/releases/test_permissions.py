"""Who may do what: the team of the service, its owner and admins; everyone reads."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from relman_client.v1 import release_pb2 as pb
from relman_client.v1 import team_pb2
from tests.factories import Caller, RunningServer, make_release, make_service, make_team, refused
from tests.releases.steps import abandon, clear, get, publish, quarantine, state

WRITES: dict[str, Callable[[Caller, pb.Release], Awaitable[Any]]] = {
    "create": lambda who, found: make_release(who, service=found.service_name, publish=False),
    "update": lambda who, found: who.releases.UpdateRelease(
        pb.UpdateReleaseRequest(release=found.id, release_notes="mine")
    ),
    "publish": publish,
    "quarantine": quarantine,
    "clear": clear,
    "abandon": abandon,
}
"""In an order in which each is allowed by the state that the one before left."""


async def _release_of(server: RunningServer, role: str) -> tuple[Caller, pb.Release]:
    """Return someone with a role, and a draft of a service of their team."""
    someone, owner = await server.user(), await server.user()
    team = await make_team(owner)
    if role in {"member", "maintainer"}:
        value = team_pb2.TeamRole.Value(f"TEAM_ROLE_{role.upper()}")
        await owner.teams.AddTeamMember(
            team_pb2.AddTeamMemberRequest(team=team.name, user=someone.username, role=value)
        )
    service = await make_service(
        server.admin, team=team.name, owner=someone.username if role == "owner" else owner.username
    )
    release = await make_release(owner, service=service.name, publish=False)
    return server.admin if role == "admin" else someone, release


@pytest.mark.parametrize("role", ["member", "maintainer", "owner", "admin"])
async def test_the_team_the_owner_and_admins_carry_a_release_through(server: RunningServer, role: str) -> None:
    caller, release = await _release_of(server, role)
    for call in WRITES.values():
        await call(caller, release)
    assert state(await get(caller, release.id)) == "ABANDONED"
    draft = await make_release(caller, service=release.service_name, publish=False)
    await caller.releases.DeleteRelease(pb.DeleteReleaseRequest(release=draft.id))


async def test_outsiders_read_and_change_nothing(server: RunningServer) -> None:
    outsider, release = await _release_of(server, "outsider")
    delete = outsider.releases.DeleteRelease(pb.DeleteReleaseRequest(release=release.id))
    for call in (delete, *(write(outsider, release) for write in WRITES.values())):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
        assert release.service_name in refusal.message
    assert await get(outsider, release.id) == release
    listed = await outsider.releases.ListReleases(pb.ListReleasesRequest(service=release.service_name))
    assert list(listed.releases) == [release]
    await outsider.releases.GetReleaseHistory(pb.GetReleaseHistoryRequest(release=release.id))


async def test_who_is_outside_learns_nothing_of_the_state_from_a_refusal(server: RunningServer) -> None:
    """The refusal is about the caller, before the etag and the state are looked at."""
    outsider, release = await _release_of(server, "outsider")
    refusal = await refused(
        outsider.releases.ClearQuarantine(pb.ClearQuarantineRequest(release=release.id, reason="mine", etag="0-stale"))
    )
    assert refusal.code == grpc.StatusCode.PERMISSION_DENIED


async def test_nobody_does_anything_without_a_token(server: RunningServer) -> None:
    release = await make_release(server.admin)
    refusal = await refused(get(server.nobody, release.id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
