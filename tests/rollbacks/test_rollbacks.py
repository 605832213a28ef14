"""Undoing a deployment: where it goes back to, what becomes of it, and what is held."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from relman_client.v1 import common_pb2, deployment_pb2, environment_pb2, policy_pb2, release_pb2, stage_pb2
from relman_client.v1 import rollback_pb2 as pb
from tests.deployments.steps import (
    FAILED,
    cancel,
    check,
    complete,
    event_type,
    events_of,
    gates,
    get,
    kind,
    lock,
    release_state,
    retry,
    start,
    state,
    unlock,
)
from tests.factories import RunningServer, make_deployment, make_environment, refused, unique
from tests.rollbacks.steps import shipped, status


async def test_it_goes_back_to_what_ran_before(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    rollback = await scene.roll_back("2.0.0", reason="it is slow")
    assert (rollback.target_release_id, rollback.target_release_version) == (scene.releases["1.0.0"].id, "1.0.0")
    assert (status(rollback), rollback.quarantine, rollback.reason) == ("PENDING", True, "it is slow")
    assert (rollback.service_name, rollback.environment_name) == (scene.service, scene.environment.name)
    assert rollback.initiated_by == str(server.admin.user_id)
    made = await scene.made(rollback)
    assert (kind(made), state(made), made.release_version) == ("ROLLBACK", "READY", "1.0.0")


async def test_when_it_succeeded_both_speak_of_it(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    rollback = await scene.roll_back("2.0.0", reason="it is slow")
    made = await scene.carry_out(rollback)
    undone = await scene.now("2.0.0")
    assert (state(undone), undone.outcome) == ("ROLLED_BACK", scene.deployments["2.0.0"].outcome)
    assert (undone.rolled_back_by, made.rollback_id, made.rolled_back_by) == (rollback.id, rollback.id, "")
    last = (await events_of(server.admin, undone))[-1]
    assert (event_type(last), last.message) == ("ROLLED_BACK", "Rolled back: it is slow")
    done = await scene.again(rollback)
    assert (status(done), done.completed_at) == ("SUCCEEDED", made.completed_at)
    assert done.etag != rollback.etag


async def test_the_rollback_of_a_deployment_says_the_same(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    request = deployment_pb2.RollbackDeploymentRequest(deployment=scene.deployments["2.0.0"].id, quarantine=False)
    rollback = await server.admin.deployments.RollbackDeployment(request)
    assert (rollback.target_release_version, rollback.quarantine) == ("1.0.0", False)


async def test_the_bad_release_is_held_by_whatever_path(server: RunningServer) -> None:
    """Fails when creation does not look: the deployment would wait, to go on as soon as someone lets it."""
    scene = await shipped(server, "1.0.0", "2.0.0")
    first = await make_environment(server.admin)
    waiting = await make_deployment(
        server.admin, server.admin, release=scene.releases["2.0.0"].id, environment=first.name
    )
    after = await make_environment(server.admin, promotes_from=scene.environment.name)
    await scene.carry_out(await scene.roll_back("2.0.0", reason="it is slow"))
    bad = f"{scene.service}@2.0.0"
    somebody = await server.user(is_admin=True)
    for call in (
        somebody.releases.DeployRelease(release_pb2.DeployReleaseRequest(release=bad, environment=first.name)),
        somebody.releases.PromoteRelease(release_pb2.PromoteReleaseRequest(release=bad, environment=after.name)),
        somebody.deployments.CreateDeployment(
            deployment_pb2.CreateDeploymentRequest(release=bad, environment=after.name)
        ),
        start(somebody, waiting),
    ):
        assert (await refused(call)).code == grpc.StatusCode.FAILED_PRECONDITION
    held = await server.admin.releases.GetRelease(release_pb2.GetReleaseRequest(release=bad))
    assert held.quarantine.reason == f"Rolled back from {scene.environment.name}: it is slow"
    assert held.quarantine.by == str(server.admin.user_id)
    assert gates(await get(server.admin, waiting)) == ["RELEASE"]
    cleared = release_pb2.ClearQuarantineRequest(release=bad, reason="it was the network")
    await server.admin.releases.ClearQuarantine(cleared)
    assert state(await get(server.admin, waiting)) == "READY"


async def test_without_quarantine_the_release_stays_free(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    await scene.carry_out(await scene.roll_back("2.0.0", quarantine=False))
    deployment = await make_deployment(
        server.admin, server.admin, release=scene.releases["2.0.0"].id, environment=scene.environment.name
    )
    assert state(deployment) == "READY"


async def test_one_that_was_rolled_back_is_nothing_to_go_back_to(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    await scene.carry_out(await scene.roll_back("2.0.0"))
    await scene.ship("3.0.0")
    assert (await scene.roll_back("3.0.0")).target_release_version == "1.0.0"


async def test_neither_is_one_that_is_held_or_abandoned(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0", "3.0.0")
    hold = release_pb2.QuarantineReleaseRequest(release=scene.releases["2.0.0"].id, reason="a hunch")
    await server.admin.releases.QuarantineRelease(hold)
    assert (await scene.roll_back("3.0.0")).target_release_version == "1.0.0"


async def test_a_redeploy_of_the_same_release_is_not_what_ran_before(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    again = await make_deployment(
        server.admin, server.admin, release=scene.releases["2.0.0"].id, environment=scene.environment.name
    )
    await start(server.admin, again)
    scene.deployments["again"] = await complete(server.admin, again)
    assert (await scene.roll_back("again")).target_release_version == "1.0.0"


async def test_without_an_earlier_success_there_is_nothing_to_go_back_to(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0")
    refusal = await refused(scene.roll_back("1.0.0"))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "Nothing to go back to" in refusal.message


async def test_a_failed_deployment_can_be_rolled_back(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0")
    await scene.ship("2.0.0", outcome=FAILED)
    rollback = await scene.roll_back("2.0.0")
    await scene.carry_out(rollback)
    undone = await scene.now("2.0.0")
    assert (state(undone), undone.outcome) == ("ROLLED_BACK", FAILED)


@pytest.mark.parametrize("how", ["waiting", "in progress", "cancelled", "rolled back"])
async def test_what_has_not_succeeded_or_failed_cannot_be_rolled_back(server: RunningServer, how: str) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    if how == "rolled back":
        await scene.carry_out(await scene.roll_back("2.0.0"))
    else:
        release = await scene.release("3.0.0")
        made = await make_deployment(server.admin, server.admin, release=release.id, environment=scene.environment.name)
        scene.deployments["2.0.0"] = made
        if how == "in progress":
            await start(server.admin, made)
        if how == "cancelled":
            await cancel(server.admin, made)
    refusal = await refused(scene.roll_back("2.0.0"))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.info.metadata["state"] == state(await scene.now("2.0.0"))


async def test_a_rollback_of_a_rollback(server: RunningServer) -> None:
    """It goes on back; forward again only to what is named, and not held."""
    scene = await shipped(server, "1.0.0", "2.0.0", "3.0.0")
    scene.deployments["back"] = await scene.carry_out(await scene.roll_back("3.0.0"))
    assert (await scene.roll_back("back", validate_only=True)).target_release_version == "1.0.0"
    bad = f"{scene.service}@3.0.0"
    refusal = await refused(scene.roll_back("back", target_release=bad))
    assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "QUARANTINED")
    cleared = release_pb2.ClearQuarantineRequest(release=bad, reason="it was the network")
    await server.admin.releases.ClearQuarantine(cleared)
    await scene.carry_out(await scene.roll_back("back", target_release=bad, quarantine=False))
    assert state(await scene.now("back")) == "ROLLED_BACK"


async def test_a_named_target_must_have_succeeded_there(server: RunningServer) -> None:
    scene, other = await shipped(server, "1.0.0", "2.0.0", "3.0.0"), await shipped(server, "1.0.0")
    await scene.release("2.5.0")
    assert (await scene.roll_back("3.0.0", target_release=f"{scene.service}@1.0.0", validate_only=True)).reason == ""
    for target in (f"{scene.service}@2.5.0", f"{scene.service}@3.0.0", f"{other.service}@1.0.0"):
        refusal = await refused(scene.roll_back("3.0.0", target_release=target))
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"target_release"})
    refusal = await refused(scene.roll_back("3.0.0", target_release=f"{scene.service}@9.9.9"))
    assert refusal.code == grpc.StatusCode.NOT_FOUND


async def test_someone_elses_newer_deployment_is_not_undone(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    expected = scene.deployments["2.0.0"].id
    assert (await scene.roll_back("2.0.0", expected_current_deployment=expected, validate_only=True)).id
    newer = await scene.ship("3.0.0")
    refusal = await refused(scene.roll_back("2.0.0", expected_current_deployment=expected))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "DEPLOYMENT_CHANGED")
    assert refusal.info.metadata["current_deployment"] == newer.id
    assert (await scene.roll_back("2.0.0", validate_only=True)).id


async def test_one_that_is_under_way_is_newer_too(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    release = await scene.release("3.0.0")
    made = await make_deployment(server.admin, server.admin, release=release.id, environment=scene.environment.name)
    expected = scene.deployments["2.0.0"].id
    assert (await scene.roll_back("2.0.0", expected_current_deployment=expected, validate_only=True)).id
    await start(server.admin, made)
    assert (
        await refused(scene.roll_back("2.0.0", expected_current_deployment=expected))
    ).reason == "DEPLOYMENT_CHANGED"


async def test_what_is_expected_must_be_a_deployment_there(server: RunningServer) -> None:
    scene, other = await shipped(server, "1.0.0", "2.0.0"), await shipped(server, "1.0.0")
    refusal = await refused(scene.roll_back("2.0.0", expected_current_deployment=other.deployments["1.0.0"].id))
    assert set(refusal.violations) == {"expected_current_deployment"}


async def test_one_rollback_at_a_time(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    outcomes = await asyncio.gather(*(scene.roll_back("2.0.0") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(outcome, pb.Rollback) for outcome in outcomes) == 1
    for outcome in outcomes:
        if isinstance(outcome, grpc.aio.AioRpcError):
            assert outcome.code() == grpc.StatusCode.FAILED_PRECONDITION


async def test_strangers_cannot_roll_back(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    stranger = await server.user()
    request = pb.CreateRollbackRequest(deployment=scene.deployments["2.0.0"].id)
    assert (await refused(stranger.rollbacks.CreateRollback(request))).code == grpc.StatusCode.PERMISSION_DENIED


async def test_it_waits_neither_for_freezes_nor_for_promotion_nor_for_soaking(own_server: RunningServer) -> None:
    """Fails when one of these gates does not ask for the kind."""
    before = await make_environment(own_server.admin)
    scene = await shipped(own_server, "1.0.0", "2.0.0")
    soak = environment_pb2.UpdateEnvironmentRequest(
        environment=scene.environment.name, promotes_from=before.name, soak_time=Duration(seconds=3600)
    )
    await own_server.admin.environments.UpdateEnvironment(soak)
    every = [day for day in policy_pb2.DayOfWeek.values() if day]
    always = policy_pb2.WeeklyWindow(days=every, start="00:00", end="24:00")
    await own_server.admin.policies.CreateDeployPolicy(
        policy_pb2.CreateDeployPolicyRequest(name=unique("freeze"), weekly_windows=[always])
    )
    made = await scene.made(await scene.roll_back("2.0.0"))
    assert (state(made), gates(made)) == ("READY", [])


async def test_it_waits_for_locks(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    await lock(server, scene.environment.name)
    rollback = await scene.roll_back("2.0.0")
    assert gates(await scene.made(rollback)) == ["LOCK"]
    await unlock(server, scene.environment.name)
    assert state(await scene.made(rollback)) == "READY"


@pytest.mark.parametrize("asked", [False, True])
async def test_approvals_are_asked_where_the_environment_says_so(server: RunningServer, *, asked: bool) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    change = environment_pb2.UpdateEnvironmentRequest(
        environment=scene.environment.name, required_approvals=1, rollbacks_need_approval=asked
    )
    await server.admin.environments.UpdateEnvironment(change)
    made = await scene.made(await scene.roll_back("2.0.0"))
    assert gates(made) == (["APPROVAL"] if asked else [])


async def test_it_goes_before_all_that_wait_but_not_before_what_is_under_way(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    running, waiting = [
        await make_deployment(
            server.admin, server.admin, release=(await scene.release(v)).id, environment=scene.environment.name
        )
        for v in ("3.0.0", "4.0.0")
    ]
    rollback = await scene.roll_back("2.0.0")
    assert gates(await get(server.admin, running)) == ["QUEUE"]
    made = await scene.made(rollback)
    assert state(made) == "READY"
    await cancel(server.admin, made)
    await start(server.admin, running)
    made = await scene.made(await scene.roll_back("2.0.0"))
    assert gates(made) == ["QUEUE"]
    await complete(server.admin, running)
    assert state(await get(server.admin, made)) == "READY"
    assert (await get(server.admin, waiting)).blockers[0].subject_id == made.id
    await start(server.admin, made)
    await complete(server.admin, made)
    assert state(await get(server.admin, waiting)) == "READY"


async def test_no_newer_deployment_supersedes_it(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    await lock(server, scene.environment.name)
    rollback = await scene.roll_back("2.0.0")
    await make_deployment(
        server.admin,
        server.admin,
        release=(await scene.release("3.0.0")).id,
        environment=scene.environment.name,
        supersede=True,
    )
    assert status(await scene.again(rollback)) == "PENDING"


async def test_its_stages_are_those_by_which_the_target_got_there(server: RunningServer) -> None:
    scene = await shipped(server)
    for version, stages in (("1.0.0", ["build", "verify"]), ("2.0.0", ["build"])):
        made = await make_deployment(
            server.admin,
            server.admin,
            release=(await scene.release(version)).id,
            environment=scene.environment.name,
            stages=stages,
        )
        await start(server.admin, made)
        for stage in stages:
            await _stage(server, made, stage)
        scene.deployments[version] = await complete(server.admin, made)
    rollback = await scene.roll_back("2.0.0")
    made = await scene.made(rollback)
    await start(server.admin, made)
    assert _progress(await _status(server, rollback)) == ("IN_PROGRESS", 2, 0, 0, "build")
    await _stage(server, made, "build")
    assert _progress(await _status(server, rollback)) == ("IN_PROGRESS", 2, 1, 50, "verify")
    await _stage(server, made, "verify", percent=50)
    assert _progress(await _status(server, rollback)) == ("IN_PROGRESS", 2, 1, 75, "verify")
    await _end_stage(server, made, "verify")
    await complete(server.admin, made)
    assert _progress(await _status(server, rollback)) == ("SUCCEEDED", 2, 2, 100, "")


async def _stage(
    server: RunningServer, deployment: deployment_pb2.Deployment, stage: str, percent: int | None = None
) -> None:
    name = f"{deployment.id}/{stage}"
    await server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=name))
    if percent is not None:
        report = stage_pb2.ReportStageProgressRequest(stage=name, progress_percent=percent)
        await server.admin.stages.ReportStageProgress(report)
    else:
        await _end_stage(server, deployment, stage)


async def _end_stage(server: RunningServer, deployment: deployment_pb2.Deployment, stage: str) -> None:
    await server.admin.stages.CompleteStage(
        stage_pb2.CompleteStageRequest(stage=f"{deployment.id}/{stage}", outcome=common_pb2.OUTCOME_SUCCEEDED)
    )


async def _status(server: RunningServer, rollback: pb.Rollback) -> pb.GetRollbackStatusResponse:
    return await server.admin.rollbacks.GetRollbackStatus(pb.GetRollbackStatusRequest(rollback=rollback.id))


def _progress(found: pb.GetRollbackStatusResponse) -> tuple[Any, ...]:
    return (status(found), found.total_stages, found.completed_stages, found.progress_percent, found.current_stage)


async def test_it_fails_as_its_deployment_does_and_undoes_nothing(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    rollback = await scene.roll_back("2.0.0")
    await scene.carry_out(rollback, outcome=FAILED, failure_reason="no disk")
    assert (status(await scene.again(rollback)), state(await scene.now("2.0.0"))) == ("FAILED", "SUCCEEDED")
    assert (await _status(server, rollback)).failure_reason == "no disk"
    release = server.admin.releases.GetRelease(release_pb2.GetReleaseRequest(release=scene.releases["2.0.0"].id))
    assert not (await release).HasField("quarantine")
    refusal = await refused(retry(server.admin, await scene.made(rollback)))
    assert "once more" in refusal.message
    assert status(await scene.roll_back("2.0.0")) == "PENDING"


@pytest.mark.parametrize("started", [False, True])
async def test_it_can_be_called_off(server: RunningServer, *, started: bool) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    rollback = await scene.roll_back("2.0.0")
    if started:
        await start(server.admin, await scene.made(rollback))
        assert status(await scene.again(rollback)) == "IN_PROGRESS"
    request = pb.CancelRollbackRequest(rollback=rollback.id, reason="a mistake")
    cancelled = await server.admin.rollbacks.CancelRollback(request)
    assert status(cancelled) == "CANCELLED"
    made = await scene.made(rollback)
    assert (state(made), made.failure_reason) == ("CANCELLED", "a mistake")
    assert (await refused(server.admin.rollbacks.CancelRollback(request))).code == grpc.StatusCode.FAILED_PRECONDITION
    stale = pb.CancelRollbackRequest(rollback=(await scene.roll_back("2.0.0")).id, etag="1-00000000")
    assert (await refused(server.admin.rollbacks.CancelRollback(stale))).reason == "STALE_ETAG"


async def test_it_is_called_off_with_its_deployment(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    rollback = await scene.roll_back("2.0.0")
    await cancel(server.admin, await scene.made(rollback))
    assert status(await scene.again(rollback)) == "CANCELLED"


async def test_a_dry_run_changes_nothing(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    rollback = await scene.roll_back("2.0.0", validate_only=True)
    assert (await refused(scene.again(rollback))).code == grpc.StatusCode.NOT_FOUND
    found = await server.admin.rollbacks.ListRollbacks(pb.ListRollbacksRequest(service=scene.service))
    assert not found.rollbacks


async def test_what_a_rollback_speaks_of_stays(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    rollback = await scene.roll_back("2.0.0")
    await scene.carry_out(rollback)
    for deployment in (scene.deployments["2.0.0"].id, rollback.rollback_deployment_id):
        request = deployment_pb2.DeleteDeploymentRequest(deployment=deployment)
        refusal = await refused(server.admin.deployments.DeleteDeployment(request))
        assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION


async def test_what_was_to_be_promoted_from_there_waits_again(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    after = await make_environment(server.admin, promotes_from=scene.environment.name)
    promoted = await server.admin.releases.PromoteRelease(
        release_pb2.PromoteReleaseRequest(release=scene.releases["2.0.0"].id)
    )
    assert (promoted.environment_name, state(promoted)) == (after.name, "READY")
    await scene.carry_out(await scene.roll_back("2.0.0", quarantine=False))
    assert gates(await get(server.admin, promoted)) == ["PROMOTION"]
    assert gates(await check(server.admin, promoted)) == ["PROMOTION"]


async def test_the_releases_status_tells_how_its_newest_production_deployment_ended(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    await scene.carry_out(await scene.roll_back("2.0.0"))
    assert await release_state(server.admin, scene.releases["2.0.0"].id) == "DEPLOYED"


async def test_lists_are_filtered(server: RunningServer) -> None:
    scene, other = await shipped(server, "1.0.0", "2.0.0", "3.0.0"), await shipped(server, "1.0.0", "2.0.0")
    first, second = await scene.roll_back("3.0.0"), await other.roll_back("2.0.0")
    await scene.carry_out(first)
    for fields, wanted in (
        ({"service": scene.service}, {first.id}),
        ({"environment": other.environment.name}, {second.id}),
        ({"deployment": scene.deployments["3.0.0"].id}, {first.id}),
        ({"service": scene.service, "status": pb.ROLLBACK_STATUS_SUCCEEDED}, {first.id}),
        ({"service": scene.service, "status": pb.ROLLBACK_STATUS_PENDING}, set()),
        ({"service": other.service, "order_by": "completed_at desc"}, {second.id}),
        ({"service": other.service, "order_by": "status"}, {second.id}),
    ):
        request: Any = fields
        found = await server.admin.rollbacks.ListRollbacks(pb.ListRollbacksRequest(**request))
        assert {rollback.id for rollback in found.rollbacks} == wanted
    missing = pb.ListRollbacksRequest(service="nobody-has-this-name")
    assert (await refused(server.admin.rollbacks.ListRollbacks(missing))).code == grpc.StatusCode.NOT_FOUND


async def test_a_rollback_whose_pipeline_is_lost_has_failed(own_server: RunningServer, clock: Any) -> None:
    """The server's own work has no caller: whoever follows the deployment must not ask for one."""
    scene = await shipped(own_server, "1.0.0", "2.0.0")
    rollback = await scene.roll_back("2.0.0")
    await start(own_server.admin, await scene.made(rollback), lease_ttl=Duration(seconds=30))
    for _ in range(18):
        clock.advance(timedelta(seconds=4))
        await own_server.app.reconciler.tick()
    assert status(await scene.again(rollback)) == "FAILED"


async def test_what_becomes_of_a_rollback_is_in_the_history_of_what_it_undoes(server: RunningServer) -> None:
    scene = await shipped(server, "1.0.0", "2.0.0")
    first = await scene.roll_back("2.0.0", reason="it is slow")
    await scene.carry_out(first, outcome=FAILED, failure_reason="no disk")
    await scene.carry_out(await scene.roll_back("2.0.0"))
    events = await events_of(server.admin, scene.deployments["2.0.0"])
    assert [event_type(event) for event in events][-4:] == ["ROLLBACK", "ROLLBACK", "ROLLBACK", "ROLLED_BACK"]
    assert [event.message for event in events][-4:-1] == [
        "A rollback to 1.0.0 was asked for by root-admin: it is slow",
        "Its rollback has ended, FAILED.",
        "A rollback to 1.0.0 was asked for by root-admin.",
    ]
