"""`python -m bench.ceiling`: serve on a free port of the loopback.

- `/ceiling/Echo` answers the request.
- `/ceiling/Follow` answers an empty message at once, and whatever is sent from then on.
- `/ceiling/Send` sends its request to all followers, as often as its first four bytes say, and answers their number.
- WriteLogs, under relman's own path, acknowledges appends of 100 lines, and keeps nothing.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from relman_client.v1.log_pb2 import WriteLogsResponse

APPEND = 100
"""Lines in each append; fewer bytes than that are none."""
Context = grpc.aio.ServicerContext[Any, Any]


class Followers:
    """Everyone who follows, each with what is still to be sent to them."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[tuple[int, bytes]]] = set()

    async def follow(self, request: bytes, context: Context) -> None:
        """Pass bytes through, the same ones to everyone."""
        queue: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self._queues.add(queue)
        try:
            await context.write(request)
            while True:
                times, message = await queue.get()
                for _ in range(times):
                    await context.write(message)
        finally:
            self._queues.discard(queue)

    async def send(self, request: bytes, context: Context) -> bytes:  # noqa: ARG002 - gRPC passes both
        """Hand every follower the same bytes."""
        for queue in self._queues:
            queue.put_nowait((int.from_bytes(request[:4]), request[4:]))
        return str(len(self._queues)).encode()


async def echo(request: bytes, context: Context) -> bytes:  # noqa: ARG001 - gRPC passes both
    """Answer the request."""
    return request


async def write(requests: AsyncIterator[bytes], context: Context) -> None:
    """Acknowledge every message but the first, which opens a stream. A short one is its end."""
    await anext(requests)
    await context.write(_acknowledgement(0))
    lines = 0
    async for append in requests:
        if len(append) < APPEND:
            return
        lines += APPEND
        await context.write(_acknowledgement(lines))


def _acknowledgement(lines: int) -> bytes:
    return WriteLogsResponse(committed_sequence=lines).SerializeToString()


async def serve() -> None:
    """Serve until told to stop."""
    followers = Followers()
    server = grpc.aio.server(options=[("grpc.server.max_pending_requests", 10_000)])
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Follow": grpc.unary_stream_rpc_method_handler(followers.follow),
        "Send": grpc.unary_unary_rpc_method_handler(followers.send),
    }
    logs: dict[str, grpc.RpcMethodHandler[Any, Any]] = {"WriteLogs": grpc.stream_stream_rpc_method_handler(write)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("ceiling", handlers),
            grpc.method_handlers_generic_handler("relman.v1.DeploymentLogService", logs),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"the ceiling is serving on 127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())
