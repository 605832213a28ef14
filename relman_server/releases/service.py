"""ReleaseService: what can be deployed."""

from collections.abc import Awaitable
from typing import Protocol

from google.protobuf.empty_pb2 import Empty

from relman_client.v1 import deployment_pb2, release_pb2_grpc
from relman_client.v1 import release_pb2 as pb
from relman_server.kernel.db import Database
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.rpc.writing import empty
from relman_server.releases import convert, logic, store


class Deployer(Protocol):
    """What deploys releases: the resource above, handed in by app.py."""

    def deploy_release(self, request: pb.DeployReleaseRequest) -> Awaitable[deployment_pb2.Deployment]:
        """Create a deployment of a release."""

    def promote_release(self, request: pb.PromoteReleaseRequest) -> Awaitable[deployment_pb2.Deployment]:
        """Create a deployment of a release into the next environment."""


class ReleaseService(release_pb2_grpc.ReleaseServiceServicer):
    """Releases: what can be deployed."""

    def __init__(self, db: Database, deployer: Deployer, deployments_of: logic.DeploymentsOf) -> None:
        self._db = db
        self._deployer = deployer
        self._deployments_of = deployments_of

    async def CreateRelease(self, request: pb.CreateReleaseRequest, context: Context) -> pb.Release:
        return await self._db.write(logic.create_release, convert.new_release(request), into=convert.release)

    async def GetRelease(self, request: pb.GetReleaseRequest, context: Context) -> pb.Release:
        return await self._db.read(store.get_release, request.release, into=convert.release)

    async def ListReleases(self, request: pb.ListReleasesRequest, context: Context) -> pb.ListReleasesResponse:
        return await self._db.read(store.list_releases, convert.list_releases(request), into=convert.releases)

    async def UpdateRelease(self, request: pb.UpdateReleaseRequest, context: Context) -> pb.Release:
        return await self._db.write(logic.update_release, convert.release_change(request), into=convert.release)

    async def DeleteRelease(self, request: pb.DeleteReleaseRequest, context: Context) -> Empty:
        return await self._db.write(logic.delete_release, request.release, request.etag, into=empty)

    async def PublishRelease(self, request: pb.PublishReleaseRequest, context: Context) -> pb.Release:
        return await self._db.write(logic.publish_release, request.release, request.etag, into=convert.release)

    async def AbandonRelease(self, request: pb.AbandonReleaseRequest, context: Context) -> pb.Release:
        return await self._db.write(logic.abandon_release, convert.abandonment(request), into=convert.release)

    async def QuarantineRelease(self, request: pb.QuarantineReleaseRequest, context: Context) -> pb.Release:
        return await self._db.write(logic.quarantine_release, convert.quarantine(request), into=convert.release)

    async def ClearQuarantine(self, request: pb.ClearQuarantineRequest, context: Context) -> pb.Release:
        return await self._db.write(logic.clear_quarantine, convert.clearance(request), into=convert.release)

    async def DeployRelease(self, request: pb.DeployReleaseRequest, context: Context) -> deployment_pb2.Deployment:
        return await self._deployer.deploy_release(request)

    async def PromoteRelease(self, request: pb.PromoteReleaseRequest, context: Context) -> deployment_pb2.Deployment:
        return await self._deployer.promote_release(request)

    async def GetReleaseHistory(
        self, request: pb.GetReleaseHistoryRequest, context: Context
    ) -> pb.GetReleaseHistoryResponse:
        wanted = convert.history(request)
        return await self._db.read(logic.history, wanted, self._deployments_of, into=convert.chain)
