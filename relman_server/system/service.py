"""SystemService: the server itself."""

import asyncio
from datetime import timedelta
from typing import Protocol

from relman_client.v1 import system_pb2 as pb
from relman_client.v1 import system_pb2_grpc
from relman_server.kernel.clock import Clock
from relman_server.kernel.db import Database
from relman_server.kernel.errors import RelmanError
from relman_server.kernel.identity import current_call
from relman_server.kernel.rpc.chain import Context
from relman_server.system import convert
from relman_server.system.convert import Component, Server

PATIENCE = 3.0


class Part(Protocol):
    """What the server is made of and can ask for a sign of life."""

    async def ping(self) -> timedelta:
        """Return how long it took to answer; raise a RelmanError when it does not."""

    async def server_version(self) -> str:
        """Return its version."""


class SystemService(system_pb2_grpc.SystemServiceServicer):
    """The server itself.

    Args:
        server: What it is.
        db: Its database.
        clock: Its clock.
        redis: The bus's Redis or Valkey; None when there is none.
    """

    def __init__(self, server: Server, db: Database, clock: Clock, redis: Part | None = None) -> None:
        self._server = server
        self._db = db
        self._clock = clock
        self._redis = redis

    async def GetHealth(self, request: pb.GetHealthRequest, context: Context) -> pb.ServerHealth:
        known = current_call.get().identity is not None
        app = Component(latency=timedelta(0), version=self._server.version)
        database = await self._ask(self._db, with_version=known)
        redis = await self._ask(self._redis, with_version=known) if self._redis else Component(configured=False)
        return convert.health(app, database, redis, with_versions=known)

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Context) -> pb.ServerInfo:
        return convert.info(self._server, self._clock.now())

    async def _ask(self, part: Part, *, with_version: bool) -> Component:
        try:
            async with asyncio.timeout(PATIENCE):
                latency = await part.ping()
                return Component(latency, await part.server_version() if with_version else "")
        except RelmanError as error:
            return Component(problem=error.message)
        except TimeoutError:
            return Component(problem=f"no answer within {PATIENCE:.0f} seconds")
