"""Entities under another name, in statements that threads build at the same moment."""

import sys
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from relman_server.environments.model import Environment
from relman_server.kernel.db.model import alias_of


@pytest.fixture
def _threads_in_turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let threads interrupt each other as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def _read_by(alias: type[Environment], threads: int) -> list[str]:
    """Return the statements that so many threads build with an alias that nobody used before."""
    together, statements = threading.Barrier(threads), list[str]()

    def build() -> None:
        together.wait()
        statements.append(" ".join(str(select(alias.id)).split()))

    building = [threading.Thread(target=build) for _ in range(threads)]
    for thread in building:
        thread.start()
    for thread in building:
        thread.join()
    return statements


@pytest.mark.usefixtures("_threads_in_turns")
def test_threads_that_use_an_alias_first_at_the_same_moment_all_read_the_alias() -> None:
    """With SQLAlchemy's own alias some thread reads the table instead: of 100 of them, some five."""
    alone = "SELECT environment_1.id FROM environment AS environment_1"
    for _ in range(100):
        assert _read_by(alias_of(Environment), 4) == [alone] * 4
