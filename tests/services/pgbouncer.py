"""A real PgBouncer from the system's packages: there is no wheel of it, so tests that want one skip where it is not."""

import shutil
import signal
from pathlib import Path
from urllib.parse import quote

import psycopg
from sqlalchemy.engine import URL, make_url

from tests.services.postgres import without_root
from tests.services.process import ServerProcess, ServiceError

PORT = 6432  # only names a socket in the folder
CONFIG = """
[databases]
* = host={host} port={port} user={user}

[pgbouncer]
listen_addr =
listen_port = {own_port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
server_round_robin = 1
"""


def program() -> Path | None:
    """Find it, also where packages put it that only root has on the path; None when it is not installed."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


class PgBouncer(ServerProcess):
    """A pooler in transaction mode, on a socket in its folder; what it is not told is as the package has it.

    Args:
        server_url: SQLAlchemy URL of a PostgreSQL that trusts those who connect.
        sessions: How many of that one's sessions it shares among all who connect, by turns.
    """

    def __init__(self, server_url: str, sessions: int) -> None:
        super().__init__("pgbouncer")
        self._server = make_url(server_url)
        self._sessions = sessions

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database, through it."""
        query = f"host={quote(str(self.folder), safe='/')}"
        return f"postgresql+psycopg://{self._server.username}@:{PORT}/{database}?{query}"

    def start(self) -> None:
        """Start and return when it answers."""
        found = program()
        if found is None:
            raise ServiceError("pgbouncer is not installed")
        prefix = without_root(self.folder, found)
        if prefix is None:
            raise ServiceError(f"{found} runs only as root, which it refuses")
        host, port = _place(self._server)
        (self.folder / "pgbouncer.ini").write_text(
            CONFIG.format(
                host=host,
                port=port,
                user=self._server.username,
                own_port=PORT,
                folder=self.folder,
                sessions=self._sessions,
            )
        )
        self.launch([*prefix, str(found), str(self.folder / "pgbouncer.ini")])
        self.await_ready(self.answers)

    def stop(self) -> None:
        """Shut down without waiting for those who are connected."""
        self.end(signal.SIGTERM)

    def answers(self) -> bool:
        """Whether it takes connections now."""
        url = make_url(self.url("postgres")).set(drivername="postgresql")
        try:
            psycopg.connect(url.render_as_string(hide_password=False), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _place(server: URL) -> tuple[str, int]:
    """Return the host, or the folder of the socket, and the port."""
    host = server.host or server.query.get("host") or "/tmp"
    assert isinstance(host, str)
    return host, server.port or 5432
