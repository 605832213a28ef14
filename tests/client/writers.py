"""Both kinds of log writers behind one face, so that one test says what both do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from relman_client import Client, LogWriter, RelmanError, WriterOptions, aio
from relman_client.credentials import Credentials
from relman_client.v1.log_pb2 import WriteLogsRequest

KINDS = ("threads", "asyncio")


class InThreads:
    """A synchronous writer, called in threads."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._writer, name)
        if not callable(found):
            return found

        async def call(*args: Any, **more: Any) -> Any:
            return await asyncio.to_thread(found, *args, **more)

        return call


Opener = Callable[..., Any]  # a writer of either kind, whose methods are awaited


@asynccontextmanager
async def opening(kind: str, address: str, credentials: Credentials | None) -> AsyncIterator[Opener]:
    """A connection; answers what opens writers over it: by deployment, fields of the stream, options and callbacks."""

    def arguments(deployment: str, stream: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        opened = WriteLogsRequest.Open(deployment=deployment, **stream)
        return {"stream": opened, "options": WriterOptions(**options)}

    if kind == "asyncio":
        async with aio.Client(address, credentials=credentials) as client:
            yield lambda deployment, stream=None, on_break=_nothing, **options: aio.LogWriter(
                client, **arguments(deployment, stream or {}, options), on_break=on_break
            )
        return
    with Client(address, credentials=credentials) as caller:
        yield lambda deployment, stream=None, on_break=_nothing, **options: InThreads(
            LogWriter(caller, **arguments(deployment, stream or {}, options), on_break=on_break)
        )


def _nothing(_error: RelmanError) -> None:
    pass
