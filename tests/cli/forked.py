"""Runs `relman` in processes that are forked from one that has imported everything: importing is most of what it costs.

They are real processes, with streams, an environment and a folder of their own. What they lack is a parent of the
test's process, so what is to get signals is started in the ordinary way.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from pkgutil import iter_modules

from typer.main import get_command

import relman_client
from relman_client import cli, v1
from relman_client.cli.main import app, main

Done = subprocess.CompletedProcess[str]

# What the command's modules import when they are called.
LATER = ("rich.console", "rich.table", "yaml")


class Forks:
    """The process that everything is forked from."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd=Path(__file__).parents[2],
                # The first as the command does before it imports gRPC; the second is of no use without channels.
                env=os.environ | {"GRPC_VERBOSITY": "NONE", "GRPC_ENABLE_FORK_SUPPORT": "0"},
            )

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, said: str, timeout: float
    ) -> Done:
        """Run `relman` to its end.

        Args:
            arguments: After the command's name.
            environment: All there is of it.
            folder: Where it runs.
            said: Its standard input.
            timeout: Seconds after which it is killed, and TimeoutError raised.
        """
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            stdin.write(said.encode())
            stdin.seek(0)
            order = json.dumps([list(arguments), dict(environment), str(folder), timeout]).encode()
            socket.send_fds(self._socket, [order], [stdin.fileno(), out.fileno(), err.fileno()])
            status = int(self._socket.recv(64))
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode())
        if status == -signal.SIGALRM:
            raise TimeoutError(f"relman {' '.join(arguments)} did not end: {texts}")
        return Done(["relman", *arguments], status, *texts)

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait(10)


def _serve(orders: socket.socket) -> None:
    """Fork for each order, until there is nobody left to give one."""
    while True:
        message, streams, _, _ = socket.recv_fds(orders, 2**20, 3)
        if not message:
            return
        child = os.fork()
        if child == 0:
            orders.close()
            arguments, environment, folder, timeout = json.loads(message)
            _become_relman(arguments, environment, folder, timeout, streams)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(child, 0)
        orders.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become_relman(
    arguments: list[str], environment: dict[str, str], folder: str, timeout: float, streams: list[int]
) -> None:
    status = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv = ["relman", *arguments]
        signal.setitimer(signal.ITIMER_REAL, timeout)
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the last frame of a process
        traceback.print_exc()
    for output in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            output.flush()
    os._exit(status)


def _import_everything() -> None:
    packages = relman_client, cli, v1
    modules = [f"{package.__name__}.{found.name}" for package in packages for found in iter_modules(package.__path__)]
    for name in (*LATER, *modules):
        importlib.import_module(name)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # and what typer imports at a call
        get_command(app).main(["team", "list", "--help"], standalone_mode=False)
    gc.freeze()  # so that no child copies what it only looks at


if __name__ == "__main__":
    _import_everything()
    with socket.socket(fileno=int(sys.argv[1])) as given:
        _serve(given)
