"""The embedded database belongs to one server."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url


def make_private(url: str) -> None:
    """Make the file of a new SQLite database readable by its owner only, whatever folder it is in.

    It holds hashes of passwords. SQLite gives the files it puts beside it the same mode.
    """
    database = _file(url)
    if not database.exists():
        database.touch(mode=0o600)


@contextmanager
def held(url: str) -> Iterator[None]:
    """Keep other servers from a SQLite database while the block runs, and no longer than the process lives.

    Two would not hear of each other: of users whose access ended, and of what followers wait for.

    Raises OSError when another server has it.
    """
    database = _file(url)
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another server has the database {database}; several need PostgreSQL") from None
        yield


def _file(url: str) -> Path:
    return Path(str(make_url(url).database))
