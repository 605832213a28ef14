"""Leases: one pipeline at a time, for as long as it says that it is there."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from relman_client.v1 import common_pb2, lease_pb2, log_pb2, stage_pb2
from relman_client.v1 import deployment_pb2 as pb
from relman_server.duties import LEASE_PATIENCE
from tests.conftest import MovableClock
from tests.deployments import steps
from tests.deployments.steps import make_in, state
from tests.factories import Caller, Refusal, RunningServer, make_deployment, refused

MINUTE = Duration(seconds=60)


async def _lease(caller: Caller, deployment: pb.Deployment, **fields: Any) -> lease_pb2.Lease:
    """Start a deployment, or take it over, with a lease of a minute."""
    fields.setdefault("lease_ttl", MINUTE)
    request = pb.StartDeploymentRequest(deployment=deployment.id, **fields)
    return (await caller.deployments.StartDeployment(request)).lease


async def _leased(server: RunningServer, **fields: Any) -> tuple[pb.Deployment, lease_pb2.Lease]:
    deployment = await make_in(server, "READY", **fields)
    return deployment, await _lease(server.admin, deployment)


async def _beat(caller: Caller, deployment: pb.Deployment, lease: lease_pb2.Lease) -> lease_pb2.Lease:
    request = pb.HeartbeatDeploymentRequest(deployment=deployment.id, lease=lease)
    return await caller.deployments.HeartbeatDeployment(request)


def _is_fenced(refusal: Refusal) -> bool:
    return (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "WRITER_FENCED")


async def _pass(server: RunningServer, clock: MovableClock, span: timedelta) -> None:
    """Let time pass second by second, as a server that is up the whole time sees it."""
    step = timedelta(seconds=4)
    for _ in range(-(-span // step)):
        clock.advance(step)
        await server.app.reconciler.tick()


async def test_a_start_with_a_time_to_live_gives_a_lease(server: RunningServer) -> None:
    _, lease = await _leased(server)
    assert lease.fencing_token == 1
    assert lease.id
    assert lease.ttl == MINUTE
    left = lease.expires_at.ToDatetime().timestamp() - server.app.clock.now().replace(tzinfo=None).timestamp()
    assert 50 < left <= 60


async def test_a_start_without_one_gives_none_and_nothing_runs_out(
    own_server: RunningServer, clock: MovableClock
) -> None:
    deployment = await make_in(own_server, "READY")
    started = await own_server.admin.deployments.StartDeployment(pb.StartDeploymentRequest(deployment=deployment.id))
    assert not started.HasField("lease")
    await _pass(own_server, clock, timedelta(minutes=10))
    assert state(await steps.get(own_server.admin, deployment)) == "IN_PROGRESS"


@pytest.mark.parametrize("seconds", [0, 4, 3601, -1])
async def test_a_lease_lasts_from_5_seconds_to_an_hour(server: RunningServer, seconds: int) -> None:
    deployment = await make_in(server, "READY")
    refusal = await refused(_lease(server.admin, deployment, lease_ttl=Duration(seconds=seconds)))
    assert set(refusal.violations) == {"lease_ttl"}


async def test_a_pipeline_that_is_silent_for_too_long_is_lost(own_server: RunningServer, clock: MovableClock) -> None:
    deployment, _ = await _leased(own_server, stages=["build"])
    await _pass(own_server, clock, timedelta(seconds=55))
    assert state(await steps.get(own_server.admin, deployment)) == "IN_PROGRESS"
    await _pass(own_server, clock, timedelta(seconds=10))
    lost = await steps.get(own_server.admin, deployment)
    assert (state(lost), lost.failure_reason, lost.outcome) == ("FAILED", "LOST", steps.FAILED)
    last = (await steps.events_of(own_server.admin, deployment))[-1]
    assert (steps.event_type(last), last.actor_id) == ("FAILED", "")
    assert "no heartbeat" in last.message
    stages = await own_server.admin.stages.ListStages(stage_pb2.ListStagesRequest(deployment=deployment.id))
    assert [steps.stage_state(stage) for stage in stages.stages] == ["CANCELLED"]


async def test_heartbeats_keep_it_and_silence_of_the_log_does_not_matter(
    own_server: RunningServer, clock: MovableClock
) -> None:
    deployment, lease = await _leased(own_server)
    for _ in range(6):
        await _pass(own_server, clock, timedelta(seconds=40))
        renewed = await _beat(own_server.admin, deployment, lease)
        assert (renewed.id, renewed.fencing_token) == (lease.id, lease.fencing_token)
        assert renewed.expires_at.ToDatetime() > lease.expires_at.ToDatetime()
    assert state(await steps.get(own_server.admin, deployment)) == "IN_PROGRESS"


async def test_after_an_outage_pipelines_have_time_to_come_back(own_server: RunningServer, clock: MovableClock) -> None:
    """Fails without patience: a server that was away for an hour would fail every pipeline that outlived it."""
    deployment, lease = await _leased(own_server)
    clock.advance(timedelta(hours=1))
    for _ in range(3):
        await own_server.app.reconciler.tick()
    own_server.admin = await own_server.user(is_admin=True)
    assert state(await steps.get(own_server.admin, deployment)) == "IN_PROGRESS"
    await _beat(own_server.admin, deployment, lease)
    await _pass(own_server, clock, timedelta(seconds=50))
    assert state(await steps.get(own_server.admin, deployment)) == "IN_PROGRESS"


async def test_after_an_outage_those_that_are_gone_are_lost(own_server: RunningServer, clock: MovableClock) -> None:
    deployment, _ = await _leased(own_server)
    clock.advance(timedelta(hours=1))
    await own_server.app.reconciler.tick()
    await _pass(own_server, clock, LEASE_PATIENCE + timedelta(seconds=5))
    own_server.admin = await own_server.user(is_admin=True)
    assert (await steps.get(own_server.admin, deployment)).failure_reason == "LOST"


async def test_whoever_takes_over_fences_the_one_before(server: RunningServer) -> None:
    deployment, first = await _leased(server, stages=["build"])
    second = await _lease(server.admin, deployment, takeover=True)
    assert (second.fencing_token, second.id != first.id) == (2, True)
    stage, admin = f"{deployment.id}/build", server.admin
    lines: dict[str, Any] = {"first_sequence": 1, "entries": [log_pb2.LogEntry(text="hello")]}
    calls: list[Callable[[lease_pb2.Lease], Any]] = [
        lambda lease: admin.stages.StartStage(stage_pb2.StartStageRequest(stage=stage, lease=lease)),
        lambda lease: admin.stages.ReportStageProgress(stage_pb2.ReportStageProgressRequest(stage=stage, lease=lease)),
        lambda lease: admin.logs.AppendLogs(log_pb2.AppendLogsRequest(deployment=deployment.id, lease=lease, **lines)),
        lambda lease: _beat(admin, deployment, lease),
        lambda lease: admin.stages.CompleteStage(
            stage_pb2.CompleteStageRequest(stage=stage, lease=lease, outcome=common_pb2.OUTCOME_SUCCEEDED)
        ),
        lambda lease: steps.complete(admin, deployment, lease=lease),
    ]
    for call in calls:
        assert _is_fenced(await refused(call(first)))
        await call(second)
    assert state(await steps.get(server.admin, deployment)) == "SUCCEEDED"


async def test_a_takeover_of_what_waits_is_a_start_with_a_lease_of_a_minute(server: RunningServer) -> None:
    deployment = await make_in(server, "READY")
    lease = await _lease(server.admin, deployment, takeover=True, lease_ttl=None)
    assert lease.fencing_token == 1
    assert state(await steps.get(server.admin, deployment)) == "IN_PROGRESS"


async def test_a_takeover_of_what_has_no_lease_gives_the_first(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    assert (await _lease(server.admin, deployment, takeover=True)).fencing_token == 1


async def test_a_takeover_is_in_the_history(server: RunningServer) -> None:
    deployment, _ = await _leased(server)
    await _lease(server.admin, deployment, takeover=True)
    last = (await steps.events_of(server.admin, deployment))[-1]
    assert steps.event_type(last) == "LEASE"
    assert "took the pipeline over" in last.message


async def test_a_second_start_is_refused_and_says_how_to_take_over(server: RunningServer) -> None:
    deployment, lease = await _leased(server)
    refusal = await refused(_lease(server.admin, deployment))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "takeover" in refusal.message
    await _beat(server.admin, deployment, lease)


async def test_a_lease_of_another_deployment_is_none(server: RunningServer) -> None:
    _, foreign = await _leased(server)
    deployment, _ = await _leased(server)
    assert _is_fenced(await refused(_beat(server.admin, deployment, foreign)))
    without = await make_in(server, "IN_PROGRESS")
    assert _is_fenced(await refused(steps.complete(server.admin, without, lease=foreign)))


async def test_a_heartbeat_after_the_end_says_to_stop(server: RunningServer) -> None:
    deployment, lease = await _leased(server)
    await steps.cancel(server.admin, deployment)
    refusal = await refused(_beat(server.admin, deployment, lease))
    assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "CANCELLED")


async def test_what_is_left_to_log_after_the_end_is_taken(server: RunningServer) -> None:
    deployment, lease = await _leased(server)
    entry: dict[str, Any] = {"entries": [log_pb2.LogEntry(text="hello")], "deployment": deployment.id, "lease": lease}
    await server.admin.logs.AppendLogs(log_pb2.AppendLogsRequest(first_sequence=1, **entry))
    await steps.complete(server.admin, deployment, lease=lease)
    await server.admin.logs.AppendLogs(log_pb2.AppendLogsRequest(first_sequence=2, **entry))


async def test_a_stream_of_lines_is_fenced_in_its_middle(server: RunningServer) -> None:
    """Fails when only the opening of a stream looks at the lease."""
    deployment, lease = await _leased(server)
    call: Any = server.admin.logs.WriteLogs()  # whose stub does not tell reading from its end
    await call.write(
        log_pb2.WriteLogsRequest(open=log_pb2.WriteLogsRequest.Open(deployment=deployment.id, lease=lease))
    )
    await call.read()
    line = log_pb2.LogEntry(text="hello")
    append = log_pb2.WriteLogsRequest.Append
    await call.write(log_pb2.WriteLogsRequest(append=append(first_sequence=1, entries=[line])))
    assert (await call.read()).committed_sequence == 1
    await _lease(server.admin, deployment, takeover=True)
    await call.write(log_pb2.WriteLogsRequest(append=append(first_sequence=2, entries=[line])))
    assert _is_fenced(await refused(call.read()))


async def test_strangers_can_neither_beat_nor_take_over(server: RunningServer) -> None:
    deployment, lease = await _leased(server)
    stranger = await server.user()
    for call in (_beat(stranger, deployment, lease), _lease(stranger, deployment, takeover=True)):
        assert (await refused(call)).code == grpc.StatusCode.PERMISSION_DENIED


async def test_many_who_take_over_at_once_have_different_tokens_and_one_holds_it(server: RunningServer) -> None:
    deployment, _ = await _leased(server)
    leases = await asyncio.gather(*(_lease(server.admin, deployment, takeover=True) for _ in range(8)))
    assert sorted(lease.fencing_token for lease in leases) == list(range(2, 10))
    held = [lease for lease in leases if not await _fenced_out(server, deployment, lease)]
    assert [lease.fencing_token for lease in held] == [9]


async def _fenced_out(server: RunningServer, deployment: pb.Deployment, lease: lease_pb2.Lease) -> bool:
    try:
        await _beat(server.admin, deployment, lease)
    except grpc.aio.AioRpcError as error:
        return _is_fenced(Refusal(error))
    return False


async def test_the_queue_goes_on_when_a_pipeline_is_lost(own_server: RunningServer, clock: MovableClock) -> None:
    first, second = await steps.queue(own_server, 2)
    await _lease(own_server.admin, first)
    await _pass(own_server, clock, timedelta(seconds=65))
    assert state(await steps.get(own_server.admin, second)) == "READY"


async def test_a_repeated_start_answers_the_same_lease(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin)
    request_id = "0190a1b2-0000-7000-8000-00000000000a"
    first = await _lease(server.admin, deployment, request_id=request_id)
    assert await _lease(server.admin, deployment, request_id=request_id) == first
