"""AuditLogService: who did what."""

from relman_client.v1 import audit_pb2 as pb
from relman_client.v1 import audit_pb2_grpc
from relman_server.audit import convert, export, sealing, store, verifying
from relman_server.audit.signing import BlockSigner
from relman_server.audit.store import FindUser
from relman_server.kernel.db import Database, idempotency
from relman_server.kernel.identity import current_call
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.streams.delivery import Delivery


class AuditLogService(audit_pb2_grpc.AuditLogServiceServicer):
    """The audit log.

    Args:
        db: The database.
        find_user: Finds the user that a filter names.
        signer: Signs blocks; None without a key.
    """

    def __init__(self, db: Database, find_user: FindUser, signer: BlockSigner | None) -> None:
        self._db = db
        self._find_user = find_user
        self._signer = signer

    async def ListAuditLogs(self, request: pb.ListAuditLogsRequest, context: Context) -> pb.ListAuditLogsResponse:
        wanted = convert.list_audit_logs(request)
        return await self._db.read(store.list_audit_logs, wanted, self._find_user, into=convert.audit_logs)

    async def GetAuditLog(self, request: pb.GetAuditLogRequest, context: Context) -> pb.AuditLog:
        return await self._db.read(store.get_audit_log, request.audit_log, into=convert.audit_log)

    async def ExportAuditLogs(self, request: pb.ExportAuditLogsRequest, context: Context) -> None:
        lifetime = current_call.get().lifetime
        assert lifetime is not None  # every stream has one
        asked = convert.export_audit_logs(request)
        await export.export(self._db, Delivery(context.write, lifetime), asked, self._find_user)

    async def VerifyAuditLogs(self, request: pb.VerifyAuditLogsRequest, context: Context) -> pb.VerifyAuditLogsResponse:
        asked = convert.verify_audit_logs(request)
        found = verifying.Verification()  # of a request that was answered before, nothing is looked at again
        if not await self._db.read(idempotency.is_answered):
            if asked.seal:
                await sealing.seal_all(self._db, self._signer)
            found = await verifying.verify(self._db, asked, self._signer)
        return await self._db.write(verifying.record, found, into=convert.verification)
