"""What tests of the audit log do over and over."""

import io
from typing import Any

from sqlalchemy import select

from relman_client.audit_chain import Checker, check_export
from relman_client.v1 import audit_pb2 as pb
from relman_server.audit.model import AuditBlock
from relman_server.kernel.db import Reading
from relman_server.kernel.db.transaction import Record
from tests.factories import Caller, RunningServer

JSON_LINES = pb.AUDIT_EXPORT_FORMAT_JSON_LINES


async def listed(caller: Caller, **fields: Any) -> pb.ListAuditLogsResponse:
    """List the log."""
    return await caller.audit.ListAuditLogs(pb.ListAuditLogsRequest(**fields))


async def exported(caller: Caller, **fields: Any) -> list[pb.ExportAuditLogsResponse]:
    """Return every part of an export."""
    return [part async for part in caller.audit.ExportAuditLogs(pb.ExportAuditLogsRequest(**fields))]


def whole(parts: list[pb.ExportAuditLogsResponse]) -> bytes:
    """Return the file that the parts make."""
    return b"".join(part.data for part in parts)


async def verified(caller: Caller, **fields: Any) -> pb.VerifyAuditLogsResponse:
    """Verify the log."""
    return await caller.audit.VerifyAuditLogs(pb.VerifyAuditLogsRequest(**fields))


def checked(export: bytes, **how: Any) -> Checker:
    """Check an export as JSON lines; raises what the check raises."""
    checker = Checker(**how)
    check_export(io.BytesIO(export), checker)
    return checker


async def blocks(server: RunningServer) -> list[Record]:
    """Return all blocks."""

    def read(tx: Reading) -> list[Record]:
        return list(tx.rows(select(*AuditBlock.__table__.columns).order_by(AuditBlock.number)))

    return await server.app.db.read(read)
