"""What a call asks of gRPC, to its end: a read, a write or a refusal that is broken off, or fails, is never freed.

grpc.aio frees what it took for an operation (of a write, the whole message) where the operation's coroutine goes on
after a success. But it cancels the handler's task when the caller leaves, and with it that coroutine; and an operation
that fails raises there. So an operation's coroutine always goes on as after a success here. Who awaits it waits beside
it: may be cancelled, and is told of the failure.

Left to gRPC are the request of a call that streams only its answers, and the answer of one that streams none.
"""

import asyncio
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any

import grpc

Batch = asyncio.Future[None]
"""What gRPC does at one go."""
Operation = Coroutine[Batch, None, Any]


class Transport:
    """The context of a call, with operations that go to their end. All else is the context's own.

    Args:
        context: As gRPC gives it to a handler.
    """

    __slots__ = ("_context",)

    def __init__(self, context: Any) -> None:  # its class is not in gRPC's types
        self._context = context

    def __getattr__(self, name: str) -> Any:
        """Return what the context has."""
        return getattr(self._context, name)

    def write(self, answer: Any) -> Awaitable[None]:
        """Send an answer; raises grpc.aio.InternalError when the call is over."""
        return whole(self._context.write(answer))

    def abort(self, *status: Any) -> Awaitable[None]:
        """End the call with a code, a message and metadata; raises grpc.aio.AbortError."""
        return whole(self._context.abort(*status))

    async def requests(self) -> AsyncIterator[Any]:
        """Yield what the caller sends, until it has sent all of it or left."""
        while (request := await whole(self._context.read())) is not grpc.aio.EOF:
            yield request


@types.coroutine
def whole(operation: Operation) -> Generator[Any, None, Any]:
    """Await an operation, which goes to its end also when who awaits it is cancelled; raises what it fails with."""
    batch: Batch | None = None
    try:
        while True:
            batch = _next(operation, batch)
            try:
                yield _Wait(batch)
            except BaseException as error:
                if not batch.done() or error is not batch.exception():
                    batch.add_done_callback(partial(_finish, operation))
                    raise
    except StopIteration as end:
        # A read that failed has said so: nothing more comes.
        failure = None if batch is None else batch.exception()
        if end.value is None and failure is not None:
            raise failure from None
        return end.value


class _Wait:
    """What a task waits for that waits for a batch: as the batch, but that to cancel it wakes the task and no more.

    A future of its own beside each batch would do the same, and take a turn of the loop more: of what a server with a
    thousand followers does, a seventh.
    """

    __slots__ = ("_asyncio_future_blocking", "_batch", "_context", "_wake")

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._asyncio_future_blocking = True  # which is how tasks know what can be waited for

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._batch.get_loop()

    def add_done_callback(self, wake: Callable[[Batch], object], *, context: Context) -> None:
        self._wake = wake
        self._context = context
        self._batch.add_done_callback(wake, context=context)

    def cancel(self, msg: object = None) -> bool:
        if not self._batch.remove_done_callback(self._wake):
            return False  # it is awake
        left = self.get_loop().create_future()
        left.cancel(msg)
        self.get_loop().call_soon(self._wake, left, context=self._context)
        return True


def _next(operation: Operation, done: Batch | None) -> Batch:
    """Let an operation go on, as after a success; return what it waits for then, or raise StopIteration at its end."""
    if done is not None and done.exception() is not None:
        batch = operation.throw(StopIteration())  # raised where it waits, this is how what is waited for returns
    else:
        batch = operation.send(None)
    batch._asyncio_future_blocking = False  # noqa: SLF001 - as a task does with each future that it is handed
    return batch


def _finish(operation: Operation, done: Batch) -> None:
    """Let an operation go on for which nobody waits any more."""
    with suppress(StopIteration, grpc.aio.AbortError, grpc.aio.InternalError):
        _next(operation, done).add_done_callback(partial(_finish, operation))
