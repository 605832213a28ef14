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
QUICK = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "8GB", "maintenance_work_mem": "512MB"}
"""Settings of PostgreSQL while a data set is built."""

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
        url = stack.enter_context(postgres(name, fill))
        data_dir = kit.folder / name
        data_dir.mkdir()
        shutil.copy(_sqlite(name, fill), data_dir / "relman.db")
        yield {"postgresql": kit.relman(url), "sqlite": kit.relman(data_dir=str(data_dir))}


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
def postgres(name: str, fill: Fill) -> Iterator[str]:
    """Run a PostgreSQL with a copy of a data set; yield the URL of its database. Arguments as of `servers`.

    What is kept is the folder of one that was shut down in order, and so complete, though it did not wait for the disk.
    """
    kept = KEPT / f"{name}.postgres"
    if not kept.exists():
        KEPT.mkdir(exist_ok=True)
        with PostgresServer(settings=COUNTING | QUICK, on_disk=True) as server:
            fill(server.url(server.client.create_database("kept")))
            server.stop()
            _copy(server.folder / "data", kept)
    server = PostgresServer(settings=COUNTING | DURABLE, on_disk=True)
    try:
        _copy(kept, server.folder / "data")
        server.start()
        yield server.url("kept")
    finally:
        server.remove()


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with its owners, all or nothing."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    subprocess.run(["/bin/cp", "-a", os.fspath(source), os.fspath(unfinished)], check=True)
    unfinished.rename(target)
