"""Redis or Valkey: whether it answers, and as the bus."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from relman_server.kernel.errors import Unavailable
from relman_server.kernel.streams.remote import Link

CHANNEL = "relman"
PATIENCE = 2.0


class Redis:
    """A connection to Redis or Valkey; the extra `redis` must be installed.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
    """

    def __init__(self, url: str) -> None:
        from redis import asyncio as redis  # noqa: PLC0415 - an optional extra; settings.py says when it is missing

        self._client = redis.Redis.from_url(
            url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, decode_responses=True
        )

    async def ping(self) -> timedelta:
        """Ask for a sign of life; return how long it took. Raises Unavailable."""
        started = time.monotonic()
        await self._info()
        return timedelta(seconds=time.monotonic() - started)

    async def server_version(self) -> str:
        """Return the version of what answers. Raises Unavailable."""
        info = await self._info()
        return str(info.get("valkey_version") or info.get("redis_version", ""))

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _info(self) -> dict[str, object]:
        from redis.exceptions import RedisError  # noqa: PLC0415 - as above

        try:
            return dict(await self._client.info("server"))
        except (RedisError, OSError) as error:
            raise Unavailable("Redis does not answer; what is new arrives by polling.") from error


class RedisTransport:
    """Publish and subscribe.

    Args:
        url: As of Redis.
    """

    name = "redis"

    def __init__(self, url: str) -> None:
        self._url = url

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Link]:
        """Connect twice: what is subscribed cannot publish."""
        from redis import asyncio as redis  # noqa: PLC0415 - as above

        # No timeout of reads: nothing to read for a while is as it should be, and the bus notices silence by itself.
        client = redis.Redis.from_url(self._url, socket_connect_timeout=PATIENCE, decode_responses=True)
        async with client, client.pubsub(ignore_subscribe_messages=True) as hearing:
            await hearing.subscribe(CHANNEL)
            yield _Link(client, hearing)


class _Link:
    def __init__(self, client: Any, hearing: Any) -> None:  # redis-py's own types need arguments it does not document
        self._client = client
        self._hearing = hearing

    async def send(self, texts: Sequence[str]) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            for text in texts:
                pipeline.publish(CHANNEL, text)
            await pipeline.execute()

    async def texts(self) -> AsyncIterator[str]:
        async for message in self._hearing.listen():
            yield message["data"]

    def break_off(self) -> None:
        """Nothing waits for a server that is asked to end it."""
