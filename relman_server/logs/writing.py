"""One writer of a stream of lines: what it sends is read ahead, and acknowledged when it is on disk."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from relman_server.kernel.identity import Identity
from relman_server.kernel.streams.delivery import Delivery
from relman_server.logs import convert
from relman_server.logs.appending import Append, Source
from relman_server.logs.group import GroupCommit
from relman_server.logs.inputs import Lines
from relman_server.logs.logic import Progress, Stream

R = TypeVar("R")

AHEAD_APPENDS = 64
AHEAD_BYTES = 1024 * 1024
"""Of text that one writer may have on its way to the disk; a single append may have more. Past it nothing more is read,
and HTTP/2 holds the writer up."""


class Writing:
    """One writer, from its first lines to its end.

    Args:
        stream: Where it writes to.
        caller: Who writes.
        group: Takes lines to the disk.
        delivery: Takes acknowledgements to the caller.
    """

    def __init__(self, stream: Stream, caller: Identity, group: GroupCommit, delivery: Delivery) -> None:
        self._stream = stream
        self._caller = caller
        self._group = group
        self._delivery = delivery
        self._source = Source()
        self._ahead: deque[tuple[int, asyncio.Future[Progress]]] = deque()
        self._bytes = 0
        self._moved = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_read = False

    async def run(self, requests: AsyncIterator[R], read: Callable[[R], Lines]) -> None:
        """Write what comes until it ends; acknowledge what is on disk, as much as possible at a time.

        Args:
            requests: What comes.
            read: Returns the lines of a request, or raises InvalidInput.

        Raises what an append is refused with, after everything before it was acknowledged, and nothing after it is
        carried out; the error of a request that is wrong likewise; and what ends the stream.
        """
        reading = asyncio.ensure_future(self._read(requests, read))
        reading.add_done_callback(self._read_to_the_end)
        try:
            await self._acknowledge()
            if reading.done():
                reading.result()
        finally:
            reading.cancel()
            self._delivery.close()

    async def _read(self, requests: AsyncIterator[R], read: Callable[[R], Lines]) -> None:
        async for request in requests:
            each = read(request)
            await self._room()
            outcome = self._group.submit(Append(self._stream, each, self._caller, self._source))
            outcome.add_done_callback(self._move)
            self._ahead.append((each.byte_size, outcome))
            self._bytes += each.byte_size
            if each.finish:
                return

    async def _room(self) -> None:
        await self._group.room()
        while len(self._ahead) >= AHEAD_APPENDS or (self._ahead and self._bytes >= AHEAD_BYTES):
            self._has_room.clear()
            await self._has_room.wait()

    def _read_to_the_end(self, reading: "asyncio.Task[None]") -> None:
        if not reading.cancelled():
            reading.exception()  # looked at, so that asyncio does not log it when something else was wrong before
        self._is_read = True
        self._moved.set()

    def _move(self, _: object) -> None:
        self._moved.set()

    async def _acknowledge(self) -> None:
        """Send how far the stream is, as long as something is on its way, or may come."""
        while self._ahead or not self._is_read:
            self._moved.clear()
            reached, refused = self._take()
            if reached is not None:
                await self._delivery.send(convert.write_response(reached))
            if refused is not None:
                raise refused
            if reached is None and (self._ahead or not self._is_read):
                await self._delivery.wait(self._moved.wait())
            elif reached is not None and reached.finished:
                return

    def _take(self) -> tuple[Progress | None, BaseException | None]:
        """Take what is done, in order: how far that is, and what was refused after it."""
        reached = None
        while self._ahead and self._ahead[0][1].done():
            size, outcome = self._ahead.popleft()
            self._bytes -= size
            self._has_room.set()
            error = outcome.exception()
            if error is not None:
                return reached, error
            reached = outcome.result()
        return reached, None
