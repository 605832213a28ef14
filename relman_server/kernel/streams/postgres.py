"""PostgreSQL as the bus: LISTEN and NOTIFY, on two connections of their own, outside of transactions.

NOTIFY inside a transaction takes a lock of the whole cluster at commit; so it is sent after the commit.
"""

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import make_url

from relman_server.kernel.streams.remote import Link

if TYPE_CHECKING:
    import psycopg

CHANNEL = "relman"
PATIENCE = 3


class PostgresTransport:
    """LISTEN and NOTIFY.

    Args:
        url: SQLAlchemy URL of the database. LISTEN needs a connection of its own: a pooler that shares connections
            between transactions must be passed by.
    """

    name = "postgresql"

    def __init__(self, url: str) -> None:
        plain = make_url(url).set(drivername="postgresql")
        self._conninfo = plain.render_as_string(hide_password=False)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Link]:
        """Connect twice: what listens cannot say anything."""
        from psycopg import AsyncConnection  # noqa: PLC0415 - an embedded server never loads it, and saves 12 MiB

        options: dict[str, Any] = {  # of libpq
            "connect_timeout": PATIENCE,
            "application_name": "relman bus",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
        }
        async with (
            await AsyncConnection.connect(self._conninfo, autocommit=True, **options) as hearing,
            await AsyncConnection.connect(self._conninfo, autocommit=True, prepare_threshold=None, **options) as saying,
        ):
            await hearing.execute(f"LISTEN {CHANNEL}")
            yield _Link(hearing, saying)


class _Link:
    def __init__(self, hearing: "psycopg.AsyncConnection[Any]", saying: "psycopg.AsyncConnection[Any]") -> None:
        self._hearing = hearing
        self._saying = saying

    async def send(self, texts: Sequence[str]) -> None:
        await self._saying.execute("SELECT pg_notify(%s, text) FROM unnest(%s::text[]) text", (CHANNEL, list(texts)))

    async def texts(self) -> AsyncIterator[str]:
        async for notification in self._hearing.notifies():
            yield notification.payload

    def break_off(self) -> None:
        """Shut the sockets down: a statement that is cancelled would wait ten seconds for a server that is frozen."""
        for connection in (self._hearing, self._saying):
            if not connection.closed:
                with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as the_same:
                    the_same.shutdown(socket.SHUT_RDWR)
