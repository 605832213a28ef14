"""IncidentService: what went wrong for users, and which deployment caused it."""

from relman_client.v1 import incident_pb2 as pb
from relman_client.v1 import incident_pb2_grpc
from relman_server.incidents import convert, logic, store
from relman_server.kernel.db import Database
from relman_server.kernel.rpc.chain import Context


class IncidentService(incident_pb2_grpc.IncidentServiceServicer):
    """Incidents: what went wrong for users, and which deployment caused it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def CreateIncident(self, request: pb.CreateIncidentRequest, context: Context) -> pb.Incident:
        return await self._db.write(logic.create_incident, convert.new_incident(request), into=convert.incident)

    async def GetIncident(self, request: pb.GetIncidentRequest, context: Context) -> pb.Incident:
        return await self._db.read(store.get_incident, request.incident, into=convert.incident)

    async def ListIncidents(self, request: pb.ListIncidentsRequest, context: Context) -> pb.ListIncidentsResponse:
        return await self._db.read(store.list_incidents, convert.list_incidents(request), into=convert.incidents)

    async def UpdateIncident(self, request: pb.UpdateIncidentRequest, context: Context) -> pb.Incident:
        return await self._db.write(logic.update_incident, convert.incident_change(request), into=convert.incident)

    async def ResolveIncident(self, request: pb.ResolveIncidentRequest, context: Context) -> pb.Incident:
        return await self._db.write(logic.resolve_incident, convert.resolution(request), into=convert.incident)
