"""A server process that does not outlive the tests, however they end."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psutil

# Runs "$@" in the background and waits for a line on standard input, the name of the signal to end it with. When the
# input ends without a line, the tests died (kill -9 included): it ends the server and removes its folder. A parent
# death signal would not do, since it fires when the *thread* that started the server ends.
SUPERVISOR = """
folder=$1; shift
"$@" >>"$folder/log" 2>&1 </dev/null &
child=$!
echo "$child" >"$folder/pid.new" && mv "$folder/pid.new" "$folder/pid"
if read -r signal; then
  kill -"$signal" "$child" 2>/dev/null
  wait "$child"
else
  kill -CONT "$child" $(cat "/proc/$child/task/$child/children") 2>/dev/null
  kill -QUIT "$child" 2>/dev/null
  sleep 1
  kill -KILL "$child" 2>/dev/null
  wait "$child"
  rm -rf "$folder"
fi
"""


ROOM = 2 * 1024**3
DISK = Path("/tmp")


class ServiceError(Exception):
    """A service did not start or does not answer; the message has the end of its log."""


class ServerProcess:
    """A supervised server with a folder of its own, whose path is short enough for a socket in it.

    Args:
        name: Begins the folder's name.
        on_disk: Make the folder on disk rather than in memory.
    """

    def __init__(self, name: str, *, on_disk: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=DISK if on_disk else _place()))
        self._supervisor: subprocess.Popen[str] | None = None

    @property
    def log(self) -> str:
        """The last lines the server wrote, over all its starts."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-20:])
        return ""

    @property
    def process(self) -> psutil.Process:
        """The server itself; raises psutil.NoSuchProcess when it is gone."""
        return psutil.Process(int((self.folder / "pid").read_text()))

    @property
    def running(self) -> bool:
        """Whether the process is there; it may not answer yet."""
        try:
            return self.process.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, psutil.NoSuchProcess):
            return False

    def launch(self, command: list[str]) -> None:
        """Start the command and return at once."""
        (self.folder / "pid").unlink(missing_ok=True)
        self._supervisor = subprocess.Popen(
            ["sh", "-c", SUPERVISOR, "supervisor", str(self.folder), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for pytest, which then stops the server
        )

    def await_ready(self, answers: Callable[[], bool], timeout: float = 30) -> None:
        """Return when it answers; raise ServiceError when it died or the seconds have passed."""
        deadline = time.monotonic() + timeout
        while not answers():
            died = (self.folder / "pid").exists() and not self.running
            if died or time.monotonic() > deadline:
                self.end(signal.SIGKILL)
                problem = "died" if died else f"did not answer within {timeout} s"
                raise ServiceError(f"{self.folder.name} {problem}:\n{self.log}")
            time.sleep(0.02)

    def end(self, how: signal.Signals) -> None:
        """Send the signal and return when the process is gone; harmless when it already is."""
        if self._supervisor is None:
            return
        family = self._family()
        if how is not signal.SIGKILL:
            _resume(family)
        with contextlib.suppress(BrokenPipeError):
            self._supervisor.communicate(how.name.removeprefix("SIG") + "\n", timeout=30)
        self._supervisor = None
        _resume(family)  # children that were frozen notice the death of their parent only now
        psutil.wait_procs(family, timeout=10)  # they would be in the way of a new start

    def kill(self) -> None:
        """End it as a crash would: kill -9."""
        self.end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it and its children where they are: connections stay open and nothing answers."""
        family = self._family()
        for process in family:
            process.suspend()
        for process in family:  # a signal is only on its way when kill() returns
            while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
                time.sleep(0.001)

    def thaw(self) -> None:
        """Let it go on."""
        _resume(self._family())

    def remove(self) -> None:
        """Kill it if it runs, and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _family(self) -> list[psutil.Process]:
        try:
            return [self.process, *self.process.children(recursive=True)]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []

    def start(self) -> None:
        """Start and return when it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop in good order and keep the data."""
        raise NotImplementedError

    def restart(self) -> None:
        """Stop and start; the data and the address stay."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _place() -> Path:
    """Return where folders are made: in memory where there is room, since copying a database there takes a tenth."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    return memory if roomy else DISK


def _resume(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
