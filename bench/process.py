"""Server processes that say when they serve, and do not outlive who started them."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class ServerError(Exception):
    """A server did not start, or did not answer as it must."""


def environment() -> dict[str, str]:
    """Return this process's variables without those that would change a server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RELMAN_", "PYTHONPATH"))}


def _end_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def serving(command: list[str], variables: Mapping[str, str], log: Path) -> Iterator[tuple[str, int, float]]:
    """Run a server that says when it is serving, and on which address; yield that, its pid, and how long it took."""
    started = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment(), **variables},
            stdout=output,  # to a file, as a service's is: a pipe that nobody reads would hold it up
            stderr=output,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - it takes no lock
        )
    try:
        address = _address(process, log, started + START_SECONDS)
        yield address, process.pid, time.monotonic() - started
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: "subprocess.Popen[bytes]", log: Path, deadline: float) -> str:
    """Wait for the line that says where the server serves."""
    while process.poll() is None and time.monotonic() < deadline:
        for line in log.read_text(errors="replace").splitlines(keepends=True):
            if " is serving on " in line and line.endswith("\n"):
                return line.split()[-1]
        time.sleep(0.005)
    raise ServerError(f"a server did not start: {log.read_text(errors='replace')[-2000:]}")
