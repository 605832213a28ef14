"""What is asked of gRPC goes to its end, whoever waits for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from relman_server.kernel.rpc.transport import Transport, whole


class _Operation:
    """An operation as grpc.aio's: it waits for what gRPC does, and frees what that took when it goes on after it."""

    def __init__(self) -> None:
        self.batch = asyncio.get_running_loop().create_future()
        self.is_freed = False

    async def run(self) -> str:
        await self.batch
        self.is_freed = True
        return "done"

    async def write(self) -> None:
        await self.run()

    async def read(self) -> object:
        await self.run()
        return grpc.aio.EOF

    async def abort(self) -> None:
        await self.run()
        raise grpc.aio.AbortError("Locally aborted.")


async def _begun(awaitable: Awaitable[Any]) -> "asyncio.Task[Any]":
    waiting = asyncio.ensure_future(awaitable)
    await asyncio.sleep(0)
    return waiting


async def _cancelled(waiting: "asyncio.Task[Any]") -> None:
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_operation_is_awaited() -> None:
    operation = _Operation()
    waiting = await _begun(whole(operation.run()))
    operation.batch.set_result(None)
    assert await waiting == "done"


@pytest.mark.parametrize("fails", [False, True])
async def test_an_operation_goes_on_when_who_awaits_it_is_cancelled(fails: bool) -> None:
    operation = _Operation()
    await _cancelled(await _begun(whole(operation.run())))
    assert not operation.batch.cancelled(), "or gRPC would not say when it is done"
    operation.batch.set_exception(grpc.aio.InternalError()) if fails else operation.batch.set_result(None)
    await asyncio.sleep(0)
    assert operation.is_freed


async def test_an_operation_that_is_cancelled_as_it_ends_goes_on() -> None:
    operation = _Operation()
    waiting = await _begun(whole(operation.run()))
    operation.batch.set_result(None)
    await _cancelled(waiting)
    await asyncio.sleep(0)
    assert operation.is_freed


async def test_a_failure_is_told_and_the_operation_goes_on() -> None:
    operation = _Operation()
    waiting = await _begun(whole(operation.write()))
    operation.batch.set_exception(grpc.aio.InternalError("the call is over"))
    with pytest.raises(grpc.aio.InternalError, match="the call is over"):
        await waiting
    assert operation.is_freed


async def test_a_read_that_fails_says_that_nothing_more_comes() -> None:
    operation = _Operation()
    reading = aiter(Transport(operation).requests())
    asyncio.get_running_loop().call_soon(operation.batch.set_exception, grpc.aio.InternalError())
    assert [request async for request in reading] == []


async def test_what_an_operation_raises_itself_is_raised() -> None:
    operation = _Operation()
    aborting = await _begun(whole(operation.abort()))
    operation.batch.set_result(None)
    with pytest.raises(grpc.aio.AbortError):
        await aborting


Serving = Callable[[Any], Awaitable[grpc.aio.Channel]]


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """Serves one stream of answers, handled by what is given."""
    server, channels = grpc.aio.server(), list[grpc.aio.Channel]()

    async def serve(handler: Any) -> grpc.aio.Channel:
        method: Any = grpc.unary_stream_rpc_method_handler(handler)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Follow": method}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channels.append(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        return channels[0]

    yield serve
    for channel in channels:
        await channel.close()
    await server.stop(None)


class _Written:
    """Keeps the last operation of a context."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.last: Any = None

    def write(self, answer: bytes) -> Any:
        self.last = self._context.write(answer)
        return self.last


async def test_a_write_that_is_left_goes_to_its_end(serving: Serving) -> None:
    """That gRPC's operations wait for one future after the other, and can be driven from outside, is not documented."""
    over, left = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def follow(_: bytes, context: Any) -> None:
        task, written = asyncio.current_task(), _Written(context)
        assert task is not None
        try:
            while True:  # until nothing more goes out, for the caller reads nothing
                timer = asyncio.get_running_loop().call_later(0.2, task.cancel)
                await Transport(written).write(b"x" * 100_000)
                timer.cancel()
        finally:
            left.set_result(written.last)
            await over.wait()

    follow_it: Any = (await serving(follow)).unary_stream("/test/Follow")
    call = follow_it(b"")
    await call.read()
    operation = await left
    assert operation.cr_await is not None, "the handler is gone, its write still waits"
    call.cancel()
    while operation.cr_await is not None:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    over.set()
