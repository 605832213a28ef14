"""What happens around every call of an asyncio client: the same as in `relman_client.calls`."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from relman_client.calls import Attempts, CallContext, Metadata, with_request_id, with_token
from relman_client.errors import ClientClosedError, from_rpc_error


class UnaryCall:
    """Stands in for grpc's callable of a unary RPC."""

    def __init__(self, raw: Any, path: str, context: CallContext) -> None:  # Any: grpc's own class is abstract
        self._raw = raw
        self._path = path
        self._context = context

    async def __call__(
        self,
        request: Message,
        timeout: float | None = None,  # noqa: ASYNC109 - grpc's signature
        metadata: Metadata | None = None,
        **options: Any,
    ) -> Any:
        """Call and wait. Raises RelmanError."""
        request = with_request_id(self._path, request)
        attempts = Attempts(self._context, self._path, request, timeout)
        while True:
            token = self._context.token_for(self._path)
            sent = with_token(metadata, token)
            try:
                return await self._raw(request, timeout=attempts.remaining, metadata=sent, **options)
            except grpc.aio.AioRpcError as rpc_error:
                error = from_rpc_error(rpc_error, self._context.address)
                if attempts.may_refresh() and await asyncio.to_thread(self._context.refreshed, token, error):
                    continue
                delay = attempts.delay(error)
            await asyncio.sleep(delay)


class StreamCall:
    """Stands in for grpc's callable of an RPC that answers a stream."""

    def __init__(self, raw: Any, path: str, context: CallContext) -> None:  # Any: as above
        self._raw = raw
        self._path = path
        self._context = context

    async def __call__(
        self,
        request: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - grpc's signature
        metadata: Metadata | None = None,
    ) -> AsyncGenerator[Any, None]:
        """The answers; the request is a message, or an iterator of messages where the RPC takes a stream."""
        token = self._context.token_for(self._path)
        try:
            call = self._raw(request, timeout=timeout, metadata=with_token(metadata, token))
        except grpc.aio.UsageError as closed:
            raise ClientClosedError(self._context.address) from closed
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as rpc_error:
            error = from_rpc_error(rpc_error, self._context.address)
            error.token_was_refreshed = await asyncio.to_thread(self._context.refreshed, token, error)
            raise error from rpc_error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling() or not call.cancelled():
                raise
            raise ClientClosedError(self._context.address) from None  # it was the call that was cancelled, not its task
        finally:
            call.cancel()


class WrappedChannel:
    """What the generated stubs are given: they ask it for one callable for each RPC."""

    def __init__(self, channel: grpc.aio.Channel, context: CallContext) -> None:
        self._channel = channel
        self._context = context

    def unary_unary(self, path: str, **how: Any) -> UnaryCall:
        """A callable for a unary RPC."""
        return UnaryCall(self._channel.unary_unary(path, **how), path, self._context)

    def unary_stream(self, path: str, **how: Any) -> StreamCall:
        """A callable for an RPC that answers a stream."""
        return StreamCall(self._channel.unary_stream(path, **how), path, self._context)

    def stream_stream(self, path: str, **how: Any) -> StreamCall:
        """A callable for an RPC that takes and answers streams."""
        return StreamCall(self._channel.stream_stream(path, **how), path, self._context)
