import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from sqlalchemy import create_engine, text

from tests.services import postgres as postgres_module
from tests.services.postgres import Postgres, PostgresServer
from tests.services.process import ServerProcess, ServiceError
from tests.services.valkey import ValkeyServer


def query(url: str, statement: str) -> object:
    """Run one statement on a connection of its own."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def gone(process: psutil.Process) -> bool:
    """Whether it ended within 10 seconds; a zombie did, whoever may have to collect it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_the_shared_postgres_answers_and_copies_templates(postgres: Postgres) -> None:
    template = postgres.create_database()
    query(postgres.url(template), "CREATE TABLE thing AS SELECT 42 AS answer")
    copy = postgres.create_database(template=template)
    assert query(postgres.url(copy), "SELECT answer FROM thing") == 42
    postgres.drop_database(copy)
    postgres.drop_database(template)
    with pytest.raises(Exception, match="does not exist"):
        query(postgres.url(copy), "SELECT 1")


def test_postgres_is_the_real_one(postgres: Postgres) -> None:
    assert "PostgreSQL" in str(query(postgres.url("postgres"), "SELECT version()"))


@pytest.mark.parametrize("tcp", [False, True], ids=["socket", "tcp"])
def test_postgres_keeps_its_data_and_address_over_restart_and_kill(tcp: bool) -> None:
    with PostgresServer(tcp=tcp) as server:
        url = server.url(server.client.create_database())
        query(url, "CREATE TABLE thing AS SELECT 1 AS answer")
        server.restart()
        query(url, "UPDATE thing SET answer = 2")
        server.kill()
        assert not server.client.answers()
        server.start()
        assert query(url, "SELECT answer FROM thing") == 2
    assert not server.folder.exists()


def test_a_frozen_postgres_goes_on_when_thawed() -> None:
    with PostgresServer(tcp=True) as server:
        connection = psycopg.connect(server.url("postgres").replace("+psycopg", ""), connect_timeout=1)
        with connection:
            server.freeze()
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                psycopg.connect(server.url("postgres").replace("+psycopg", ""), connect_timeout=2)
            server.thaw()
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_frozen_postgres_can_be_stopped_and_killed() -> None:
    with PostgresServer() as server:
        for end in (server.stop, server.kill):
            family = [server.process, *server.process.children(recursive=True)]
            server.freeze()
            end()
            assert all(gone(process) for process in family)
            server.start()


def test_settings_are_applied_and_bad_ones_reported() -> None:
    with PostgresServer(settings={"lock_timeout": "123ms"}) as server:
        assert query(server.url("postgres"), "SHOW lock_timeout") == "123ms"
    bad = PostgresServer(settings={"no_such_setting": "1"})
    with pytest.raises(ServiceError, match="no_such_setting"):
        bad.start()
    bad.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a choice")
@pytest.mark.parametrize("readable", [True, False], ids=["as nobody", "as nobody, from a copy"])
def test_root_without_user_namespaces_runs_postgres(readable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = postgres_module._runs
    refused = {"unshare"} if readable else {"unshare", "setpriv"}
    monkeypatch.setattr(postgres_module, "_runs", lambda command: command[0] not in refused and runs(command))
    with PostgresServer() as server:
        assert query(server.url("postgres"), "SELECT 1") == 1
        assert server.process.uids().real == 65534


def test_the_shared_valkey_answers(valkey: ValkeyServer) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.set("key", "value")
        assert client.get("key") == b"value"


def test_valkey_restarts_and_freezes() -> None:
    with ValkeyServer() as server:
        server.restart()
        server.freeze()
        with redis.Redis.from_url(server.url, socket_timeout=0.2) as client, pytest.raises(redis.TimeoutError):
            client.ping()
        server.thaw()
        assert server.answers()
        server.kill()
        assert not server.answers()
    assert not server.folder.exists()


@pytest.mark.parametrize("service", [PostgresServer, ValkeyServer])
def test_no_service_outlives_killed_tests(service: type[ServerProcess], tmp_path: Path) -> None:
    script = (
        f"import sys, time; from {service.__module__} import {service.__name__} as Service\n"
        "server = Service(); server.start(); print(server.folder, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        folder = Path(tests.stdout.readline().strip())
        server = psutil.Process(int((folder / "pid").read_text()))
        tests.send_signal(signal.SIGKILL)
    assert gone(server)
    deadline = time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
