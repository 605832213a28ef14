"""Several processes on one port: who starts them, replaces them, and ends them."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from relman_client import Client
from relman_client.v1.system_pb2 import GetHealthRequest
from tests.services.postgres import Postgres
from tests.services.relman import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess


@pytest.fixture
def supervisor(postgres: Postgres, postgres_template: str, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of two workers, started."""
    name = postgres.create_database(template=postgres_template)
    server = ServerProcess(tmp_path / "data", {"DATABASE_URL": postgres.url(name), "WORKERS": "2"})
    yield server.start()
    server.stop()
    server.kill()
    postgres.drop_database(name)


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _serving(server: ServerProcess) -> set[int]:
    """Return the workers that listen on the port."""
    assert server.process is not None
    port = int(server.address.rpartition(":")[2])
    return {child.pid for child in psutil.Process(server.process.pid).children() if port in _listening(child)}


def _listening(process: psutil.Process) -> set[int]:
    """Return the ports on which a process listens; none when it ends meanwhile."""
    try:
        found = process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return set()
    return {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}


def _is_well(server: ServerProcess) -> bool:
    with Client(server.address) as client:
        return bool(client.system.GetHealth(GetHealthRequest(), timeout=5).HasField("database"))


@pytest.mark.timeout(90)
def test_workers_share_a_port_are_replaced_and_end_together(supervisor: ServerProcess) -> None:
    assert [line.split(" <")[0] for line in supervisor.lines] == [
        "created the admin admin",
        f"relman is serving on {supervisor.address}",
    ], "once each, for all"
    workers = _serving(supervisor)
    assert len(workers) == 2
    with Client(supervisor.address) as client:
        client.login(ADMIN_EMAIL, ADMIN_PASSWORD)  # one of them made the admin

    victim = min(workers)
    psutil.Process(victim).kill()
    _until(lambda: len(_serving(supervisor) - {victim}) == 2)
    assert _is_well(supervisor)
    assert any(f"pid={victim}" in line or f'"pid": {victim}' in line for line in supervisor.logged)

    workers = _serving(supervisor)
    assert supervisor.stop() == 0
    assert not any(psutil.pid_exists(worker) for worker in workers)


@pytest.mark.timeout(90)
def test_workers_end_when_nobody_watches_them_any_more(supervisor: ServerProcess) -> None:
    workers = _serving(supervisor)
    supervisor.signal(signal.SIGKILL)
    _until(lambda: not any(psutil.pid_exists(worker) for worker in workers))


def test_what_keeps_a_worker_from_starting_is_said_once_and_ends_it(postgres: Postgres, tmp_path: Path) -> None:
    name = postgres.create_database()  # without a schema
    server = ServerProcess(tmp_path / "data", {"DATABASE_URL": postgres.url(name), "WORKERS": "2"})
    with pytest.raises(RuntimeError):
        server.start()
    assert server.process is not None
    assert (server.process.returncode, len(server.logged)) == (2, 1), server.logged
    assert "relman-server migrate" in server.logged[0]
    postgres.drop_database(name)
