"""A server in a process of its own for all tests of the client: its calls block, and the tests' own loop must not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relman_client import Client
from tests.client.pipelines import start_deployment
from tests.services.relman import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess


@pytest.fixture
def engine_name(request: pytest.FixtureRequest) -> str:
    """SQLite; the others by `@pytest.mark.parametrize("engine_name", ENGINES, indirect=True)`."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that stays up."""
    process = ServerProcess(tmp_path_factory.mktemp("server") / "data").start()
    yield process
    process.kill()
    assert process.process is not None
    for pipe in (process.process.stdout, process.process.stderr):
        if pipe is not None:
            pipe.close()


@pytest.fixture
def admin(running: ServerProcess) -> Iterator[Client]:
    """Calls it as its admin."""
    with Client(running.address) as client:
        client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        yield client


@pytest.fixture
def deployment(admin: Client) -> str:
    """A deployment in progress with the stages build and test."""
    return start_deployment(admin, "build", "test")


@pytest.fixture
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own for what the command remembers."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path
