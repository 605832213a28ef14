"""`relman-server` as a process: how it starts, refuses to, stops, and comes back."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from relman_client.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    catalog_pb2,
    catalog_pb2_grpc,
    deployment_pb2,
    deployment_pb2_grpc,
    environment_pb2,
    environment_pb2_grpc,
    release_pb2,
    release_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
)
from tests.factories import Refusal
from tests.services.postgres import Postgres
from tests.services.relman import ADMIN_PASSWORD, ServerProcess


def run(
    *arguments: str, variables: dict[str, str] | None = None, data: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `relman-server` to its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RELMAN_")}
    environment |= {f"RELMAN_{name}": value for name, value in (variables or {}).items()}
    if data is not None:
        environment["RELMAN_DATA_DIR"] = str(data)
    return subprocess.run(
        [sys.executable, "-m", "relman_server", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def refused_in_one_line(ended: subprocess.CompletedProcess[str], status: int) -> str:
    """Assert that it ended with the status and one line on stderr, and return the line."""
    assert ended.returncode == status, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.startswith("relman-server: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server over SQLite, not started yet."""
    server = ServerProcess(tmp_path / "data")
    yield server
    server.kill()


class Client:
    """The admin of a server process, over a channel of their own."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        token = auth_pb2_grpc.AuthServiceStub(channel).Login(
            auth_pb2.LoginRequest(login="admin", password=ADMIN_PASSWORD), timeout=10
        )
        self.metadata = (("authorization", f"Bearer {token.access_token}"),)

    def service(self, name: str) -> catalog_pb2.Service:
        """Create a service."""
        return catalog_pb2_grpc.CatalogServiceStub(self.channel).CreateService(
            catalog_pb2.CreateServiceRequest(name=name), metadata=self.metadata, timeout=10
        )

    def services(self) -> set[str]:
        """Return the names of all services."""
        page = catalog_pb2_grpc.CatalogServiceStub(self.channel).ListServices(
            catalog_pb2.ListServicesRequest(), metadata=self.metadata, timeout=10
        )
        return {service.name for service in page.services}

    def watch(self) -> Any:
        """Open a watch that goes on; its first answer has come."""
        self.service("watched")
        options: dict[str, Any] = {"metadata": self.metadata, "timeout": 10}
        environment_pb2_grpc.EnvironmentServiceStub(self.channel).CreateEnvironment(
            environment_pb2.CreateEnvironmentRequest(
                name="here", environment_type=environment_pb2.ENVIRONMENT_TYPE_DEVELOPMENT
            ),
            **options,
        )
        releases = release_pb2_grpc.ReleaseServiceStub(self.channel)
        releases.CreateRelease(release_pb2.CreateReleaseRequest(service="watched", version="1.0.0"), **options)
        deployments = deployment_pb2_grpc.DeploymentServiceStub(self.channel)
        deployment = deployments.CreateDeployment(
            deployment_pb2.CreateDeploymentRequest(release="watched@1.0.0", environment="here"), **options
        )
        watch = deployments.WatchDeployment(
            deployment_pb2.WatchDeploymentRequest(deployment=deployment.id, keep_open=True), metadata=self.metadata
        )
        next(watch)
        return watch


@pytest.fixture
def client(process: ServerProcess) -> Iterator[Client]:
    """The admin of the process, which is started."""
    process.start()
    with grpc.insecure_channel(process.address) as channel:
        yield Client(channel)


def health(channel: grpc.Channel, name: str = "") -> str:
    """Return what grpc.health.v1 says."""
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
    return cast("str", health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


# --- starting


def test_it_says_where_it_serves_and_serves_there(process: ServerProcess) -> None:
    process.start()
    assert process.lines[-1] == f"relman is serving on {process.address}"
    assert not process.address.endswith(":0")
    with grpc.insecure_channel(process.address) as channel:
        assert health(channel) == "SERVING"


def test_the_admin_is_made_once_and_a_made_up_password_said_once(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", {"ADMIN_PASSWORD": ""})
    try:
        server.start()
        said = next(line for line in server.lines if "password" in line)
        password = said.rpartition("password ")[2]
        with grpc.insecure_channel(server.address) as channel:
            login = auth_pb2.LoginRequest(login="admin@example.com", password=password)
            assert auth_pb2_grpc.AuthServiceStub(channel).Login(login, timeout=10).access_token
        server.stop()
        before = len(server.lines)
        server.start()
        assert [line for line in server.lines[before:] if "admin" in line] == []
        assert password not in "".join(server.logged)
    finally:
        server.kill()


def test_a_given_password_is_not_said(client: Client, process: ServerProcess) -> None:
    assert "created the admin admin <admin@example.com>" in process.lines
    assert ADMIN_PASSWORD not in "".join(process.lines + process.logged)


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_new_database_is_for_the_owner_only_also_in_a_folder_that_is_not(tmp_path: Path, command: str) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    if command == "serve":
        ServerProcess(data).start().kill()
    else:
        assert run("migrate", data=data).returncode == 0
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in data.iterdir() if file.suffix != ".lock"}
    assert set(modes.values()) == {0o600}, modes


def test_what_is_kept_is_for_the_owner_only(client: Client, process: ServerProcess) -> None:
    assert stat.S_IMODE((process.data_dir / "signing.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(process.data_dir.stat().st_mode) == 0o700
    assert [file.name for file in process.data_dir.iterdir() if file.name.startswith(".signing")] == []


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (["serve"], {"LISTEN": "nonsense"}, "listen"),
        (["serve", "--listen", "nonsense"], {}, "listen"),
        (["serve"], {"DATABSE_URL": "x"}, "did you mean RELMAN_DATABASE_URL?"),
        (["migrate"], {"DATABASE_URL": "mysql://x"}, "database_url"),
        (["serve", "--listen", "0.0.0.0:0"], {}, "reachable from elsewhere"),
        (["serve", "--admin-email", "nobody"], {}, "admin_email"),
    ],
)
def test_a_wrong_setting_ends_it_before_anything_starts(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], says: str
) -> None:
    line = refused_in_one_line(run(*arguments, variables=variables, data=tmp_path / "data"), 2)
    assert says in line
    assert not (tmp_path / "data").exists()


def test_an_unknown_flag_is_refused(tmp_path: Path) -> None:
    ended = run("serve", "--listn", "x", data=tmp_path / "data")
    assert ended.returncode == 2
    assert "--listn" in ended.stderr
    assert not (tmp_path / "data").exists()


def test_a_key_of_the_file_that_is_unknown_ends_it(tmp_path: Path) -> None:
    (tmp_path / "relman.toml").write_text("listn = 'x'\n")
    ended = run("serve", "--config", str(tmp_path / "relman.toml"), data=tmp_path / "data")
    assert "listn" in refused_in_one_line(ended, 2)


def test_an_address_in_use_is_refused(client: Client, process: ServerProcess, tmp_path: Path) -> None:
    """Fails when the port is shared, gRPC's default: the second server would take half of the calls."""
    ended = run("serve", "--listen", process.address, data=tmp_path / "other")
    assert f"cannot listen on {process.address}: Address already in use" in refused_in_one_line(ended, 1)
    assert client.services() == set()


def test_a_start_that_fails_makes_no_admin_whose_password_nobody_knows(process: ServerProcess, tmp_path: Path) -> None:
    """Fails when the admin is made before the address is taken: the next start has nothing to say any more."""
    process.start()
    assert run("serve", "--listen", process.address, data=tmp_path / "other").returncode == 1
    other = ServerProcess(tmp_path / "other", {"ADMIN_PASSWORD": ""}).start()
    other.stop()
    assert any("password" in line for line in other.lines)


def test_a_second_server_of_an_embedded_database_is_refused(client: Client, process: ServerProcess) -> None:
    ended = run("serve", "--listen", "127.0.0.1:0", data=process.data_dir)
    assert "another server has the database" in refused_in_one_line(ended, 1)
    assert client.services() == set()


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    ended = run("serve", "--listen", "192.0.2.1:0", "--insecure", data=tmp_path / "data")
    assert "cannot listen on 192.0.2.1:0: " in refused_in_one_line(ended, 1)


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert "data" in refused_in_one_line(run("serve", data=tmp_path / "data"), 1)


def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "signing.key").write_bytes(b"short")
    assert "damaged" in refused_in_one_line(run("serve", data=tmp_path / "data"), 1)
    assert (tmp_path / "data" / "signing.key").read_bytes() == b"short"


def test_a_database_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "relman.db").write_bytes(b"this is no database" * 1000)
    assert "not a database" in refused_in_one_line(run("serve", data=tmp_path / "data"), 1)


def test_a_database_that_does_not_answer_is_refused(tmp_path: Path) -> None:
    url = "postgresql://nobody:hunter2@127.0.0.1:1/nothing"
    for command in ("serve", "migrate"):
        line = refused_in_one_line(run(command, variables={"DATABASE_URL": url}, data=tmp_path / "data"), 1)
        assert "hunter2" not in line


def test_the_audit_log_is_pruned_while_a_server_runs(tmp_path: Path) -> None:
    process = ServerProcess(tmp_path / "data").start()
    try:
        kept = run("audit", "prune", "--keep-months", "3", data=tmp_path / "data")
        assert (kept.returncode, "nothing was removed" in kept.stdout) == (0, True)
        pruned = run("audit", "prune", "--before", "2999-01-01", data=tmp_path / "data")
        assert (pruned.returncode, pruned.stdout.split()[0]) == (0, "removed")
    finally:
        process.kill()


@pytest.mark.parametrize(
    "arguments",
    [[], ["--before", "yesterday"], ["--keep-months", "-1"], ["--before", "2026-01-01", "--keep-months", "1"]],
)
def test_pruning_needs_to_know_what(tmp_path: Path, arguments: list[str]) -> None:
    assert run("audit", "prune", *arguments, data=tmp_path / "data").returncode == 2


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("nonsense")
    ended = run("serve", variables={"AUDIT_KEY": str(tmp_path / "key.pem")}, data=tmp_path / "data")
    assert "no private key" in refused_in_one_line(ended, 1)


def test_postgresql_is_not_migrated_by_serving(postgres: Postgres, tmp_path: Path) -> None:
    name = postgres.create_database()
    ended = run("serve", variables={"DATABASE_URL": postgres.url(name)}, data=tmp_path / "data")
    assert "run `relman-server migrate`" in refused_in_one_line(ended, 2)
    postgres.drop_database(name)


def _empty_url(engine: str, postgres: Postgres, folder: Path) -> str:
    return f"sqlite:///{folder / 'fresh.db'}" if engine == "sqlite" else postgres.url(postgres.create_database())


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_migrations_that_run_at_the_same_moment_wait_for_each_other(
    engine: str, postgres: Postgres, tmp_path: Path
) -> None:
    url = _empty_url(engine, postgres, tmp_path)
    ended: list[subprocess.CompletedProcess[str]] = []
    migrate = [
        threading.Thread(target=lambda: ended.append(run("migrate", variables={"DATABASE_URL": url}, data=tmp_path)))
        for _ in range(3)
    ]
    for thread in migrate:
        thread.start()
    for thread in migrate:
        thread.join()
    assert [(one.returncode, one.stderr) for one in ended] == [(0, "")] * 3
    again = run("migrate", variables={"DATABASE_URL": url}, data=tmp_path)
    assert again.stdout.startswith("the schema is 0")


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_database_of_a_newer_relman_is_refused_and_left_alone(tmp_path: Path, command: str) -> None:
    data = tmp_path / "data"
    assert run("migrate", data=data).returncode == 0
    with sqlite3.connect(data / "relman.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    line = refused_in_one_line(run(command, data=data), 2)
    assert "newer relman" in line
    assert "9999" in line
    with sqlite3.connect(data / "relman.db") as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


# --- TLS


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_it_serves_over_tls_off_loopback_without_reflection(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    settings = {"LISTEN": "0.0.0.0:0", "TLS_CERTIFICATE": str(certificate), "TLS_KEY": str(key)}
    server = ServerProcess(tmp_path / "data", settings)
    try:
        server.start()
        address = server.address.replace("0.0.0.0", "localhost")
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(address, credentials) as channel:
            assert health(channel) == "SERVING"
            info: Any = channel.unary_unary("/grpc.channelz.v1.Channelz/GetServers")
            reflect: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                info(b"", timeout=5)
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                list(reflect(iter([b""]), timeout=5))
            register = auth_pb2.RegisterRequest(email="a@b.c", username="ann", password=ADMIN_PASSWORD)
            with pytest.raises(grpc.RpcError) as error:
                auth_pb2_grpc.AuthServiceStub(channel).Register(register, timeout=5)
            assert Refusal(cast("Any", error.value)).reason == "REGISTRATION_CLOSED"
        with grpc.insecure_channel(address) as plain, pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
            health(plain)
    finally:
        server.kill()


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate, _ = _certificate(tmp_path)
    _, key = _certificate(tmp_path / "other")
    variables = {"TLS_CERTIFICATE": str(certificate), "TLS_KEY": str(key), "LISTEN": "127.0.0.1:0"}
    ended = run("serve", variables=variables, data=tmp_path / "data")
    assert "not a certificate and its private key" in refused_in_one_line(ended, 1)


# --- stopping


def test_an_idle_server_stops_at_once(client: Client, process: ServerProcess) -> None:
    started = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_streams_are_told_to_come_again_when_it_stops(
    client: Client, process: ServerProcess, number: signal.Signals
) -> None:
    """Fails when streams are cancelled by stopping: then they get no status of ours, and no cursor."""
    watch = client.watch()
    told = time.monotonic()
    process.signal(number)
    with pytest.raises(grpc.RpcError) as error:
        for _ in watch:
            pass
    assert time.monotonic() - told < 1
    refusal = Refusal(cast("Any", error.value))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert refusal.info.metadata["cursor"]
    assert refusal.retry.retry_delay.seconds == 1
    assert process.wait() == 0
    assert time.monotonic() - told < 10


def test_being_told_twice_is_no_worse(client: Client, process: ServerProcess) -> None:
    watch = client.watch()
    process.signal(signal.SIGTERM)
    process.signal(signal.SIGTERM)
    with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
        for _ in watch:
            pass
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert not [line for line in process.logged if "Traceback" in line]


def test_who_watches_its_health_hears_that_it_stops(client: Client, process: ServerProcess) -> None:
    watch = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    process.signal(signal.SIGTERM)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    assert process.wait() == 0


def test_what_was_acknowledged_survives_a_kill(server_process: ServerProcess) -> None:
    """SQLite writes with synchronous=FULL; a process that dies loses nothing even without. The rest is `make chaos`."""
    if "DATABASE_URL" in server_process.settings:
        migrated = run("migrate", variables={"DATABASE_URL": server_process.settings["DATABASE_URL"]})
        assert migrated.returncode == 0
    server_process.start()
    with grpc.insecure_channel(server_process.address) as channel:
        admin = Client(channel)
        for number in range(5):
            admin.service(f"service-{number}")
    server_process.kill()
    server_process.start()
    with grpc.insecure_channel(server_process.address) as channel:
        # The login from before still holds: the key that signed it is kept.
        listed = catalog_pb2_grpc.CatalogServiceStub(channel).ListServices(
            catalog_pb2.ListServicesRequest(), metadata=admin.metadata, timeout=10
        )
        assert {service.name for service in listed.services} == {f"service-{number}" for number in range(5)}


# --- what it says of itself


def test_it_logs_one_json_line_a_call(client: Client, process: ServerProcess) -> None:
    """Off a terminal, as here."""
    process.logged.clear()
    name = "one-line"
    catalog_pb2_grpc.CatalogServiceStub(client.channel).CreateService(
        catalog_pb2.CreateServiceRequest(name=name),
        metadata=(*client.metadata, ("x-request-id", "build-42")),
        timeout=10,
    )
    with pytest.raises(grpc.RpcError):
        client.service(name)
    process.stop()
    lines = [json.loads(line) for line in process.logged]
    calls = [line for line in lines if line["event"] == "call" and line["method"] == "CatalogService/CreateService"]
    assert len(calls) == 2
    good, bad = calls
    assert (good["status"], good["user"], good["request_id"]) == ("OK", "admin", "build-42")
    assert 0 < good["ms"] < 5000
    assert (bad["status"], bad["reason"]) == ("ALREADY_EXISTS", "ALREADY_EXISTS")
    assert name not in "".join(process.logged)


def test_versions_are_for_those_who_are_logged_in(client: Client) -> None:
    system = system_pb2_grpc.SystemServiceStub(client.channel)
    outside = system.GetHealth(system_pb2.GetHealthRequest(), timeout=5)
    assert (outside.app.version, outside.database.version) == ("", "")
    inside = system.GetHealth(system_pb2.GetHealthRequest(), metadata=client.metadata, timeout=5)
    assert inside.app.version
    assert inside.database.version == sqlite3.sqlite_version
