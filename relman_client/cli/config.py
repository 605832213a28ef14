"""Where the command remembers logins: one file, readable by its owner only."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relman_client.channel import target_of
from relman_client.credentials import Tokens


class ConfigError(Exception):
    """The file cannot be used; the message says what to do."""


def folder() -> Path:
    """The command's folder: $XDG_CONFIG_HOME/relman, else ~/.config/relman."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "relman"


class FileStore:
    """The login at one server, in a file that holds those at all servers."""

    def __init__(self, address: str) -> None:
        self._server = target_of(address)
        self._file = folder() / "credentials.json"

    def load(self) -> Tokens | None:
        """The tokens of the last login there."""
        entry = self._read().get(self._server)
        if not isinstance(entry, dict) or not isinstance(entry.get("access_token"), str):
            return None
        return Tokens(entry["access_token"], str(entry.get("refresh_token", "")))

    def save(self, tokens: Tokens) -> None:
        """Replace the file as a whole, so that nobody ever reads half of it."""
        servers = self._read()
        servers[self._server] = {"access_token": tokens.access_token, "refresh_token": tokens.refresh_token}
        fresh = self._file.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"servers": servers}, file, indent=2)
        fresh.replace(self._file)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other processes: a refresh token works once."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._file.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _read(self) -> dict[str, Any]:
        try:
            servers = json.loads(self._file.read_bytes())["servers"]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            servers = None
        if not isinstance(servers, dict):
            raise ConfigError(f"{self._file} is damaged: remove it and log in again")
        return servers
