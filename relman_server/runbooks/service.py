"""RunbookService: what to do when something goes wrong."""

from google.protobuf.empty_pb2 import Empty

from relman_client.v1 import runbook_pb2 as pb
from relman_client.v1 import runbook_pb2_grpc
from relman_server.kernel.db import Database
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.rpc.writing import empty
from relman_server.runbooks import convert, logic, store
from relman_server.runbooks.search import search_runbooks


class RunbookService(runbook_pb2_grpc.RunbookServiceServicer):
    """Runbooks: what to do when something goes wrong."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def CreateRunbook(self, request: pb.CreateRunbookRequest, context: Context) -> pb.Runbook:
        return await self._db.write(logic.create_runbook, convert.new_runbook(request), into=convert.runbook)

    async def GetRunbook(self, request: pb.GetRunbookRequest, context: Context) -> pb.Runbook:
        return await self._db.read(store.get_version, convert.which_version(request), into=convert.runbook)

    async def ListRunbooks(self, request: pb.ListRunbooksRequest, context: Context) -> pb.ListRunbooksResponse:
        return await self._db.read(store.list_runbooks, convert.list_runbooks(request), into=convert.runbooks)

    async def UpdateRunbook(self, request: pb.UpdateRunbookRequest, context: Context) -> pb.Runbook:
        return await self._db.write(logic.update_runbook, convert.runbook_change(request), into=convert.runbook)

    async def DeleteRunbook(self, request: pb.DeleteRunbookRequest, context: Context) -> Empty:
        return await self._db.write(logic.delete_runbook, request.runbook, request.etag, into=empty)

    async def SearchRunbooks(self, request: pb.SearchRunbooksRequest, context: Context) -> pb.SearchRunbooksResponse:
        wanted = convert.search_runbooks(request)
        return await self._db.snapshot(search_runbooks, wanted, into=convert.search_results)
