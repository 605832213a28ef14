"""The way of a request, in one ordered list. Every handler, of all four kinds, goes through every interceptor."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from relman_server.kernel.errors import Unimplemented
from relman_server.kernel.identity import Call, Policy, current_call
from relman_server.kernel.rpc.parsing import pass_bytes, tolerate
from relman_server.kernel.rpc.transport import Transport

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # generic in its stubs only

Context = grpc.aio.ServicerContext[Any, Any]  # the message types differ from RPC to RPC
Proceed = Callable[[Call, Any, Context], Awaitable[Any]]  # a request, or an iterator of requests, and its answer


class Interceptor(Protocol):
    """One step on the way of a request."""

    async def __call__(self, call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        """Do the step's work around `proceed`, or raise to refuse the call."""


class Chain(grpc.aio.ServerInterceptor):
    """The interceptors, outermost first, put around every handler of the server.

    Args:
        interceptors: In the order in which a request meets them.
        policies: What the contract says of each RPC, by path.
    """

    def __init__(self, interceptors: Sequence[Interceptor], policies: dict[str, Policy]) -> None:
        self.interceptors = tuple(interceptors)
        self._policies = policies
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Return the wrapped handler of a method; of an unknown one, what gRPC answers by itself."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return handler
            wrapped = self._wrapped[method] = self.wrap(method, handler)
        return wrapped

    def wrap(self, method: str, handler: "Handler") -> "Handler":
        """Put the interceptors around a handler."""
        policy = self._policies.get(method)
        streaming = bool(handler.request_streaming or handler.response_streaming)
        proceed = _innermost(handler)
        for interceptor in reversed(self.interceptors):
            proceed = _around(interceptor, proceed)

        async def handle(request: Any, context: Context) -> Any:
            call = Call(method, policy, streaming=streaming)
            current_call.set(call)
            transport: Any = Transport(context)  # all that a context is
            if handler.request_streaming:
                request = transport.requests()
            return await proceed(call, request, transport)

        kinds = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        kind: Any = kinds[handler.request_streaming, handler.response_streaming]  # one signature each
        wrapped: Handler = kind(
            handle,
            request_deserializer=tolerate(handler.request_deserializer),
            response_serializer=pass_bytes(handler.response_serializer),
        )
        return wrapped


def _around(interceptor: Interceptor, inner: Proceed) -> Proceed:
    # No coroutine of its own: an open stream keeps all it went through, and goes through all of it at every answer.
    def proceed(call: Call, request: Any, context: Context) -> Awaitable[Any]:
        return interceptor(call, request, context, inner)

    return proceed


def _innermost(handler: "Handler") -> Proceed:
    """Call the servicer's method, whichever of the shapes that grpc.aio knows it has."""
    method: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

    async def stream(call: Call, request: Any, context: Context) -> None:
        async for response in method(request, context):
            await context.write(response)

    def single(call: Call, request: Any, context: Context) -> Awaitable[Any]:
        answer: Awaitable[Any] = method(request, context)
        return answer

    async def missing(call: Call, request: Any, context: Context) -> Any:
        name = call.method.rpartition("/")[2]
        raise Unimplemented(f"This server does not offer {name}.")

    if inspect.isasyncgenfunction(method):
        return stream
    # A method that is not a coroutine is the generated base class's: nobody wrote it.
    return single if inspect.iscoroutinefunction(method) else missing
