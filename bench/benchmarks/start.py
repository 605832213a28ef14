"""Starting: time to SERVING and memory at rest of the servers, and time of what a person or a pipeline starts.

relman serves an embedded database, new at first; the peer has PostgreSQL. A server is SERVING when it says so, which
both do when they take calls. Each start is a process of its own.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from bench import servers
from bench.kit import Kit
from bench.rounds import Figures
from bench.tables import Measure, Table

MEASURES = (
    Measure("first", "start to SERVING, new database", "s", less=True),
    Measure("again", "start to SERVING", "s", less=True, budget="<= 1.5 s"),
    Measure("memory", "at rest", "MiB", less=True, budget="<= 120 MiB"),
    Measure("import", "import relman_client", "ms", less=True, budget="<= 200 ms"),
    Measure("help", "relman --help", "ms", less=True, budget="<= 300 ms"),
    Measure("python", "for comparison: an interpreter that does nothing", "ms", less=True),
)
BIN = Path(sys.executable).parent


def run(kit: Kit) -> Table:
    """Measure."""

    def relman() -> Figures:
        data = str(kit.folder / f"start-{time.monotonic_ns()}")
        with servers.relman(kit.folder, data_dir=data) as server:
            first = server.started_in
        with servers.relman(kit.folder, data_dir=data) as server:
            time.sleep(kit.pick(1.0, 0.1))
            again, memory = server.started_in, server.memory
        return {
            "first": first,
            "again": again,
            "memory": memory,
            "import": _took(sys.executable, "-c", "import relman_client"),
            "help": _took(str(BIN / "relman"), "--help"),
            "python": _took(sys.executable, "-c", ""),
        }

    def peer() -> Figures:
        database = kit.database()
        with servers.peer(kit.folder, database) as server:
            first = server.started_in
        with servers.peer(kit.folder, database) as server:
            time.sleep(kit.pick(1.0, 0.1))
            return {"first": first, "again": server.started_in, "memory": server.memory}

    def ceiling() -> Figures:
        with servers.ceiling(kit.folder) as server:
            return {"again": server.started_in, "memory": server.memory}

    contenders = {"peer": peer if kit.with_peer else None, "relman": relman, "ceiling": ceiling}
    return Table(MEASURES, kit.rounds(contenders, warm_ups=0))


def _took(*command: str) -> float:
    """Return how many milliseconds a command takes; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RELMAN_")}
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return (time.monotonic() - started) * 1e3
