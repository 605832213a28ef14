"""From each state to the next: made, or refused with the state in the details."""

from collections.abc import Awaitable, Callable

import grpc
import pytest
from sqlalchemy import select

from relman_client.v1 import release_pb2 as pb
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading
from tests.deployments.steps import event_type, events_of, gates
from tests.deployments.steps import get as get_deployment
from tests.factories import Caller, RunningServer, make_deployment, make_environment, make_release, refused
from tests.releases.steps import STATES, abandon, clear, get, make_in, publish, quarantine, state

TRANSITIONS: dict[str, tuple[Callable[[Caller, pb.Release], Awaitable[pb.Release]], dict[str, str]]] = {
    "publish": (publish, {"DRAFT": "PUBLISHED"}),
    "abandon": (abandon, dict.fromkeys(("DRAFT", "PUBLISHED", "FAILED"), "ABANDONED")),
    "quarantine": (quarantine, {before: before for before in STATES}),
    "clear": (clear, {}),
}


@pytest.mark.parametrize("name", TRANSITIONS)
async def test_a_transition_is_made_from_its_states_and_refused_from_all_others(
    server: RunningServer, name: str
) -> None:
    make, allowed = TRANSITIONS[name]
    for before in STATES:
        release = await make_in(server, before)
        if before in allowed:
            assert state(await make(server.admin, release)) == allowed[before]
            continue
        refusal = await refused(make(server.admin, release))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE")
        assert refusal.conditions[0][:2] == (before, f"{release.service_name}@{release.version}")
        assert await get(server.admin, release.id) == release


async def test_a_quarantine_says_who_why_and_since_when_until_it_is_cleared(server: RunningServer) -> None:
    release = await make_release(server.admin)
    assert not release.HasField("quarantine")
    held = await quarantine(server.admin, release)
    assert (held.quarantine.reason, held.quarantine.by) == ("it leaks", str(server.admin.user_id))
    assert held.quarantine.at == held.updated_at
    assert (await get(server.admin, release.id)).quarantine == held.quarantine
    assert not (await clear(server.admin, release)).HasField("quarantine")


async def test_what_is_held_is_not_held_again(server: RunningServer) -> None:
    release = await make_release(server.admin)
    await quarantine(server.admin, release)
    refusal = await refused(quarantine(server.admin, release))
    assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "QUARANTINED")
    assert "it leaks" in refusal.message


async def test_holding_and_letting_go_need_a_reason(server: RunningServer) -> None:
    release = await make_release(server.admin)
    for reason in ("", "  ", "x" * 1001):
        for call in (
            server.admin.releases.QuarantineRelease(pb.QuarantineReleaseRequest(release=release.id, reason=reason)),
            server.admin.releases.ClearQuarantine(pb.ClearQuarantineRequest(release=release.id, reason=reason)),
        ):
            refusal = await refused(call)
            assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"reason"})


async def test_deployments_that_wait_for_a_release_are_looked_at_again_with_every_transition(
    server: RunningServer,
) -> None:
    release = await make_release(server.admin, publish=False)
    deployments = [
        await make_deployment(
            server.admin, server.admin, release=release.id, environment=(await make_environment(server.admin)).name
        )
        for _ in range(2)
    ]
    for transition, closed in (
        (publish, []),
        (quarantine, ["RELEASE"]),
        (abandon, ["RELEASE", "RELEASE"]),
        (clear, ["RELEASE"]),
    ):
        await transition(server.admin, release)
        for deployment in deployments:
            assert gates(await get_deployment(server.admin, deployment)) == closed
    assert [event_type(event) for event in await events_of(server.admin, deployments[0])] == [
        "CREATED",
        "READY",
        "BLOCKED",
        "BLOCKED",
        "BLOCKED",
    ]


async def test_deployments_of_other_releases_are_left_alone(server: RunningServer) -> None:
    release = await make_release(server.admin)
    other = await make_deployment(server.admin, server.admin)
    await quarantine(server.admin, release)
    assert len(await events_of(server.admin, other)) == 1


def _audited(tx: Reading, release: str) -> list[tuple[str, list[str] | None, str | None]]:
    rows = tx.rows(
        select(AuditEntry.action, AuditEntry.details)
        .where(AuditEntry.resource_id == release)
        .order_by(AuditEntry.created_at, AuditEntry.id)
    )
    return [(row.action, row.details["changes"].get("status"), row.details.get("reason")) for row in rows]


async def test_every_transition_is_audited_with_what_changed_and_why(server: RunningServer) -> None:
    release = await make_release(server.admin, publish=False)
    for transition in (publish, quarantine, clear, abandon):
        await transition(server.admin, release)
    assert await server.app.db.read(_audited, release.id) == [
        ("release.create", [None, "DRAFT"], None),
        ("release.publish", ["DRAFT", "PUBLISHED"], None),
        ("release.quarantine", None, "it leaks"),
        ("release.clear_quarantine", None, "plugged"),
        ("release.abandon", ["PUBLISHED", "ABANDONED"], "too late"),
    ]


async def test_what_production_says_of_a_release_is_audited(server: RunningServer) -> None:
    release = await make_in(server, "DEPLOYED")
    assert (await server.app.db.read(_audited, release.id))[-1][:2] == (
        "release.deployed",
        ["PUBLISHED", "DEPLOYED"],
    )
