"""An approval is of what was approved: release, environment, kind and labels. Of nothing else."""

import pytest

from relman_client.v1 import deployment_pb2
from tests.approvals import steps
from tests.approvals.steps import decide, waiting
from tests.deployments.steps import check, event_type, events_of, gates, set_columns
from tests.deployments.steps import state as deployment_state
from tests.factories import RunningServer, refused

HOTFIX = deployment_pb2.DEPLOYMENT_KIND_HOTFIX


@pytest.mark.parametrize("change", [{"labels": {"build": "18"}}, {"kind": HOTFIX}], ids=["labels", "kind"])
async def test_a_change_of_content_voids_what_was_approved_before(
    server: RunningServer, change: dict[str, object]
) -> None:
    scene = await waiting(server, required=2)
    await scene.approve()
    await scene.approve(scene.approvers[1])
    changed = await scene.change(**change)
    assert (deployment_state(changed), gates(changed)) == ("PENDING", ["APPROVAL"])
    assert (await scene.blocker()).message == f"Waiting for 2 of 2 approvals: team {scene.team}."
    old, other, *new = await scene.approvals()
    assert old.HasField("voided_at")
    assert other.HasField("voided_at")
    assert [(steps.state(approval), approval.approver_id) for approval in new] == [("PENDING", "")] * 2
    assert (await refused(scene.start())).reason == "BLOCKED"
    await scene.approve()
    assert deployment_state(await scene.approve(scene.approvers[1])) == "READY", "the same people, once more"


async def test_the_history_says_that_approvals_were_voided(server: RunningServer) -> None:
    scene = await waiting(server)
    await scene.approve()
    await scene.change(labels={"build": "18"})
    *_, updated, voided, blocked = await events_of(scene.author, scene.deployment)
    assert [event_type(event) for event in (updated, voided, blocked)] == ["UPDATED", "APPROVAL", "BLOCKED"]
    assert voided.message == "1 approval counts no longer: it was changed since."
    assert gates(blocked.deployment) == ["APPROVAL"]


async def test_changing_it_back_does_not_bring_an_approval_back(server: RunningServer) -> None:
    scene = await waiting(server)
    await scene.approve()
    await scene.change(labels={"build": "18"})
    await scene.change(update_mask={"paths": ["labels"]})
    assert await scene.state() == "PENDING"


@pytest.mark.parametrize(
    "change", [{"labels": {}}, {"production_impacted": True}], ids=["the same labels", "the impact"]
)
async def test_what_changes_nothing_of_the_content_voids_nothing(
    server: RunningServer, change: dict[str, object]
) -> None:
    scene = await waiting(server)
    await scene.approve()
    await scene.change(**change)
    assert await scene.state() == "READY"
    assert await scene.states() == ["APPROVED"]


async def test_only_what_was_approved_is_voided(server: RunningServer) -> None:
    scene = await waiting(server, approvers=3, required=3)
    await scene.approve()
    await scene.change(labels={"build": "18"})
    assert await scene.states() == ["APPROVED", "PENDING", "PENDING", "PENDING"]
    assert (await scene.told())[-1].endswith(f"Waiting for 3 of 3 approvals: team {scene.team}.")


async def test_what_the_environment_wants_no_more_is_not_asked_for_again(server: RunningServer) -> None:
    scene = await waiting(server, required=2)
    await scene.approve()
    await scene.approve(scene.approvers[1])
    await scene.change_environment(required_approvals=1)
    await scene.change(labels={"build": "18"})
    assert await scene.states() == ["APPROVED", "APPROVED", "PENDING"]
    assert deployment_state(await scene.approve()) == "READY"


async def test_who_was_asked_by_name_is_asked_again_by_name(server: RunningServer) -> None:
    scene = await waiting(server, required=0)
    asked = scene.approvers[1]
    await scene.ask(approver=asked.username)
    await scene.approve(asked)
    await scene.change(labels={"build": "18"})
    assert (await scene.blocker()).message == f"Waiting for 1 of 1 approvals: {asked.username}."
    _, again = await scene.approvals()
    assert (again.approver_id, again.requested_by) == (str(asked.user_id), str(scene.author.user_id))
    assert deployment_state(await scene.approve(asked)) == "READY"


async def test_one_more_that_anyone_gave_may_be_given_again_by_anyone(server: RunningServer) -> None:
    scene = await waiting(server, required=0)
    await scene.ask()
    await scene.approve()
    await scene.change(labels={"build": "18"})
    assert (await scene.blocker()).message == f"Waiting for 1 of 1 approvals: team {scene.team}."
    assert deployment_state(await scene.approve(scene.approvers[1])) == "READY"


async def test_open_requests_ask_for_the_new_content_and_their_etag_says_so(server: RunningServer) -> None:
    scene = await waiting(server)
    (before,) = await scene.approvals()
    await scene.change(labels={"build": "18"})
    (after,) = await scene.approvals()
    assert (before.deployment_revision, after.deployment_revision) == (1, 2)
    refusal = await refused(decide(scene.approvers[0], before, etag=before.etag))
    assert refusal.reason == "STALE_ETAG"


async def test_an_approval_does_not_count_for_content_that_came_past_the_rules(server: RunningServer) -> None:
    scene = await waiting(server)
    await scene.approve()
    await server.app.db.write(set_columns, scene.deployment.id, {"labels": {"build": "evil"}})
    assert gates(await check(scene.author, scene.deployment)) == ["APPROVAL"]
    assert (await refused(scene.start())).reason == "BLOCKED"
