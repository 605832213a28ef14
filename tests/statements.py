"""How many statements a call costs."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from relman_server.kernel.db import Database


@contextmanager
def statements(db: Database) -> Iterator[list[str]]:
    """Collect the statements that are run while the block does, reads and writes."""
    seen: list[str] = []

    def before(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    for engine in (db.reads, db.writes):
        event.listen(engine, "before_cursor_execute", before)
    try:
        yield seen
    finally:
        for engine in (db.reads, db.writes):
            event.remove(engine, "before_cursor_execute", before)
