"""The way of a request: one order, for every kind of handler."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from relman_server.app import interceptors
from relman_server.kernel.clock import SystemClock
from relman_server.kernel.db.denials import Denials
from relman_server.kernel.identity import Call, Identity
from relman_server.kernel.rpc.chain import Chain, Context, Interceptor, Proceed
from relman_server.kernel.rpc.transport import Transport
from relman_server.kernel.streams.lifetime import Lifetimes

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


class Nobody:
    def verify(self, token: str) -> Identity:
        raise NotImplementedError

    def check(self, identity: Identity, now: object) -> None:
        raise NotImplementedError


def test_the_order_of_the_chain() -> None:
    """Each step relies on those before it: what is raised by a later one is mapped by Errors and seen by the log."""
    chain = interceptors(CollectorRegistry(), Denials(SystemClock()), Nobody(), Lifetimes(), SystemClock(), b"key")
    assert [type(step).__name__ for step in chain] == [
        "RequestId",
        "AccessLog",
        "Metrics",
        "Errors",
        "Refusals",
        "Deadline",
        "Authenticate",
        "Authorize",
        "Validate",
    ]


class Noting:
    """An interceptor that notes that it was there, before and after."""

    def __init__(self, name: str, noted: list[str]) -> None:
        self.name = name
        self.noted = noted

    async def __call__(self, call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        self.noted.append(f"{self.name} before")
        try:
            return await proceed(call, request, context)
        finally:
            self.noted.append(f"{self.name} after")


async def _unary_unary(request: bytes, context: Context) -> bytes:
    return request


async def _unary_stream(request: bytes, context: Context) -> AsyncIterator[bytes]:
    yield request
    yield request


async def _unary_stream_by_writing(request: bytes, context: Context) -> None:
    await context.write(request)
    await context.write(request)


async def _stream_unary(requests: AsyncIterator[bytes], context: Context) -> bytes:
    return b"".join([request async for request in requests])


async def _stream_stream(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


HANDLERS: dict[str, Any] = {  # the four kinds are four types
    "unary_unary": grpc.unary_unary_rpc_method_handler(_unary_unary),
    "unary_stream": grpc.unary_stream_rpc_method_handler(_unary_stream),
    "unary_stream_by_writing": grpc.unary_stream_rpc_method_handler(_unary_stream_by_writing),
    "stream_unary": grpc.stream_unary_rpc_method_handler(_stream_unary),
    "stream_stream": grpc.stream_stream_rpc_method_handler(_stream_stream),
}


@asynccontextmanager
async def _echo(
    chain: list[Interceptor],
) -> AsyncIterator[Any]:  # a channel, whose stubs know no calls without serializers
    server = grpc.aio.server(interceptors=[Chain(chain, {})])
    server.add_registered_method_handlers("test.Echo", HANDLERS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", HANDLERS),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


@pytest.mark.parametrize("kind", [*KINDS, "unary_stream_by_writing"])
async def test_every_kind_of_handler_goes_through_every_interceptor(kind: str) -> None:
    """Fails when a kind is passed through unwrapped, which is what grpc.aio's own examples do with streams."""
    noted: list[str] = []
    async with _echo([Noting("outer", noted), Noting("inner", noted)]) as channel:
        client = getattr(channel, "_".join(kind.split("_")[:2]))
        ongoing = client(f"/test.Echo/{kind}")([b"x"] if kind.startswith("stream") else b"x", timeout=10)
        answers = [a async for a in ongoing] if kind.split("_")[1] == "stream" else [await ongoing]
    assert b"".join(answers) == (b"xx" if kind.startswith("unary_stream") else b"x")
    assert noted == ["outer before", "inner before", "inner after", "outer after"]


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_what_is_asked_of_grpc_goes_to_its_end(kind: str) -> None:
    seen: list[tuple[Any, Any]] = []

    async def look(call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        seen.append((request, context))
        return await proceed(call, request, context)

    async with _echo([look]) as channel:
        ongoing = getattr(channel, kind)(f"/test.Echo/{kind}")([b"x"] if kind.startswith("stream") else b"x")
        if kind.endswith("stream"):
            assert [answer async for answer in ongoing]
        else:
            await ongoing
    [(request, context)] = seen
    assert isinstance(context, Transport)
    if kind.startswith("stream"):
        assert request.ag_code is Transport.requests.__code__


async def test_an_unknown_method_is_unimplemented_and_does_no_harm() -> None:
    noted: list[str] = []
    async with _echo([Noting("only", noted)]) as channel:
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.unary_unary("/test.Echo/nothing")(b"")
            assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert await channel.unary_unary("/test.Echo/unary_unary")(b"x") == b"x"
    assert noted == ["only before", "only after"]
