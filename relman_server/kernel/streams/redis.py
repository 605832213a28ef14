"""Redis or Valkey: whether it answers. Wake-ups go through the process's own bus until there are replicas to wake."""

import time
from datetime import timedelta

from relman_server.kernel.errors import Unavailable

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
