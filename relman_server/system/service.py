"""SystemService: the server itself."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from relman_client.v1 import system_pb2 as pb
from relman_client.v1 import system_pb2_grpc
from relman_server.kernel.clock import Clock
from relman_server.kernel.db import Database
from relman_server.kernel.errors import RelmanError
from relman_server.kernel.identity import current_call
from relman_server.kernel.rpc.chain import Context
from relman_server.system import convert
from relman_server.system.convert import Component, Server

Ping = Callable[[], Awaitable[timedelta]]
PATIENCE = 3.0


class SystemService(system_pb2_grpc.SystemServiceServicer):
    """The server itself.

    Args:
        server: What it is.
        db: Its database.
        clock: Its clock.
        redis: Asks the bus's Redis or Valkey for a sign of life; None when there is none.
    """

    def __init__(self, server: Server, db: Database, clock: Clock, redis: Ping | None = None) -> None:
        self._server = server
        self._db = db
        self._clock = clock
        self._redis = redis

    async def GetHealth(self, request: pb.GetHealthRequest, context: Context) -> pb.ServerHealth:
        app = Component(latency=timedelta(0), version=self._server.version)
        database = await self._ask(self._db.ping)
        if not database.problem:
            database = Component(database.latency, await self._db.server_version())
        redis = await self._ask(self._redis) if self._redis else Component(configured=False)
        known = current_call.get().identity is not None
        return convert.health(app, database, redis, with_versions=known)

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Context) -> pb.ServerInfo:
        return convert.info(self._server, self._clock.now())

    async def _ask(self, ping: Ping) -> Component:
        try:
            return Component(latency=await asyncio.wait_for(ping(), PATIENCE))
        except RelmanError as error:
            return Component(problem=error.message)
        except TimeoutError:
            return Component(problem=f"no answer within {PATIENCE:.0f} seconds")
