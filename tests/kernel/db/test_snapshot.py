"""A snapshot is one moment, also where two connections look at it."""

import threading
from typing import Any

import pytest
from sqlalchemy import func, literal, select

from relman_server.catalog.model import Service
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.errors import NotFound
from tests.factories import RunningServer, make_service

_HOW_MANY = select(func.count()).select_from(Service)


def _with_thread(tx: Reading) -> tuple[int, int]:
    return threading.get_ident(), tx.scalar(_HOW_MANY)


def _session(tx: Reading) -> int:
    return int(tx.scalar(select(func.pg_backend_pid())))


async def test_both_looks_are_of_the_same_moment(server: RunningServer) -> None:
    await make_service(server.admin)
    meanwhile = server.app.db.writes

    def look(tx: Reading) -> tuple[int, int]:
        assert tx.scalar(_HOW_MANY) == 1
        if tx.engine == "postgresql":  # SQLite's connections are not shared: the second look is by the first one's
            with meanwhile.begin() as connection:
                connection.exec_driver_sql("DELETE FROM service")
        return tx.both(lambda tx: tx.scalar(_HOW_MANY), lambda tx: tx.scalar(_HOW_MANY))

    assert await server.app.db.snapshot(look) == (1, 1)


async def test_on_postgresql_two_look_at_the_same_time(server: RunningServer) -> None:
    if server.app.db.engine == "sqlite":
        pytest.skip("SQLite has one connection for a snapshot")
    other_looks = threading.Barrier(2, timeout=10)

    def meet(tx: Reading) -> int:
        other_looks.wait()
        return _session(tx)

    one, other = await server.app.db.snapshot(lambda tx: tx.both(meet, meet))
    assert one != other


@pytest.mark.parametrize("helps", [0, 1])
async def test_there_is_help_for_one_at_a_time(server: RunningServer, helps: int) -> None:
    """Also within a look that has it: nobody waits for who waits for them."""

    def deeper(tx: Reading) -> Any:
        return tx.both(lambda tx: tx.scalar(select(literal(1))), lambda tx: tx.scalar(select(literal(2))))

    looks = (deeper, _with_thread) if helps else (_with_thread, deeper)
    found = await server.app.db.snapshot(lambda tx: tx.both(*looks))
    assert (1, 2) in found


async def test_without_a_free_connection_one_look_follows_the_other(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = server.app.db
    if db.engine == "postgresql":
        monkeypatch.setattr(db.reads.pool, "checkedout", db.reads.pool.size)  # type: ignore[attr-defined]  # of a QueuePool
    (one, _), (other, _) = await db.snapshot(lambda tx: tx.both(_with_thread, _with_thread))
    assert one == other


@pytest.mark.parametrize("failing", ["one", "other"])
async def test_a_failure_of_either_is_raised_and_nothing_stays_taken(server: RunningServer, failing: str) -> None:
    db = server.app.db

    def fail(tx: Reading) -> int:
        raise NotFound("service", "checkout")

    def look(tx: Reading) -> int:
        return int(tx.scalar(_HOW_MANY))

    for _ in range(10):  # more often than there are connections
        with pytest.raises(NotFound):
            await db.snapshot(lambda tx: tx.both(*((fail, look) if failing == "one" else (look, fail))))
    assert await db.snapshot(lambda tx: tx.both(look, look)) == (0, 0)
