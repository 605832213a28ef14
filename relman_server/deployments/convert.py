"""Deployments and stages between the contract and Python."""

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import lease_pb2, release_pb2, stage_pb2
from relman_server.deployments.gates import Blocker
from relman_server.deployments.inputs import (
    Cancellation,
    Completion,
    DeploymentChange,
    GetDeployment,
    Heartbeat,
    ListDeployments,
    ListEvents,
    ListStages,
    NewDeployment,
    NewStage,
    Promotion,
    Question,
    StageChange,
    StageCompletion,
    StageProgress,
    StageSkip,
    StageStep,
    Start,
    Verdict,
    Watch,
    WatchAll,
)
from relman_server.deployments.model import Lease
from relman_server.kernel.db.transaction import Record
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import PAGE_BYTES, page_writer, writer

new_deployment = reader(pb.CreateDeploymentRequest, NewDeployment)
deploy_release = reader(release_pb2.DeployReleaseRequest, NewDeployment)
promotion = reader(release_pb2.PromoteReleaseRequest, Promotion)
get_deployment = reader(pb.GetDeploymentRequest, GetDeployment)
list_deployments = reader(pb.ListDeploymentsRequest, ListDeployments)
deployment_change = change_reader(pb.UpdateDeploymentRequest, DeploymentChange)
question = reader(pb.CheckDeploymentRequest, Question)
start = reader(pb.StartDeploymentRequest, Start)
heartbeat_of = reader(pb.HeartbeatDeploymentRequest, Heartbeat)
completion = reader(pb.CompleteDeploymentRequest, Completion)
cancellation = reader(pb.CancelDeploymentRequest, Cancellation)
approval = reader(pb.ApproveDeploymentRequest, Verdict)
rejection = reader(pb.RejectDeploymentRequest, Verdict)
list_events = reader(pb.ListDeploymentEventsRequest, ListEvents)
watch = reader(pb.WatchDeploymentRequest, Watch)
watch_all = reader(pb.WatchDeploymentsRequest, WatchAll)

new_stage = reader(stage_pb2.CreateStageRequest, NewStage)
stage_change = change_reader(stage_pb2.UpdateStageRequest, StageChange)
list_stages = reader(stage_pb2.ListStagesRequest, ListStages)
start_stage = reader(stage_pb2.StartStageRequest, StageStep)
retry_stage = reader(stage_pb2.RetryStageRequest, StageStep)
stage_progress = reader(stage_pb2.ReportStageProgressRequest, StageProgress)
stage_completion = reader(stage_pb2.CompleteStageRequest, StageCompletion)
stage_skip = reader(stage_pb2.SkipStageRequest, StageSkip)

deployment = writer(pb.Deployment, stages=lambda _: None)
deployments = page_writer(pb.ListDeploymentsResponse, "deployments", deployment)
stage = writer(stage_pb2.PipelineStage, output_shortened=lambda _: None)
stages = page_writer(stage_pb2.ListStagesResponse, "stages", stage)
OUTPUTS_BYTES = 2_500_000
"""Of all outputs in one answer, so that PAGE_BYTES has room for the most that else is in it."""
_blocker = writer(pb.Blocker)


def deployment_with_stages(found: tuple[Record, Sequence[Record]]) -> pb.Deployment:
    """Write a deployment and its stages."""
    message = deployment(found[0])
    message.stages.extend(_together(found[1]))
    return message


def all_stages(found: Sequence[Record]) -> pb.GetDeploymentStagesResponse:
    """Write the stages of a deployment."""
    return pb.GetDeploymentStagesResponse(stages=_together(found))


def _together(rows: Sequence[Record]) -> list[stage_pb2.PipelineStage]:
    """Write all stages of a deployment for one answer; outputs are shortened when clients would refuse it."""
    written = [stage(row) for row in rows]
    if sum(message.ByteSize() for message in written) > PAGE_BYTES:
        room = OUTPUTS_BYTES // sum(1 + len(message.earlier_attempts) for message in written)
        for message in written:
            attempts = [_shorten(attempt, room) for attempt in message.earlier_attempts]
            message.output_shortened = _shorten(message, room) or any(attempts)
    return written


def _shorten(holder: stage_pb2.PipelineStage | stage_pb2.StageAttempt, room: int) -> bool:
    """Cut the output to so many bytes; return whether that was necessary."""
    output = holder.output.encode()
    if len(output) <= room:
        return False
    holder.output = output[:room].decode(errors="ignore")
    return True


def check(blockers: Sequence[Blocker]) -> pb.DeploymentCheck:
    """Write a decision."""
    return pb.DeploymentCheck(allowed=not blockers, blockers=[_blocker(blocker) for blocker in blockers])


lease = writer(lease_pb2.Lease, ttl=lambda row: timedelta(seconds=row.ttl_seconds))


def started(found: tuple[Record, Lease | None]) -> pb.StartDeploymentResponse:
    """Write a deployment that was started, and the lease that was given out."""
    row, held = found
    return pb.StartDeploymentResponse(deployment=deployment(row), lease=lease(held) if held else None)


def _as_it_was(snapshot: dict[str, Any], message: type) -> SimpleNamespace:  # JSON of a row
    """Give a row of the history the fields that came to the contract after it was written."""
    absent = dict.fromkeys(message.DESCRIPTOR.fields_by_name)  # type: ignore[attr-defined]  # of a message
    return SimpleNamespace(**absent | {"row_version": 0} | snapshot)


event = writer(
    pb.DeploymentEvent,
    deployment=lambda row: deployment(_as_it_was(row.deployment, pb.Deployment)),
    stage=lambda row: stage(_as_it_was(row.stage, stage_pb2.PipelineStage)) if row.stage else None,
    cursor=lambda row: str(row.revision),
)
events = page_writer(pb.ListDeploymentEventsResponse, "events", event)


def snapshot(row: Record, seen: int) -> pb.DeploymentEvent:
    """Write the state now, as a watch begins with that goes on after the revision `seen`."""
    return pb.DeploymentEvent(
        deployment_id=str(row.id),
        revision=row.revision,
        type=pb.DEPLOYMENT_EVENT_TYPE_SNAPSHOT,
        deployment=deployment(row),
        cursor=str(seen),
    )


def heartbeat(deployment_id: str, revision: int) -> pb.DeploymentEvent:
    """Write that nothing happened."""
    return pb.DeploymentEvent(
        deployment_id=deployment_id,
        revision=revision,
        type=pb.DEPLOYMENT_EVENT_TYPE_HEARTBEAT,
        cursor=str(revision),
    )


def feed_event(row: Record, cursor: str) -> pb.DeploymentEvent:
    """Write an event as those get it who watch all deployments."""
    message = event(row)
    message.cursor = cursor
    return message


def feed_heartbeat(cursor: str) -> pb.DeploymentEvent:
    """Write that nothing happened to any deployment."""
    return pb.DeploymentEvent(type=pb.DEPLOYMENT_EVENT_TYPE_HEARTBEAT, cursor=cursor)
