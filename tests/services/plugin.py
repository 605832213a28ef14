"""Fixtures for the services: one PostgreSQL for the whole run, one Valkey for each process of it.

With xdist the controller starts PostgreSQL while the workers start, and hands them its URL; without, it is started
when first asked for. RELMAN_TEST_POSTGRES_URL names a server to use instead: a SQLAlchemy URL of a user who may create
databases. Tests that stop, kill or freeze a service start their own (`PostgresServer`, `ValkeyServer`).
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.services.postgres import Postgres, PostgresServer
from tests.services.valkey import ValkeyServer

SERVER = pytest.StashKey[PostgresServer]()
PR_SET_PDEATHSIG = 1


def _shared_server(config: pytest.Config) -> PostgresServer:
    """The run's server, started when first asked for and removed when the run ends."""
    if SERVER not in config.stash:
        server = config.stash[SERVER] = PostgresServer()
        config.add_cleanup(server.remove)
        server.start_soon()
    return config.stash[SERVER]


def pytest_configure(config: pytest.Config) -> None:
    """In an xdist worker: end with the controller, also when that is killed, rather than with the current test."""
    if hasattr(config, "workerinput") and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of `-n auto`: half as many again as there are processors, since many tests wait for what other processes do."""
    return -(-len(os.sched_getaffinity(0)) * 3 // 2)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # xdist's WorkerController has no public type
    """In the xdist controller: tell each worker where PostgreSQL is."""
    url = os.environ.get("RELMAN_TEST_POSTGRES_URL")
    node.workerinput["postgres_url"] = url or _shared_server(node.config).client.server_url


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Postgres:
    """The run's PostgreSQL, to create databases in."""
    worker_input: dict[str, str] = getattr(request.config, "workerinput", {})
    url = worker_input.get("postgres_url") or os.environ.get("RELMAN_TEST_POSTGRES_URL")
    client = Postgres(url) if url else _shared_server(request.config).client
    client.await_ready()
    return client


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """This process's Valkey."""
    with ValkeyServer() as server:
        yield server
