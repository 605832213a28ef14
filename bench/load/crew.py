"""Processes that make load, all from the same moment on."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Protocol, Self

from bench.process import ROOT, environment

START_DELAY = 0.05
PATIENCE = 120.0
"""Seconds that a process may take to prepare, and to end after its time."""


class LoadError(Exception):
    """The load could not be made, or the server did not answer as it must."""


class Job(Protocol):
    """Load that one process makes. What it is asked for is pickled; what it opens is not."""

    def prepare(self) -> None:
        """Connect."""

    def run(self, start_at: float) -> Any:
        """Make the load from this moment of the monotonic clock on; return what came of it."""

    def close(self) -> None:
        """Leave."""


def _nothing() -> None:
    return


class Crew:
    """Processes, started when they are needed and ended with the block.

    Attributes:
        busiest: The largest part of its time that one of them computed in the last run, 0 to 1. One that never waits
            measures itself.
    """

    def __init__(self) -> None:
        self.busiest = 0.0
        self._pipes: list[Connection] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def _hire(self) -> None:
        mine, theirs = Pipe()
        # Not multiprocessing's own way to start one, which imports the program that starts it over again.
        command = [sys.executable, "-m", "bench.load.worker", str(theirs.fileno())]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), pass_fds=[theirs.fileno()])
        theirs.close()
        self._pipes.append(mine)
        self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()  # which is how a worker learns that there is no more to do
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(
        self, jobs: Sequence[Job], started: Callable[[], None] = _nothing, during: Callable[[], None] = _nothing
    ) -> list[Any]:
        """Run the jobs at the same time, each in a process, and return what came of each.

        Args:
            jobs: What to run.
            started: Called when all are prepared, just before they start.
            during: Called when they have started.

        Raises:
            LoadError: When one failed.
        """
        while len(self._pipes) < len(jobs):
            self._hire()
        pipes = self._pipes[: len(jobs)]
        for pipe, job in zip(pipes, jobs, strict=True):
            pipe.send(job)
        for pipe in pipes:
            _receive(pipe)
        started()
        start_at = time.monotonic() + START_DELAY
        for pipe in pipes:
            pipe.send(start_at)
        during()
        ended = [_receive(pipe) for pipe in pipes]
        self.busiest = max(busy for _, busy in ended)
        return [result for result, _ in ended]


def _receive(pipe: Connection) -> Any:
    if not pipe.poll(PATIENCE):
        raise LoadError(f"a process that makes load did not answer within {PATIENCE:.0f} s")
    try:
        problem, result = pipe.recv()
    except EOFError:
        raise LoadError("a process that makes load ended") from None
    if problem:
        raise LoadError(problem)
    return result
