"""RollbackService: undoing deployments."""

from relman_client.v1 import deployment_pb2, rollback_pb2_grpc
from relman_client.v1 import rollback_pb2 as pb
from relman_server.kernel.db import Database
from relman_server.kernel.rpc.chain import Context
from relman_server.rollbacks import convert, logic, store


class RollbackService(rollback_pb2_grpc.RollbackServiceServicer):
    """Rollbacks: undoing deployments."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def CreateRollback(self, request: pb.CreateRollbackRequest, context: Context) -> pb.Rollback:
        new = convert.new_rollback(request)
        return await self._db.write(logic.create_rollback, new, into=convert.rollback, dry_run=request.validate_only)

    async def roll_back_deployment(self, request: deployment_pb2.RollbackDeploymentRequest) -> pb.Rollback:
        """Serve DeploymentService.RollbackDeployment."""
        return await self._db.write(logic.create_rollback, convert.roll_back_deployment(request), into=convert.rollback)

    async def GetRollback(self, request: pb.GetRollbackRequest, context: Context) -> pb.Rollback:
        return await self._db.read(store.get_rollback, request.rollback, into=convert.rollback)

    async def ListRollbacks(self, request: pb.ListRollbacksRequest, context: Context) -> pb.ListRollbacksResponse:
        return await self._db.read(store.list_rollbacks, convert.list_rollbacks(request), into=convert.rollbacks)

    async def GetRollbackStatus(
        self, request: pb.GetRollbackStatusRequest, context: Context
    ) -> pb.GetRollbackStatusResponse:
        return await self._db.snapshot(store.get_status, request.rollback, into=convert.status)

    async def CancelRollback(self, request: pb.CancelRollbackRequest, context: Context) -> pb.Rollback:
        return await self._db.write(logic.cancel_rollback, convert.cancellation(request), into=convert.rollback)
