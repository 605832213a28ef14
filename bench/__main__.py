"""`python -m bench [NAME ...]`: run benchmarks, print their tables, and keep them under bench/results/."""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import docs, machine, servers, tables
from bench.benchmarks import NAMES, find
from bench.kit import Impossible, Kit
from bench.load.crew import LoadError
from bench.process import ServerError
from relman_client import RelmanError

RESULTS = Path(__file__).resolve().parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks; return the exit status: 0, or 1 when one could not be run."""
    parser = argparse.ArgumentParser(
        "python -m bench", description=f"Measure relman. Benchmarks: {', '.join(NAMES)}; without a name all of them."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to run")
    parser.add_argument("--quick", action="store_true", help="a short round: shows that it works, not how fast")
    parser.add_argument("--without-peer", action="store_true", help="leave the peer out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where to write JSON")
    parser.add_argument(
        "--docs", action="store_true", help="put the newest tables into docs/performance.md, run nothing"
    )
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and folders go with it
    if unknown := sorted(set(asked.names) - set(NAMES)):
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if asked.docs:
        _say(docs.update(asked.results))
        return 0
    quick = asked.quick or os.environ.get("QUICK", "0") not in {"", "0"}
    missing = "--without-peer was given" if asked.without_peer else servers.peer_is_missing()
    if missing:
        _say(f"without the peer: {missing}\n")
    runs = [_run(name, asked.results, quick=quick, with_peer=not missing) for name in asked.names or NAMES]
    return 0 if all(runs) else 1


def _run(name: str, results: Path, *, quick: bool, with_peer: bool) -> bool:
    title, run = find(name)
    command = shlex.join(["python", "-m", "bench", name, *(["--quick"] if quick else [])])
    described = machine.describe()
    _say(f"{name}: {title}\n$ {command}\n{', '.join(f'{key} {value}' for key, value in described.items())}\n")
    started = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="relman-bench-") as folder,
            Kit(Path(folder), quick=quick, with_peer=with_peer) as kit,
        ):
            table = run(kit)
            table.notes += filter(None, [kit.load_note()])
    except Impossible as reason:
        _say(f"skipped: {reason}\n")
        return True
    except (LoadError, ServerError, RelmanError, OSError, subprocess.CalledProcessError) as error:
        _say(f"FAILED: {error}\n")
        return False
    seconds = time.monotonic() - started
    document = table.document(
        benchmark=name, title=title, command=command, quick=quick, seconds=round(seconds, 1), machine=described
    )
    file = tables.write(results, f"{name}.quick" if quick else name, document)
    _say(f"{table.markdown()}\n\n{seconds:.0f} s; {os.path.relpath(file)} has every round\n")
    return True


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
