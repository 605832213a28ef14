"""Sixth step: work that nobody waits for any more is not started."""

import time
from typing import Any

from relman_server.kernel.identity import Call
from relman_server.kernel.rpc.chain import Context, Proceed


class Deadline:
    """Notes the caller's deadline; transactions check it again when their turn comes."""

    async def __call__(self, call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        """Refuse a call whose deadline has passed."""
        remaining = context.time_remaining()
        # Without a deadline gRPC counts from the end of time; its stubs know of no None, but it comes.
        if remaining is not None and remaining < 1e9:  # type: ignore[redundant-expr]
            call.deadline = time.monotonic() + remaining
            call.check_deadline()
        return await proceed(call, request, context)
