"""One stage: what it may say, its transitions, its attempts."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import select

from relman_client.v1 import stage_pb2 as pb
from relman_server.deployments.inputs import MAX_ATTEMPTS
from relman_server.deployments.model import Stage
from relman_server.kernel.db.transaction import Transaction
from tests.deployments import steps
from tests.deployments.steps import FAILED, SUCCEEDED, event_type, events_of, make_in, stage_state
from tests.factories import Caller, RunningServer, make_deployment, refused


async def _running(server: RunningServer) -> str:
    """Return the reference of a stage that runs."""
    deployment = await make_in(server, "IN_PROGRESS", stages=["build"])
    await _start(server.admin, f"{deployment.id}/build")
    return f"{deployment.id}/build"


async def _get(caller: Caller, stage: str) -> pb.PipelineStage:
    return await caller.stages.GetStage(pb.GetStageRequest(stage=stage))


async def _start(caller: Caller, stage: str, **fields: Any) -> pb.PipelineStage:
    return await caller.stages.StartStage(pb.StartStageRequest(stage=stage, **fields))


async def _complete(caller: Caller, stage: str, outcome: Any = SUCCEEDED, **fields: Any) -> pb.PipelineStage:
    return await caller.stages.CompleteStage(pb.CompleteStageRequest(stage=stage, outcome=outcome, **fields))


async def _skip(caller: Caller, stage: str, **fields: Any) -> pb.PipelineStage:
    return await caller.stages.SkipStage(pb.SkipStageRequest(stage=stage, **fields))


async def _retry(caller: Caller, stage: str, **fields: Any) -> pb.PipelineStage:
    return await caller.stages.RetryStage(pb.RetryStageRequest(stage=stage, **fields))


async def _report(caller: Caller, stage: str, percent: int = 1, **fields: Any) -> pb.PipelineStage:
    return await caller.stages.ReportStageProgress(
        pb.ReportStageProgressRequest(stage=stage, progress_percent=percent, **fields)
    )


async def _update(caller: Caller, stage: str, **fields: Any) -> pb.PipelineStage:
    return await caller.stages.UpdateStage(pb.UpdateStageRequest(stage=stage, **fields))


async def _rename(caller: Caller, stage: str) -> pb.PipelineStage:
    return await _update(caller, stage, timeout_seconds=5)


async def _fail(caller: Caller, stage: str) -> pb.PipelineStage:
    return await _complete(caller, stage, FAILED)


def _put(tx: Transaction, reference: str, status: str) -> None:
    deployment, _, name = reference.partition("/")
    for stage in tx.entities(select(Stage).where(Stage.name == name)):
        if str(stage.deployment_id) == deployment:
            stage.status = status
            stage.started_at = stage.started_at or tx.now
            stage.completed_at = tx.now
            tx.audit("stage.update", stage)


Transition = Callable[[Caller, str], Awaitable[pb.PipelineStage]]
TRANSITIONS: dict[str, tuple[Transition, dict[str, str]]] = {
    "start": (_start, {"PENDING": "RUNNING"}),
    "report": (_report, {"RUNNING": "RUNNING"}),
    "succeed": (_complete, {"RUNNING": "SUCCEEDED", "SUCCEEDED": "SUCCEEDED"}),
    "fail": (_fail, {"RUNNING": "FAILED", "FAILED": "FAILED"}),
    "skip": (_skip, {"PENDING": "SKIPPED"}),
    "retry": (_retry, {"FAILED": "PENDING", "TIMED_OUT": "PENDING"}),
    "update": (_rename, {"PENDING": "PENDING"}),
}


@pytest.mark.parametrize("name", TRANSITIONS)
async def test_a_transition_is_made_from_its_states_and_refused_from_all_others(
    server: RunningServer, name: str
) -> None:
    make, allowed = TRANSITIONS[name]
    for before in ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "SKIPPED", "TIMED_OUT", "CANCELLED"):
        deployment = await make_in(server, "IN_PROGRESS", stages=["build"])
        stage = f"{deployment.id}/build"
        if before != "PENDING":
            await server.app.db.write(_put, stage, before)
        if before in allowed:
            assert stage_state(await make(server.admin, stage)) == allowed[before]
            continue
        refusal = await refused(make(server.admin, stage))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE"), before
        assert refusal.conditions[0][:2] == (before, stage)
        assert stage_state(await _get(server.admin, stage)) == before


async def test_stages_start_and_are_tried_again_only_while_the_deployment_is_in_progress(
    server: RunningServer,
) -> None:
    deployment = await make_in(server, "READY", stages=["build"])
    stage = f"{deployment.id}/build"
    assert (await refused(_start(server.admin, stage))).info.metadata["state"] == "READY"
    await steps.start(server.admin, deployment)
    await _start(server.admin, stage)
    await _fail(server.admin, stage)
    await steps.complete(server.admin, deployment, FAILED)
    for call in (_start, _retry):
        refusal = await refused(call(server.admin, stage))
        assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "FAILED")


async def test_a_stage_is_found_by_id_and_by_the_name_in_its_deployment(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin, stages=["build"])
    by_name = await _get(server.admin, f"{deployment.id}/build")
    assert await _get(server.admin, by_name.id) == by_name
    assert (by_name.deployment_id, by_name.order, by_name.attempt) == (deployment.id, 1, 1)


@pytest.mark.parametrize("reference", ["build", "checkout/build", "/build", "0190a1b2-0000-7000-8000-000000000000/"])
async def test_a_reference_that_names_no_stage_is_refused(server: RunningServer, reference: str) -> None:
    for call in (_get, _start, _rename):
        refusal = await refused(call(server.admin, reference))
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"stage"})


async def test_a_stage_of_another_deployment_is_not_found(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS", stages=["build"])
    await make_in(server, "IN_PROGRESS", stages=["other"])
    for call in (_get, _start, _report, _complete, _skip, _retry, _rename):
        refusal = await refused(call(server.admin, f"{deployment.id}/other"))
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "stage")


async def test_a_success_is_complete_to_the_last_percent_and_keeps_its_output(server: RunningServer) -> None:
    stage = await _running(server)
    reported = await _report(server.admin, stage, 40, progress_message="compiling")
    assert (reported.progress_percent, reported.progress_message) == (40, "compiling")
    done = await _complete(server.admin, stage, output="42 tests")
    assert (done.progress_percent, done.output, done.HasField("completed_at")) == (100, "42 tests", True)


async def test_a_failure_stays_at_the_percent_it_reached(server: RunningServer) -> None:
    stage = await _running(server)
    await _report(server.admin, stage, 40)
    assert (await _fail(server.admin, stage)).progress_percent == 40


async def test_completing_again_with_the_same_outcome_changes_nothing(server: RunningServer) -> None:
    stage = await _running(server)
    done = await _complete(server.admin, stage, output="first")
    assert await _complete(server.admin, stage, output="second", etag="1-stale") == done
    events = await server.admin.stages.GetStage(pb.GetStageRequest(stage=stage))
    assert events == done


async def test_completing_again_with_the_other_outcome_is_refused(server: RunningServer) -> None:
    stage = await _running(server)
    await _complete(server.admin, stage)
    refusal = await refused(_fail(server.admin, stage))
    assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "SUCCEEDED")


async def test_a_skipped_stage_says_why(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin, stages=["build"])
    skipped = await _skip(server.admin, f"{deployment.id}/build", reason="nothing to build")
    assert (stage_state(skipped), skipped.output) == ("SKIPPED", "nothing to build")


async def test_a_retry_keeps_the_attempts_before_readable(server: RunningServer) -> None:
    stage = await _running(server)
    for number in (1, 2):
        await _complete(server.admin, stage, FAILED, output=f"error {number}")
        fresh = await _retry(server.admin, stage)
        assert (fresh.attempt, fresh.output, fresh.progress_percent) == (number + 1, "", 0)
        assert not fresh.HasField("started_at")
        await _start(server.admin, stage)
    found = await _complete(server.admin, stage, output="fine")
    assert [(earlier.attempt, earlier.output) for earlier in found.earlier_attempts] == [(1, "error 1"), (2, "error 2")]
    for earlier in found.earlier_attempts:
        assert earlier.status == pb.STAGE_STATUS_FAILED
        assert earlier.started_at.ToNanoseconds() < earlier.completed_at.ToNanoseconds()


async def test_a_stage_is_not_tried_again_for_ever(server: RunningServer) -> None:
    stage = await _running(server)
    await _fail(server.admin, stage)
    await server.app.db.write(_attempted, stage, MAX_ATTEMPTS)
    refusal = await refused(_retry(server.admin, stage))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "new deployment" in refusal.message


def _attempted(tx: Transaction, reference: str, attempts: int) -> None:
    for stage in tx.entities(select(Stage)):
        if reference.startswith(str(stage.deployment_id)):
            stage.attempt = attempts
            tx.audit("stage.update", stage)


OUT_OF_BOUNDS: list[tuple[Callable[[Caller, str], Any], str]] = [
    (lambda who, stage: _report(who, stage, -1), "progress_percent"),
    (lambda who, stage: _report(who, stage, 101), "progress_percent"),
    (lambda who, stage: _report(who, stage, progress_message="x" * 501), "progress_message"),
    (lambda who, stage: _report(who, stage, progress_message="two\nlines"), "progress_message"),
    (lambda who, stage: _complete(who, stage, output="é" * 32 * 1024 + "e"), "output"),
    (lambda who, stage: _complete(who, stage, 0), "outcome"),
    (lambda who, stage: _skip(who, stage, reason="x" * 1001), "reason"),
    (lambda who, stage: _update(who, stage, timeout_seconds=-1), "timeout_seconds"),
    (lambda who, stage: _update(who, stage, timeout_seconds=7 * 86400 + 1), "timeout_seconds"),
    (lambda who, stage: _update(who, stage, timeout_seconds=365 * 86400), "timeout_seconds"),
    (lambda who, stage: _update(who, stage, order=0), "order"),
    (lambda who, stage: _update(who, stage, name="Not A Name"), "name"),
    (lambda who, stage: _update(who, stage, update_mask=FieldMask(paths=["status"])), "update_mask"),
    (lambda who, stage: _update(who, stage, update_mask=FieldMask(paths=["name"])), "name"),
]


async def test_what_is_out_of_bounds_is_refused(server: RunningServer) -> None:
    for call, field in OUT_OF_BOUNDS:
        refusal = await refused(call(server.admin, "0190a1b2-0000-7000-8000-000000000000/build"))
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {field})


async def test_output_of_64_kib_is_kept(server: RunningServer) -> None:
    stage = await _running(server)
    output = "é" * 32 * 1024
    assert (await _complete(server.admin, stage, output=output)).output == output


async def test_an_update_sets_what_is_present_and_a_mask_what_it_names(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin, stages=["build"])
    stage = await _update(server.admin, f"{deployment.id}/build", name="compile", timeout_seconds=60)
    assert (stage.name, stage.order, stage.timeout_seconds) == ("compile", 1, 60)
    mask = FieldMask(paths=["timeout_seconds"])
    stage = await _update(server.admin, stage.id, name="ignored", update_mask=mask)
    assert (stage.name, stage.timeout_seconds) == ("compile", 0)


async def test_a_stale_etag_stops_every_change(server: RunningServer) -> None:
    stage = await _running(server)
    for call in (
        _start(server.admin, stage, etag="0-stale"),
        _complete(server.admin, stage, etag="0-stale"),
        _skip(server.admin, stage, etag="0-stale"),
        _retry(server.admin, stage, etag="0-stale"),
        _update(server.admin, stage, timeout_seconds=1, etag="0-stale"),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")


async def test_a_lease_that_nobody_gave_fences(server: RunningServer) -> None:
    stage = await _running(server)
    lease = {"id": "0190a1b2-0000-7000-8000-000000000000", "fencing_token": 1}
    for call in (_report(server.admin, stage, lease=lease), _complete(server.admin, stage, lease=lease)):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "WRITER_FENCED")


async def test_every_change_of_a_stage_is_an_event_with_the_stage_as_it_was_answered(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    admin = server.admin
    answers = [
        await admin.stages.CreateStage(pb.CreateStageRequest(deployment=deployment.id, name="build")),
        await _update(admin, f"{deployment.id}/build", timeout_seconds=60),
        await _start(admin, f"{deployment.id}/build"),
        await _report(admin, f"{deployment.id}/build", 50),
        await _fail(admin, f"{deployment.id}/build"),
        await _retry(admin, f"{deployment.id}/build"),
        await _skip(admin, f"{deployment.id}/build"),
    ]
    events = (await events_of(admin, deployment))[2:]
    assert [event_type(event).removeprefix("STAGE_") for event in events] == [
        "CREATED",
        "UPDATED",
        "STARTED",
        "PROGRESS",
        "ENDED",
        "RETRIED",
        "ENDED",
    ]
    for answer in answers:
        answer.ClearField("earlier_attempts")  # each has events of its own
    assert [event.stage for event in events] == answers
