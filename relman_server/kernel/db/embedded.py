"""The embedded database belongs to one server."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url


@contextmanager
def held(url: str) -> Iterator[None]:
    """Keep other servers from a SQLite database while the block runs, and no longer than the process lives.

    Two would not hear of each other: of users whose access ended, and of what followers wait for.

    Raises OSError when another server has it.
    """
    database = Path(str(make_url(url).database))
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another server has the database {database}; several need PostgreSQL") from None
        yield
