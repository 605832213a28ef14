"""Sending an operation over the socket, and what came of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from tests.factories import Refusal
from tests.fuzz.operations import Operation

MAX_ANSWERS = 50
LEFT = "LEFT"
"""In the place of a status: the caller left, as it meant to."""
UNHEARD = "UNHEARD"
"""In the place of a status: grpc.aio put an INTERNAL of its own in the place of the server's, as it may when the server
ends a stream that is being written (https://github.com/grpc/grpc/issues/36066). What the server said, its log knows."""


@dataclass
class Answer:
    """How a call ended.

    Attributes:
        answers: What came, serialized.
        status: Name of the status; or LEFT or UNHEARD.
        refusal: What the call says when it failed; None when it did not.
        trailers: Metadata at the end, of which an error's details are part.
        seconds: How long it took.
    """

    answers: list[bytes] = field(default_factory=list)
    status: str = "OK"
    refusal: Refusal | None = None
    trailers: tuple[tuple[str, Any], ...] = ()
    seconds: float = 0.0

    @property
    def correlation_id(self) -> str:
        """What the server's log calls the call; empty when the caller did not stay to learn it."""
        return next((value for key, value in self.trailers if key == "x-request-id"), "")


async def send(channel: grpc.aio.Channel, operation: Operation) -> Answer:
    """Call, and wait for the end, or for as long as the caller stays."""
    answer = Answer()
    started = time.monotonic()
    ongoing = _call(channel, operation)
    try:
        async with asyncio.timeout(operation.leaves_after):
            async for data in _answers(ongoing, streaming=operation.rpc.method.server_streaming):
                answer.answers.append(data)
                if len(answer.answers) >= MAX_ANSWERS:
                    raise TimeoutError
            answer.trailers = tuple(await ongoing.trailing_metadata() or ())
    except TimeoutError:
        ongoing.cancel()
        answer.status = LEFT
    except grpc.aio.AioRpcError as error:
        unheard = operation.rpc.method.client_streaming and error.details() == "Internal error from Core"
        answer.status = UNHEARD if unheard else error.code().name
        answer.refusal = Refusal(error)
        answer.trailers = tuple(error.trailing_metadata() or ())
    answer.seconds = time.monotonic() - started
    return answer


def _call(channel: grpc.aio.Channel, operation: Operation) -> Any:
    method = operation.rpc.method
    kinds: Any = {  # one signature each
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    start = kinds[method.client_streaming, method.server_streaming](operation.rpc.path)
    sent = _requests(operation) if method.client_streaming else operation.requests[0]
    return start(sent, metadata=operation.metadata, timeout=operation.deadline)


async def _requests(operation: Operation) -> AsyncIterator[bytes]:
    for request in operation.requests:
        yield request
    if operation.stays:
        await asyncio.sleep(operation.leaves_after or 0)


async def _answers(ongoing: Any, *, streaming: bool) -> AsyncIterator[bytes]:
    if not streaming:
        yield await ongoing
        return
    async for data in ongoing:
        yield data
