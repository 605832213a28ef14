"""EnvironmentService: where services run, and under which rules."""

from collections.abc import Callable
from typing import Any

from google.protobuf.empty_pb2 import Empty

from relman_client.v1 import environment_pb2 as pb
from relman_client.v1 import environment_pb2_grpc
from relman_server.environments import convert, logic, store
from relman_server.environments.inputs import StatusOf
from relman_server.kernel.db import Database, Reading
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.rpc.writing import empty

Status = Callable[
    [Reading, StatusOf], Any
]  # has `environment` (store.get_environment), running, in_progress and waiting


class EnvironmentService(environment_pb2_grpc.EnvironmentServiceServicer):
    """Environments: where services run, and under which rules.

    Args:
        db: Where they are kept.
        status: Returns what runs in an environment: that is known above this folder.
    """

    def __init__(self, db: Database, status: Status) -> None:
        self._db = db
        self._status = status

    async def CreateEnvironment(self, request: pb.CreateEnvironmentRequest, context: Context) -> pb.Environment:
        new = convert.new_environment(request)
        return await self._db.write(logic.create_environment, new, into=convert.environment)

    async def GetEnvironment(self, request: pb.GetEnvironmentRequest, context: Context) -> pb.Environment:
        return await self._db.read(store.get_environment, request.environment, into=convert.environment)

    async def ListEnvironments(
        self, request: pb.ListEnvironmentsRequest, context: Context
    ) -> pb.ListEnvironmentsResponse:
        wanted = convert.list_environments(request)
        return await self._db.read(store.list_environments, wanted, into=convert.environments)

    async def UpdateEnvironment(self, request: pb.UpdateEnvironmentRequest, context: Context) -> pb.Environment:
        change = convert.environment_change(request)
        return await self._db.write(logic.update_environment, change, into=convert.environment)

    async def DeleteEnvironment(self, request: pb.DeleteEnvironmentRequest, context: Context) -> Empty:
        return await self._db.write(logic.delete_environment, request.environment, request.etag, into=empty)

    async def LockEnvironment(self, request: pb.LockEnvironmentRequest, context: Context) -> pb.Environment:
        return await self._db.write(logic.lock_environment, convert.new_lock(request), into=convert.environment)

    async def UnlockEnvironment(self, request: pb.UnlockEnvironmentRequest, context: Context) -> pb.Environment:
        return await self._db.write(
            logic.unlock_environment, request.environment, request.etag, into=convert.environment
        )

    async def GetEnvironmentStatus(
        self, request: pb.GetEnvironmentStatusRequest, context: Context
    ) -> pb.EnvironmentStatus:
        return await self._db.read(self._status, convert.status_of(request), into=convert.environment_status)
