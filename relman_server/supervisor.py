"""Several processes that serve on one port: started, watched, and replaced when they end.

This process serves nothing, and imports nothing of the server: it holds the port, which the others share, and waits.
The first worker is started alone. When it cannot start, that is said once, and is the end of it.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from queue import SimpleQueue

import structlog

from relman_server.kernel import log_format
from relman_server.settings import Settings

OF = "RELMAN_WORKER_OF"
"""Tells a worker the process that watches it."""
SERVING = "relman is serving on "
SOON = 0.5
"""Seconds until a worker that ended early is replaced; twice as many each time it does so again."""
LONGEST = 30.0
LIVED = 60.0
"""Seconds after which an end is no longer an early one."""
PR_SET_PDEATHSIG = 1

log = structlog.get_logger(__name__)


class _What(Enum):
    SERVES = "serves"
    ENDED = "ended"
    DUE = "due"
    STOP = "stop"


_Event = tuple[_What, int]


@dataclass
class _Worker:
    """One place among the workers, and the process that has it."""

    number: int
    process: "subprocess.Popen[str] | None" = None
    since: float = 0.0
    serves: bool = False
    early_ends: int = 0

    @property
    def is_alive(self) -> bool:
        """Whether there is a process that has not ended."""
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Starts workers, and sees to it that there are as many as there should be.

    Args:
        chosen: The settings.
        arguments: Those of this process, which the workers get, too.
    """

    def __init__(self, chosen: Settings, arguments: Sequence[str]) -> None:
        self._chosen = chosen
        self._arguments = list(arguments)
        self._workers = [_Worker(number) for number in range(chosen.workers)]
        self._events: SimpleQueue[_Event] = SimpleQueue()
        self._address = ""
        self._is_announced = False
        self._is_stopping = False
        self._status = 0

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit status. Raises OSError when the address cannot be used."""
        level, form = self._chosen.log_level, self._chosen.log_format
        log_format.configure(level, json=None if form is None else form == "json")
        for told in (signal.SIGTERM, signal.SIGINT):
            signal.signal(told, lambda *_: self._events.put((_What.STOP, 0)))
        with _held(self._chosen.listen) as self._address:
            self._start(self._workers[0])
            while not self._is_stopping or any(worker.is_alive for worker in self._workers):
                what, number = self._events.get()
                self._handle(what, self._workers[number])
        return self._status

    def _handle(self, what: _What, worker: _Worker) -> None:
        if what is _What.STOP:
            self._stop()
        elif what is _What.SERVES:
            self._serves(worker)
        elif what is _What.ENDED:
            self._ended(worker)
        elif not self._is_stopping:
            self._start(worker)

    def _start(self, worker: _Worker) -> None:
        arguments = [*self._arguments, "--listen", self._address, "--workers", "1"]
        if self._chosen.metrics_listen:
            host, _, port = self._chosen.metrics_listen.rpartition(":")
            arguments += ["--metrics-listen", f"{host}:{int(port) + worker.number}"]
        worker.serves = False
        worker.since = time.monotonic()
        worker.process = subprocess.Popen(  # noqa: S603 - this program, with the arguments it was given
            [sys.executable, "-m", "relman_server", *arguments],
            env=os.environ | {OF: str(os.getpid())},
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._follow, args=(worker.number, worker.process), daemon=True).start()

    def _follow(self, number: int, process: "subprocess.Popen[str]") -> None:
        """Pass on what a worker says, but not that it serves: that is said once for all. In a thread of its own."""
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(SERVING):
                self._events.put((_What.SERVES, number))
            else:
                sys.stdout.write(line)
                sys.stdout.flush()
        process.wait()
        self._events.put((_What.ENDED, number))

    def _serves(self, worker: _Worker) -> None:
        worker.serves = True
        if not self._is_stopping and not self._is_announced:
            for other in self._workers:
                if other.process is None:
                    self._start(other)
            if all(other.serves for other in self._workers):
                self._is_announced = True
                sys.stdout.write(f"{SERVING}{self._address}\n")
                sys.stdout.flush()

    def _ended(self, worker: _Worker) -> None:
        process = worker.process
        assert process is not None
        if self._is_stopping:
            return
        if not any(each.serves for each in self._workers):
            self._status = max(process.returncode, 1)  # it has said why
            self._stop()
            return
        worker.serves = False
        early = time.monotonic() - worker.since < LIVED
        worker.early_ends = worker.early_ends + 1 if early else 0
        pause = min(SOON * 2 ** (worker.early_ends - 1), LONGEST) if early else 0.0
        log.warning("a worker ended and is replaced", pid=process.pid, status=process.returncode, in_seconds=pause)
        timer = threading.Timer(pause, lambda: self._events.put((_What.DUE, worker.number)))
        timer.daemon = True
        timer.start()

    def _stop(self) -> None:
        self._is_stopping = True
        for worker in self._workers:
            if worker.is_alive and worker.process is not None:
                worker.process.send_signal(signal.SIGTERM)


@contextmanager
def _held(address: str) -> Iterator[str]:
    """Hold a port that the workers share while the block runs; yields the address with the port in it.

    Raises OSError when somebody else has it, also somebody who would share it.
    """
    host, _, port = address.rpartition(":")
    try:
        family, kind, _, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(place)
            place = alone.getsockname()
        with socket.socket(family, kind) as shared:
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared.bind(place)
            yield f"{host}:{shared.getsockname()[1]}"
    except OSError as error:
        raise OSError(f"cannot listen on {address}: {error.strerror}") from error


def is_worker() -> bool:
    """Whether this process is one of several that share a port."""
    return OF in os.environ


def end_with_supervisor() -> None:
    """Let this worker be told to stop when the process that watches it is gone, however that ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(os.environ[OF]):  # it was gone before that
        os.kill(os.getpid(), signal.SIGTERM)
