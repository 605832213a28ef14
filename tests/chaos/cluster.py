"""What is to survive: one server over SQLite, or two over one PostgreSQL, and the ways to them."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from relman_server.kernel.db import schema
from relman_server.kernel.db.engine import write_engine
from tests.client.proxy import Proxy
from tests.services.postgres import PostgresServer
from tests.services.relman import ServerProcess
from tests.services.valkey import ValkeyServer

SETUPS = {
    "sqlite": "one server over SQLite",
    "postgresql": "two servers over one PostgreSQL, which wakes followers as well",
    "redis": "two servers over one PostgreSQL; Valkey wakes followers",
}
TRIES = 5


@dataclass
class Cluster:
    """Servers, what they stand on, and the ways to them.

    Attributes:
        setup: Which, of SETUPS.
        servers: The processes. They share the data folder, as replicas share the key that signs tokens.
        postgres: Their database; None for SQLite.
        valkey: Their bus; None when they have none, or PostgreSQL's.
        to_database: Between each server and PostgreSQL.
        ways: Between each client and the servers: each has its own, and one after the other goes to another server.
    """

    setup: str
    servers: list[ServerProcess]
    postgres: PostgresServer | None = None
    valkey: ValkeyServer | None = None
    to_database: list[Proxy] = field(default_factory=list)
    ways: list[Proxy] = field(default_factory=list)

    def way(self) -> str:
        """Return the address of a new way to the servers."""
        addresses = [server.address for server in self.servers]
        turn = len(self.ways) % len(addresses)
        self.ways.append(Proxy(*addresses[turn:], *addresses[:turn]))
        return self.ways[-1].address

    def logged(self) -> list[str]:
        """Return what the servers wrote to their standard errors."""
        return [line for server in self.servers for line in server.logged]


def start_again(server: ServerProcess) -> None:
    """Start a server as whoever looks after it does: again, when its database does not answer yet."""
    for attempt in range(1, TRIES + 1):
        try:
            server.start()
        except RuntimeError:
            if attempt == TRIES:
                raise
        else:
            return


@contextmanager
def started(setup: str) -> Iterator[Cluster]:
    """Start everything, with an empty database; nothing of it is left behind."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relman-chaos-")))
        make = _embedded if setup == "sqlite" else _replicated
        cluster = make(setup, folder, stack)
        for server in cluster.servers:
            stack.callback(server.kill)
            server.start()
        try:
            yield cluster
        finally:
            for way in cluster.ways:
                way.__exit__(None, None, None)


def _embedded(setup: str, folder: Path, _: ExitStack) -> Cluster:
    return Cluster(setup, [ServerProcess(folder, {"LOG_FORMAT": "json"})])


def _replicated(setup: str, folder: Path, stack: ExitStack) -> Cluster:
    postgres = stack.enter_context(PostgresServer(tcp=True))
    valkey = stack.enter_context(ValkeyServer()) if setup == "redis" else None
    database = postgres.client.create_database()
    migrating = write_engine(postgres.url(database), 1)
    schema.migrate(migrating)
    migrating.dispose()
    settings = {"LOG_FORMAT": "json"} | ({"REDIS_URL": valkey.url} if valkey else {})
    servers, ways = [], []
    for _ in range(2):
        way = stack.enter_context(Proxy(postgres.address))
        url = postgres.url(database).replace(postgres.address, way.address)
        servers.append(ServerProcess(folder, settings | {"DATABASE_URL": url}))
        ways.append(way)
    return Cluster(setup, servers, postgres, valkey, ways)
