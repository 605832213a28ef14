"""The audit log between the contract and Python."""

from google.protobuf.struct_pb2 import Struct

from relman_client.v1 import audit_pb2 as pb
from relman_server.audit.inputs import ExportAuditLogs, ListAuditLogs, VerifyAuditLogs
from relman_server.kernel.db.transaction import Record
from relman_server.kernel.rpc.reading import reader
from relman_server.kernel.rpc.writing import page_writer, writer

list_audit_logs = reader(pb.ListAuditLogsRequest, ListAuditLogs)
export_audit_logs = reader(pb.ExportAuditLogsRequest, ExportAuditLogs)
verify_audit_logs = reader(pb.VerifyAuditLogsRequest, VerifyAuditLogs)


def _details(row: Record) -> Struct:
    details = Struct()
    details.update(row.details)
    return details


audit_log = writer(pb.AuditLog, details=_details)
audit_logs = page_writer(pb.ListAuditLogsResponse, "audit_logs", audit_log)
verification = writer(pb.VerifyAuditLogsResponse)


def export_part(data: bytes, cursor: str) -> pb.ExportAuditLogsResponse:
    """Write a part of an export."""
    return pb.ExportAuditLogsResponse(data=data, cursor=cursor)
