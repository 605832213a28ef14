"""What a call asks of gRPC, to its end: a read, a write or a refusal that is broken off, or fails, is never freed.

grpc.aio frees what it took for an operation (of a write, the whole message) where the operation's coroutine goes on
after a success. But it cancels the handler's task when the caller leaves, and with it that coroutine; and an operation
that fails raises there (grpc/grpc issue 43360). So an operation's coroutine always goes on as after a success here. Who
awaits it waits beside it: may be cancelled, and is told of the failure.

Left to gRPC is what it does by itself: to read the request of a call that does not stream requests, to send the answer
of one that does not stream answers, and each last OK. Nor is an operation freed that cannot begin, as the refusal of a
call whose very first answer is still on its way.
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
Metadata = tuple[tuple[str, str | bytes], ...]
NOBODYS = Context()
"""Of what goes on after its call, so that it keeps nothing that the call knew."""


class Transport:
    """The context of a call, with the operations that this server uses going to their end. All else is the context's.

    Args:
        context: As gRPC gives it to a handler.
    """

    __slots__ = ("_context",)

    def __init__(self, context: Any) -> None:  # its class is not in gRPC's types
        self._context = context

    def __getattr__(self, name: str) -> Any:
        """Return what the context has."""
        return getattr(self._context, name)

    def write(self, message: Any) -> Awaitable[None]:
        """Send an answer; raises grpc.aio.InternalError when the call is over."""
        return to_its_end(self._context.write(message))

    def read(self) -> Awaitable[Any]:
        """Return the next request, or grpc.aio.EOF when the caller has sent all of them, or left."""
        return to_its_end(self._context.read())

    def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> Awaitable[None]:
        """End the call; raises grpc.aio.AbortError."""
        return to_its_end(self._context.abort(code, details, trailing_metadata))

    async def requests(self) -> AsyncIterator[Any]:
        """Yield what the caller sends, until it has sent all of it or left."""
        while (request := await self.read()) is not grpc.aio.EOF:
            yield request


# An operation waits for one future after the other, as every coroutine does: `send` lets it go on to the next one, and
# ends with StopIteration. `throw` raises an error where the operation waits, in the iterator of the future, which does
# not catch it. If that is a StopIteration, it says what an iterator says at its end (PEP 380), and who waits for
# it goes on as after a success. So an operation that failed frees what it took, too. This takes asyncio's futures in C:
# those in Python are generators, which may not raise it.


@types.coroutine
def to_its_end(operation: Operation) -> Generator[Any, None, Any]:
    """Await an operation, which goes to its end also when who awaits it is cancelled; raises what it fails with.

    To be awaited, as any awaitable; it is none of the coroutines that a task can be made of.
    """
    batch: Batch | None = None
    answer: Any = None
    try:
        while True:
            batch = _go_on(operation, batch)
            try:
                yield _BatchWait(batch)
            except BaseException as raised:
                if not batch.done() or raised is not batch.exception():  # it is cancelled: not what gRPC says
                    batch.add_done_callback(partial(_finish, operation), context=NOBODYS)
                    raise
    except StopIteration as end:
        answer = end.value
    failure = None if batch is None else batch.exception()
    try:
        if answer is None and failure is not None:  # of a read that failed the answer is that nothing more comes
            raise failure
        return answer
    finally:  # the failure knows this frame; if the frame knew it, both would stay until they are collected
        del failure, batch


class _BatchWait:
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


def _go_on(operation: Operation, done: Batch | None) -> Batch:
    """Let an operation go on, as after a success; return what it waits for then, or raise StopIteration at its end."""
    if done is not None and done.exception() is not None:
        batch = operation.throw(StopIteration())
    else:
        batch = operation.send(None)
    batch._asyncio_future_blocking = False  # noqa: SLF001 - as a task does with each future that it is handed
    return batch


def _finish(operation: Operation, done: Batch) -> None:
    """Let an operation go on for which nobody waits any more; nor does anyone want to know what it raises."""
    with suppress(StopIteration, grpc.aio.BaseError):
        _go_on(operation, done).add_done_callback(partial(_finish, operation), context=NOBODYS)
