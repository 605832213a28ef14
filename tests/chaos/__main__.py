"""`python -m tests.chaos`: see the package."""

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Sequence

from tests.chaos.cluster import SETUPS, started
from tests.chaos.report import Report
from tests.chaos.run import Options, chaos


def main(arguments: Sequence[str] | None = None) -> int:
    """Let everything fail; return the exit status: 0, or 1 when something is wrong."""
    parser = argparse.ArgumentParser("python -m tests.chaos", description="Kill, cut and freeze while everyone works.")
    parser.add_argument("--setup", choices=(*SETUPS, "all"), default="all", help="what serves")
    parser.add_argument("--kills", type=int, default=50, help="of a server, in each setup")
    parser.add_argument("--seed", type=int, help="the same seed lets the same things fail; by default a new one")
    parser.add_argument("--minutes", type=float, default=20.0, help="in each setup, after which nothing new fails")
    asked = parser.parse_args(arguments)
    setups = tuple(SETUPS) if asked.setup == "all" else (asked.setup,)
    seed = secrets.randbelow(10**6) if asked.seed is None else asked.seed
    options = Options(seed, asked.kills, asked.minutes * 60)
    reports = [_run(setup, options) for setup in setups]
    return 0 if all(report.passed for report in reports) else 1


def _run(setup: str, options: Options) -> Report:
    _say(f"python -m tests.chaos --setup {setup} --kills {options.kills} --seed {options.seed}")
    began = time.monotonic()
    with started(setup) as cluster:
        report = asyncio.run(chaos(cluster, options, lambda line: _say(f"{time.monotonic() - began:6.1f} s  {line}")))
    _say(f"\n{report.text()}\n")
    return report


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
