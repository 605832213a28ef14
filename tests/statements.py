"""How many statements a call costs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from relman_server.kernel.db import Database
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.identity import Call


@contextmanager
def statements(db: Database) -> Iterator[list[str]]:
    """Collect the statements of calls that run while the block does; those of the server's own work are left out."""
    seen: list[str] = []
    with executed(db, lambda statement, _: seen.append(statement)):
        yield seen


@contextmanager
def executed(db: Database, note: Callable[[str, Any], None]) -> Iterator[None]:
    """Call `note` with every statement, and its parameters, of calls that run while the block does."""
    thread = threading.local()

    def noting(run: Callable[..., Any]) -> Callable[..., Any]:
        def noted(call: Call, *args: Any, **more: Any) -> Any:
            thread.serves_a_call = call.policy is not None
            return run(call, *args, **more)

        return noted

    def noting_aside(look: Callable[..., Any]) -> Callable[..., Any]:
        def noted(exported: str, tx: Reading, *args: Any) -> Any:
            thread.serves_a_call = tx.call.policy is not None
            return look(exported, tx, *args)

        return noted

    def before(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if getattr(thread, "serves_a_call", False):
            note(statement, parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(db, "_read", noting(db._read))
        if db._aside is not None:
            patch.setattr(db._aside, "_look", noting_aside(db._aside._look))
        patch.setattr(db, "_write", noting(db._write))
        for engine in (db.reads, db.writes):
            event.listen(engine, "before_cursor_execute", before)
        try:
            yield
        finally:
            for engine in (db.reads, db.writes):
                event.remove(engine, "before_cursor_execute", before)
