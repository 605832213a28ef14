"""Second step: one line for every call, when it ends. Requests and answers are never logged."""

import time
from typing import Any

import structlog

from relman_server.kernel.identity import Call
from relman_server.kernel.rpc.chain import Context, Proceed

log = structlog.get_logger("relman.access")


class AccessLog:
    """Says who called what, how it ended and how long it took."""

    async def __call__(self, call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        """Log after everything inside is done."""
        try:
            return await proceed(call, request, context)
        finally:
            fields = {
                "method": call.method.removeprefix("/relman.v1."),
                "status": call.status,
                "ms": round((time.monotonic() - call.started) * 1000, 1),
                "user": call.identity.username if call.identity else "-",
                "address": call.address,
                "request_id": call.request_id,
            }
            if call.reason:
                fields["reason"] = call.reason
            log.info("call", **fields)
