"""The command as a subprocess, against a server in a process of its own."""

import os
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from relman_client import Client
from tests.cli.forked import Done, Forks
from tests.client.conftest import admin, deployment, engine_name, running
from tests.services.relman import ServerProcess

__all__ = ["admin", "deployment", "engine_name", "running"]

RELMAN = Path(sysconfig.get_path("scripts")) / "relman"


@dataclass
class Command:
    """Runs `relman` as its users do.

    Attributes:
        environment: What it finds there, besides the test's own.
    """

    environment: dict[str, str]
    folder: Path
    forks: Forks
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def __call__(self, *arguments: str, input: str = "") -> Done:  # noqa: A002 - as subprocess.run calls it
        """Run it to its end; its output is no terminal."""
        return self.forks.run(arguments, self.environment, self.folder, input, timeout=40)

    def start(self, *arguments: str, **more: Any) -> "subprocess.Popen[str]":
        """Run it in the background; it is killed after the test."""
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        self.started.append(
            subprocess.Popen([RELMAN, *arguments], env=self.environment, cwd=self.folder, text=True, **given)
        )
        return self.started[-1]

    def as_user(self, token: str) -> "Command":
        """The same with another token."""
        return Command(self.environment | {"RELMAN_TOKEN": token}, self.folder, self.forks, self.started)


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """What commands are forked from."""
    process = Forks()
    yield process
    process.close()


@pytest.fixture
def bare(tmp_path: Path, forks: Forks) -> Iterator[Command]:
    """The command of someone who has set up nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RELMAN_", "XDG_"))}
    command = Command(kept | {"HOME": str(tmp_path), "COLUMNS": "100"}, tmp_path, forks)
    yield command
    for process in command.started:
        process.kill()
        process.communicate()


@pytest.fixture
def relman(bare: Command, running: ServerProcess, admin: Client) -> Command:
    """The command of the admin of a running server."""
    assert admin.credentials is not None
    bare.environment |= {"RELMAN_SERVER": running.address, "RELMAN_TOKEN": admin.credentials.access_token}
    return bare
