"""DeploymentService and StageService: the way of a release into an environment."""

from collections.abc import Awaitable, Sequence
from typing import Protocol
from uuid import UUID

from google.protobuf.empty_pb2 import Empty

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import deployment_pb2_grpc, lease_pb2, release_pb2, rollback_pb2, stage_pb2, stage_pb2_grpc
from relman_server.deployments import (
    approving,
    convert,
    creation,
    ending,
    leases,
    logic,
    stage_store,
    stages,
    starting,
    store,
)
from relman_server.deployments.feed import Chosen, FeedHub, watch_all
from relman_server.deployments.inputs import View, WatchAll
from relman_server.deployments.watch import WatchHub, watch
from relman_server.kernel.db import Database, Reading
from relman_server.kernel.db.transaction import Record
from relman_server.kernel.identity import current_call
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.rpc.writing import empty
from relman_server.kernel.streams.delivery import Delivery


class Undoer(Protocol):
    """What undoes deployments: the resource above, handed in by app.py."""

    def roll_back_deployment(self, request: pb.RollbackDeploymentRequest) -> Awaitable[rollback_pb2.Rollback]:
        """Create a rollback of a deployment."""


class DeploymentService(deployment_pb2_grpc.DeploymentServiceServicer):
    """Deployments: the way of a release into an environment."""

    def __init__(self, db: Database, watches: WatchHub, feed: FeedHub, undoer: Undoer) -> None:
        self._db = db
        self._watches = watches
        self._feed = feed
        self._undoer = undoer

    async def CreateDeployment(self, request: pb.CreateDeploymentRequest, context: Context) -> pb.Deployment:
        new = convert.new_deployment(request)
        return await self._db.write(
            creation.create_deployment, new, into=convert.deployment, dry_run=request.validate_only
        )

    async def deploy_release(self, request: release_pb2.DeployReleaseRequest) -> pb.Deployment:
        """Serve ReleaseService.DeployRelease."""
        new = convert.deploy_release(request)
        return await self._db.write(
            creation.create_deployment, new, into=convert.deployment, dry_run=request.validate_only
        )

    async def promote_release(self, request: release_pb2.PromoteReleaseRequest) -> pb.Deployment:
        """Serve ReleaseService.PromoteRelease."""
        wanted = convert.promotion(request)
        return await self._db.write(
            creation.promote_release, wanted, into=convert.deployment, dry_run=request.validate_only
        )

    async def GetDeployment(self, request: pb.GetDeploymentRequest, context: Context) -> pb.Deployment:
        wanted = convert.get_deployment(request)
        if wanted.view is View.WITH_STAGES:
            return await self._db.snapshot(_with_stages, wanted.deployment, into=convert.deployment_with_stages)
        return await self._db.read(store.get_deployment, wanted.deployment, into=convert.deployment)

    async def ListDeployments(self, request: pb.ListDeploymentsRequest, context: Context) -> pb.ListDeploymentsResponse:
        return await self._db.read(store.list_deployments, convert.list_deployments(request), into=convert.deployments)

    async def UpdateDeployment(self, request: pb.UpdateDeploymentRequest, context: Context) -> pb.Deployment:
        change = convert.deployment_change(request)
        return await self._db.write(logic.update_deployment, change, into=convert.deployment)

    async def DeleteDeployment(self, request: pb.DeleteDeploymentRequest, context: Context) -> Empty:
        return await self._db.write(logic.delete_deployment, request.deployment, request.etag, into=empty)

    async def GetDeploymentStages(
        self, request: pb.GetDeploymentStagesRequest, context: Context
    ) -> pb.GetDeploymentStagesResponse:
        return await self._db.read(stage_store.get_stages, request.deployment, into=convert.all_stages)

    async def CheckDeployment(self, request: pb.CheckDeploymentRequest, context: Context) -> pb.DeploymentCheck:
        return await self._db.read(logic.check_deployment, convert.question(request), into=convert.check)

    async def StartDeployment(self, request: pb.StartDeploymentRequest, context: Context) -> pb.StartDeploymentResponse:
        try:
            return await self._db.write(starting.start_deployment, convert.start(request), into=convert.started)
        except starting.Blocked as blocked:
            # The refusal rolled back; that it went back to PENDING, and who tried, shall stay.
            await self._db.write(starting.note_blocked, blocked.deployment_id)
            raise

    async def HeartbeatDeployment(self, request: pb.HeartbeatDeploymentRequest, context: Context) -> lease_pb2.Lease:
        return await self._db.write(leases.renew, convert.heartbeat_of(request), into=convert.lease)

    async def CompleteDeployment(self, request: pb.CompleteDeploymentRequest, context: Context) -> pb.Deployment:
        completion = convert.completion(request)
        return await self._db.write(
            ending.complete_deployment, completion, into=convert.deployment, dry_run=request.validate_only
        )

    async def CancelDeployment(self, request: pb.CancelDeploymentRequest, context: Context) -> pb.Deployment:
        return await self._db.write(ending.cancel_deployment, convert.cancellation(request), into=convert.deployment)

    async def ApproveDeployment(self, request: pb.ApproveDeploymentRequest, context: Context) -> pb.Deployment:
        verdict = convert.approval(request)
        return await self._db.write(approving.approve_deployment, verdict, into=convert.deployment)

    async def RejectDeployment(self, request: pb.RejectDeploymentRequest, context: Context) -> pb.Deployment:
        verdict = convert.rejection(request)
        return await self._db.write(approving.reject_deployment, verdict, into=convert.deployment)

    async def RetryDeployment(self, request: pb.RetryDeploymentRequest, context: Context) -> pb.Deployment:
        return await self._db.write(creation.retry_deployment, request.deployment, into=convert.deployment)

    async def RollbackDeployment(
        self, request: pb.RollbackDeploymentRequest, context: Context
    ) -> rollback_pb2.Rollback:
        return await self._undoer.roll_back_deployment(request)

    async def ListDeploymentEvents(
        self, request: pb.ListDeploymentEventsRequest, context: Context
    ) -> pb.ListDeploymentEventsResponse:
        return await self._db.read(store.list_events, convert.list_events(request), into=convert.events)

    async def WatchDeployment(self, request: pb.WatchDeploymentRequest, context: Context) -> None:
        await watch(self._watches, _delivery(context), convert.watch(request))

    async def WatchDeployments(self, request: pb.WatchDeploymentsRequest, context: Context) -> None:
        wanted = convert.watch_all(request)
        delivery = _delivery(context)
        ids = await delivery.wait(self._db.read(_ids_of, wanted))
        chosen = Chosen(frozenset(map(str, ids)), frozenset(wanted.types))
        await watch_all(self._feed, delivery, wanted, chosen)


def _delivery(context: Context) -> Delivery:
    lifetime = current_call.get().lifetime
    assert lifetime is not None  # every stream has one
    return Delivery(context.write, lifetime)


def _ids_of(tx: Reading, wanted: WatchAll) -> frozenset[UUID]:
    return store.filter_ids(tx, service=wanted.service, environment=wanted.environment, release=wanted.release)


def _with_stages(tx: Reading, reference: str) -> tuple[Record, Sequence[Record]]:
    found = store.get_deployment(tx, reference)
    return found, stage_store.stages_of(tx, found.id)


class StageService(stage_pb2_grpc.StageServiceServicer):
    """Stages: the steps of a deployment's pipeline."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def CreateStage(self, request: stage_pb2.CreateStageRequest, context: Context) -> stage_pb2.PipelineStage:
        return await self._db.write(stages.create_stage, convert.new_stage(request), into=convert.stage)

    async def GetStage(self, request: stage_pb2.GetStageRequest, context: Context) -> stage_pb2.PipelineStage:
        return await self._db.read(stage_store.get_stage, request.stage, into=convert.stage)

    async def ListStages(self, request: stage_pb2.ListStagesRequest, context: Context) -> stage_pb2.ListStagesResponse:
        return await self._db.read(stage_store.list_stages, convert.list_stages(request), into=convert.stages)

    async def UpdateStage(self, request: stage_pb2.UpdateStageRequest, context: Context) -> stage_pb2.PipelineStage:
        return await self._db.write(stages.update_stage, convert.stage_change(request), into=convert.stage)

    async def StartStage(self, request: stage_pb2.StartStageRequest, context: Context) -> stage_pb2.PipelineStage:
        return await self._db.write(stages.start_stage, convert.start_stage(request), into=convert.stage)

    async def ReportStageProgress(
        self, request: stage_pb2.ReportStageProgressRequest, context: Context
    ) -> stage_pb2.PipelineStage:
        return await self._db.write(stages.report_progress, convert.stage_progress(request), into=convert.stage)

    async def CompleteStage(self, request: stage_pb2.CompleteStageRequest, context: Context) -> stage_pb2.PipelineStage:
        return await self._db.write(stages.complete_stage, convert.stage_completion(request), into=convert.stage)

    async def SkipStage(self, request: stage_pb2.SkipStageRequest, context: Context) -> stage_pb2.PipelineStage:
        return await self._db.write(stages.skip_stage, convert.stage_skip(request), into=convert.stage)

    async def RetryStage(self, request: stage_pb2.RetryStageRequest, context: Context) -> stage_pb2.PipelineStage:
        return await self._db.write(stages.retry_stage, convert.retry_stage(request), into=convert.stage)
