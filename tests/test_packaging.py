"""What is shipped: the two wheels, and the client in an environment that has nothing else."""

import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from relman_client.v1 import release_pb2_grpc
from tests.services.relman import ADMIN_PASSWORD, ServerProcess

ROOT = Path(__file__).parent.parent
CLIENT_REQUIREMENTS = {"grpcio", "protobuf", "googleapis-common-protos"}
TYPE_STUBS = {"types-grpcio", "types-protobuf"}

CLIENT_CODE = """
import grpc
import grpc.aio
from relman_client.v1 import release_pb2, release_pb2_grpc

request = release_pb2.CreateReleaseRequest(service="checkout", version="1.4.2")

def create(channel: grpc.Channel) -> str:
    return release_pb2_grpc.ReleaseServiceStub(channel).CreateRelease(request, timeout=5).version

async def create_async(channel: grpc.aio.Channel) -> str:
    release = await release_pb2_grpc.ReleaseServiceStub(channel).CreateRelease(request, timeout=5)
    return release.version
"""
MISTAKES = {
    "a misspelt request field": ("version=", "versoin=", 'Unexpected keyword argument "versoin"'),
    "a wrong type in a request": ('"1.4.2"', "142", 'incompatible type "int"'),
    "a field the answer has not": ("timeout=5).version", "timeout=5).versoin", 'has no attribute "versoin"'),
    "an RPC that does not exist": ("CreateRelease(request", "MakeRelease(request", 'has no attribute "MakeRelease"'),
    "another RPC's request": ("CreateReleaseRequest(service=", "GetReleaseRequest(release=", "GetReleaseRequest"),
    "a forgotten await": ("await release_pb2_grpc", "release_pb2_grpc", "await"),
}


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it says."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def build_wheel(project: Path, output: Path) -> Path:
    """Build a wheel as a release would, without fetching anything."""
    built = run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", output, cwd=project)
    assert built.returncode == 0, built.stderr
    return next(output.glob("*.whl"))


def with_dependencies(names: set[str]) -> set[str]:
    """The distributions and all they require, without extras."""
    found: set[str] = set()
    todo = [canonicalize_name(name) for name in names]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            requirements = [Requirement(line) for line in metadata.requires(name) or []]
            applying = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
            todo += [canonicalize_name(requirement.name) for requirement in applying]
    return found


def copy_distribution(name: str, target: Path) -> None:
    """Install a distribution by copying it from this environment: no index, no cache, no network."""
    for file in metadata.files(name) or []:
        if ".." not in file.parts and "__pycache__" not in file.parts:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target / file)


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT / "relman_client", tmp_path_factory.mktemp("client_wheel"))


@pytest.fixture(scope="module")
def client_python(client_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the client's wheel and what that asks for."""
    folder = tmp_path_factory.mktemp("client_environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site_packages = next(folder.glob("lib/python*/site-packages"))
    for name in with_dependencies(CLIENT_REQUIREMENTS | TYPE_STUBS):
        copy_distribution(name, site_packages)
    installed = run(
        sys.executable, "-m", "pip", "--python", python, "install", "-qq", "--no-index", "--no-deps", client_wheel
    )
    assert installed.returncode == 0, installed.stderr
    return python


def test_the_client_wheel_has_the_contract_and_its_types(client_wheel: Path) -> None:
    names = set(zipfile.ZipFile(client_wheel).namelist())
    source = {
        str(path.relative_to(ROOT)) for path in (ROOT / "relman_client").rglob("*") if path.suffix in {".py", ".pyi"}
    }
    assert source <= names
    assert {"relman_client/py.typed", "relman_client/v1/release_pb2.pyi"} <= names
    assert all(name.startswith(("relman_client/", "relman_client-")) for name in names)
    assert "relman_client/pyproject.toml" not in names


def test_the_server_wheel_has_the_server_alone(tmp_path: Path) -> None:
    names = set(zipfile.ZipFile(build_wheel(ROOT, tmp_path)).namelist())
    source = {str(path.relative_to(ROOT)) for path in (ROOT / "relman_server").rglob("*.py")}
    assert source | {"relman_server/py.typed"} <= names
    assert all(name.startswith(("relman_server/", "relman_server-")) for name in names)


def test_the_client_requires_three_distributions_new_enough_for_the_generated_code() -> None:
    requirements = [Requirement(line) for line in metadata.requires("relman-client") or []]
    always = {r.name: r.specifier for r in requirements if r.marker is None}
    assert set(always) == CLIENT_REQUIREMENTS

    generated = (ROOT / "relman_client" / "v1" / "release_pb2.py").read_text()
    protobuf = re.search(r"^# Protobuf Python Version: (\S+)", generated, re.MULTILINE)
    assert protobuf is not None
    needed = {"grpcio": release_pb2_grpc.GRPC_GENERATED_VERSION, "protobuf": protobuf[1]}
    for name, version in needed.items():
        lowest = [Version(s.version) for s in always[name] if s.operator == ">="]
        assert lowest == [Version(version)], f"{name}: require >={version}, which generated the code"


def test_the_client_works_with_its_three_requirements_alone(client_python: Path) -> None:
    """It would fail with another import anywhere in the library; the command may ask for its extra."""
    checked = run(sys.executable, "-m", "pip", "--python", client_python, "check")
    assert checked.returncode == 0, checked.stdout
    import_all = (
        "import importlib, pkgutil, relman_client\n"
        "modules = [m.name for m in pkgutil.walk_packages(relman_client.__path__, 'relman_client.')\n"
        "           if not m.name.startswith('relman_client.cli')]\n"
        "for name in modules: importlib.import_module(name)\n"
        "print(relman_client.__file__, *modules)"
    )
    imported = run(client_python, "-I", "-c", import_all)
    assert imported.returncode == 0, imported.stderr
    assert str(client_python.parent.parent) in imported.stdout
    assert "relman_client.v1.release_pb2_grpc" in imported.stdout


CALL = """
import sys
from relman_client import Client, RelmanError
from relman_client.v1 import auth_pb2, system_pb2

address, password = sys.argv[1:]
with Client(address) as client:
    token = client.auth.Login(auth_pb2.LoginRequest(login="admin", password=password)).access_token
with Client(address, token=token) as client:
    print(client.auth.GetCurrentUser(auth_pb2.GetCurrentUserRequest()).username)
    print(client.system.GetServerInfo(system_pb2.GetServerInfoRequest()).database_engine)
try:
    with Client(address) as client:
        client.auth.GetCurrentUser(auth_pb2.GetCurrentUserRequest())
except RelmanError as error:
    print(error.reason)
"""


def test_the_client_calls_a_server_with_its_three_requirements_alone(client_python: Path, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data").start()
    try:
        called = run(client_python, "-I", "-c", CALL, server.address, ADMIN_PASSWORD, cwd=tmp_path)
    finally:
        server.kill()
    assert called.returncode == 0, called.stderr
    assert called.stdout.split() == ["admin", "sqlite", "TOKEN_MISSING"]


def test_mypy_strict_accepts_client_code_and_finds_each_mistake(client_python: Path, tmp_path: Path) -> None:
    """In one run, as a user of the client runs it: mypy reads the library each time."""
    (tmp_path / "right.py").write_text(CLIENT_CODE)
    files = {mistake: f"mistake_{number}.py" for number, mistake in enumerate(MISTAKES)}
    for mistake, (right, wrong, _) in MISTAKES.items():
        assert right in CLIENT_CODE
        (tmp_path / files[mistake]).write_text(CLIENT_CODE.replace(right, wrong))
    checked = run(
        *(sys.executable, "-m", "mypy", "--strict", "--python-executable", client_python, "--config-file="),
        *("right.py", *files.values()),
        cwd=tmp_path,
    )
    said = {
        mistake: [line for line in checked.stdout.splitlines() if line.startswith(files[mistake])] for mistake in files
    }
    for mistake, (_, _, message) in MISTAKES.items():
        assert any(message in line for line in said[mistake]), f"{mistake}: {checked.stdout}"
    assert "right.py" not in checked.stdout
    assert f"errors in {len(MISTAKES)} files" in checked.stdout
