"""`python -m bench.load.worker FD`: one process of a crew."""

import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from bench.load.crew import Job, LoadError


def work(pipe: Connection) -> None:
    """Run the jobs that come through the pipe, until it is closed."""
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            job: Job = pipe.recv()
            try:
                job.prepare()
                pipe.send(("", None))
                start_at: float = pipe.recv()
                time.sleep(max(start_at - time.monotonic(), 0.0))
                pipe.send(("", _measured(job, start_at)))
            except (LoadError, ConnectionError) as error:
                pipe.send((f"{type(job).__name__}: {error}", None))
            finally:
                job.close()


def _measured(job: Job, start_at: float) -> tuple[Any, float]:
    """Return what came of a job, and which part of its time was computing."""
    computed = time.process_time()
    result = job.run(start_at)
    return result, (time.process_time() - computed) / (time.monotonic() - start_at)


if __name__ == "__main__":
    work(Connection(int(sys.argv[1])))
