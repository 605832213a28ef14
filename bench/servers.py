"""The servers that are measured, each a process of its own, with what is needed to call it."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from bench import machine
from bench.process import ROOT, ServerError, environment, serving
from relman_client import Client, ClientOptions
from relman_client.v1.auth_pb2 import LoginRequest
from relman_client.v1.catalog_pb2 import CreateServiceRequest
from relman_client.v1.deployment_pb2 import CreateDeploymentRequest
from relman_client.v1.environment_pb2 import CreateEnvironmentRequest, EnvironmentType
from relman_client.v1.release_pb2 import CreateReleaseRequest, PublishReleaseRequest
from tests.services.postgres import PostgresServer

PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
PASSWORD = secrets.token_urlsafe(15)
"""Of the admins of this run's servers."""
DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "256MB", "max_wal_size": "4GB"}
"""What a test may leave out for speed a benchmark may not."""
COUNTING = {"shared_preload_libraries": "pg_stat_statements"}


@dataclass(frozen=True)
class Server:
    """A server that serves.

    Attributes:
        address: host:port.
        pid: Of its process, the parent of its workers.
        started_in: Seconds from starting the process to being served.
        token: Of an admin; empty where there is none.
    """

    address: str
    pid: int
    started_in: float
    token: str = ""

    @property
    def cpu(self) -> float:
        """Seconds of CPU it has taken so far."""
        return machine.cpu_seconds(self.pid)

    @property
    def memory(self) -> float:
        """MiB it holds."""
        return machine.resident(self.pid)


class Relman(Server):
    """relman, and what benchmarks need of it."""

    @cached_property
    def client(self) -> Client:
        """A client of the admin."""
        return Client(self.address, token=self.token, options=ClientOptions())

    def service(self) -> str:
        """Create a service and return its name."""
        return self.client.catalog.CreateService(CreateServiceRequest(name=_unique("service"))).name

    def release(self, service: str, version: str, *, publish: bool = False) -> str:
        """Create a release and return its id."""
        request = CreateReleaseRequest(service=service, version=version, git_commit="1f" * 20, release_notes=NOTES)
        release = self.client.releases.CreateRelease(request)
        if publish:
            self.client.releases.PublishRelease(PublishReleaseRequest(release=release.id))
        return release.id

    def deployments(self, count: int) -> list[str]:
        """Create so many deployments and return their ids."""
        environment = _unique("environment")
        kind = EnvironmentType.ENVIRONMENT_TYPE_DEVELOPMENT
        self.client.environments.CreateEnvironment(CreateEnvironmentRequest(name=environment, environment_type=kind))
        release = self.release(self.service(), "1.0.0", publish=True)
        request = CreateDeploymentRequest(release=release, environment=environment)
        return [self.client.deployments.CreateDeployment(request).id for _ in range(count)]


class Peer(Server):
    """The peer, and what benchmarks need of it."""

    def ask(self, method: str, path: str, said: Mapping[str, Any] | None = None) -> Any:  # JSON
        """Send a request and return what is answered. Raises ServerError for anything but success."""
        return _ask(self.address, method, path, said, self.token)

    def service(self) -> str:
        """Create a service and return its name."""
        name: str = self.ask("POST", "/api/services", {"name": _unique("service")})["name"]
        return name

    def release(self, service: str, version: str) -> str:
        """Create a release and return its id."""
        said = {"service": service, "version": version, "git_commit": "1f" * 20, "release_notes": NOTES}
        release: str = self.ask("POST", "/api/releases", said)["id"]
        return release

    def deployments(self, count: int) -> list[str]:
        """Create so many deployments and return their ids."""
        said = {"release_id": self.release(self.service(), "1.0.0"), "environment": "dev"}
        return [self.ask("POST", "/api/deployments", said)["id"] for _ in range(count)]


NOTES = "- handlers answer in half the time\n- a retry that gave up too early\n" * 3
"""Release notes of both."""


def _unique(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(4)}"


@contextmanager
def postgres(*, durable: bool = True) -> Iterator[PostgresServer]:
    """Run a PostgreSQL that counts statements and, unless durability does not matter, loses nothing."""
    with PostgresServer(settings=COUNTING | (DURABLE if durable else {}), on_disk=durable) as server:
        yield server


@contextmanager
def relman(folder: Path, database: str | None = None, **settings: str) -> Iterator[Relman]:
    """Run relman.

    Args:
        folder: For its data; the database is there, too, unless another is named.
        database: SQLAlchemy URL of an empty database of PostgreSQL.
        settings: More settings, in lower case.
    """
    chosen = {
        "listen": "127.0.0.1:0",
        "data_dir": str(folder / _unique("data")),
        "admin_email": "admin@example.com",
        "admin_password": PASSWORD,
        "log_format": "json",
    } | settings
    if database:
        chosen["database_url"] = database
    variables = {f"RELMAN_{name.upper()}": value for name, value in chosen.items()}
    command = [sys.executable, "-m", "relman_server"]
    if database:
        subprocess.run([*command, "migrate"], env=environment() | variables, check=True, capture_output=True)
    with serving([*command, "serve"], variables, folder / _unique("log")) as (address, pid, took):
        with Client(address) as client:
            login = client.auth.Login(LoginRequest(login="admin@example.com", password=PASSWORD))
        server = Relman(address, pid, took, login.access_token)
        yield server
        server.client.close()


def peer_is_missing() -> str:
    """Return why the peer cannot run; nothing when it can."""
    if not PEER_PYTHON.exists():
        return f"its environment {PEER_PYTHON.parent.parent.name} is not there; `make bench` creates it"
    return ""


@contextmanager
def peer(folder: Path, database: str) -> Iterator[Peer]:
    """Run the peer over a database of PostgreSQL: an empty one, or one that it had before."""
    url = make_url(database).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    variables = {"PEER_DATABASE_URL": url, "PEER_PASSWORD": PASSWORD}
    with serving([str(PEER_PYTHON), "-m", "bench.peer"], variables, folder / _unique("log")) as (address, pid, took):
        said = {"login": "admin", "password": PASSWORD}
        token = _ask(address, "POST", "/api/auth/login", said)["access_token"]
        yield Peer(address, pid, took, token)


class Ceiling(Server):
    """gRPC with nothing behind it."""


@contextmanager
def ceiling(folder: Path) -> Iterator[Ceiling]:
    """Run gRPC with nothing behind it."""
    command = [sys.executable, "-m", "bench.ceiling"]
    with serving(command, {}, folder / _unique("log")) as (address, pid, took):
        yield Ceiling(address, pid, took)


def statements(database: str) -> int:
    """Return how many statements PostgreSQL has run in a database so far, without those that only begin and end."""
    with psycopg.connect(make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)) as own:
        own.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        row = own.execute(
            "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'"
            " AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND query NOT IN ('BEGIN', 'COMMIT', 'ROLLBACK', 'BEGIN ISOLATION LEVEL READ COMMITTED')"
        ).fetchone()
    assert row is not None
    return int(row[0])


def _ask(address: str, method: str, path: str, said: Mapping[str, Any] | None, token: str = "") -> Any:
    connection = HTTPConnection(address, timeout=60)
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    connection.request(method, path, json.dumps(said) if said is not None else None, headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status >= 400:
        raise ServerError(f"{method} {path}: HTTP {response.status} {body[:300].decode(errors='replace')}")
    return json.loads(body)
