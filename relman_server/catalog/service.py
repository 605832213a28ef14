"""CatalogService: the services there are."""

from collections.abc import Callable
from typing import Any

from google.protobuf.empty_pb2 import Empty

from relman_client.v1 import catalog_pb2 as pb
from relman_client.v1 import catalog_pb2_grpc
from relman_server.catalog import convert, logic, store
from relman_server.catalog.inputs import HealthOf
from relman_server.kernel.db import Database, Reading
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.rpc.writing import empty

Health = Callable[[Reading, HealthOf], Any]  # has the fields of the contract's ServiceHealth


class CatalogService(catalog_pb2_grpc.CatalogServiceServicer):
    """The services there are.

    Args:
        db: Where they are kept.
        health: Returns how a service is doing: what runs where is known above this folder.
    """

    def __init__(self, db: Database, health: Health) -> None:
        self._db = db
        self._health = health

    async def CreateService(self, request: pb.CreateServiceRequest, context: Context) -> pb.Service:
        return await self._db.write(logic.create_service, convert.new_service(request), into=convert.service)

    async def GetService(self, request: pb.GetServiceRequest, context: Context) -> pb.Service:
        return await self._db.read(store.get_service, request.service, into=convert.service)

    async def ListServices(self, request: pb.ListServicesRequest, context: Context) -> pb.ListServicesResponse:
        return await self._db.read(store.list_services, convert.list_services(request), into=convert.services)

    async def UpdateService(self, request: pb.UpdateServiceRequest, context: Context) -> pb.Service:
        return await self._db.write(logic.update_service, convert.service_change(request), into=convert.service)

    async def DeleteService(self, request: pb.DeleteServiceRequest, context: Context) -> Empty:
        return await self._db.write(logic.delete_service, request.service, request.etag, into=empty)

    async def GetServiceHealth(self, request: pb.GetServiceHealthRequest, context: Context) -> pb.ServiceHealth:
        return await self._db.read(self._health, convert.health_of(request), into=convert.service_health)
