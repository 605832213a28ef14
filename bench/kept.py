"""Large data sets, built once for each database and kept under bench/data."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.kit import Kit
from bench.servers import COUNTING, DURABLE, Relman
from tests.services.postgres import PostgresServer

KEPT = Path(__file__).resolve().parent / "data"

Fill = Callable[[str], None]
"""Makes the tables in the empty database of a URL, and fills them."""


@contextmanager
def servers(kit: Kit, name: str, fill: Fill) -> Iterator[Mapping[str, Relman]]:
    """Serve a copy of a data set over each database.

    Args:
        kit: What to serve with.
        name: Of the data set; another one when it, or its tables, changes.
        fill: Builds it, where it is not there yet.
    """
    with ExitStack() as stack:
        postgres = stack.enter_context(_postgres(name, fill))
        data_dir = kit.folder / name
        data_dir.mkdir()
        shutil.copy(_sqlite(name, fill), data_dir / "relman.db")
        yield {"postgresql": kit.relman(postgres.url("kept")), "sqlite": kit.relman(data_dir=str(data_dir))}


def _sqlite(name: str, fill: Fill) -> Path:
    kept = KEPT / f"{name}.db"
    if not kept.exists():
        KEPT.mkdir(exist_ok=True)
        unfinished = kept.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        fill(f"sqlite:///{unfinished}")
        unfinished.rename(kept)
    return kept


@contextmanager
def _postgres(name: str, fill: Fill) -> Iterator[PostgresServer]:
    """Run a PostgreSQL with a copy of what is kept; what is kept is the folder of one that was shut down in order."""
    kept = KEPT / f"{name}.postgres"
    if not kept.exists():
        KEPT.mkdir(exist_ok=True)
        with _server() as server:
            server.start()
            fill(server.url(server.client.create_database("kept")))
            server.stop()
            _copy(server.folder / "data", kept)
    with _server() as server:
        _copy(kept, server.folder / "data")
        server.start()
        yield server


@contextmanager
def _server() -> Iterator[PostgresServer]:
    server = PostgresServer(settings=COUNTING | DURABLE, on_disk=True)
    try:
        yield server
    finally:
        server.remove()


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with its owners, all or nothing."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    subprocess.run(["/bin/cp", "-a", os.fspath(source), os.fspath(unfinished)], check=True)
    unfinished.rename(target)
