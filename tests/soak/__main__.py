"""`python -m tests.soak`: see the package."""

import argparse
import asyncio
import secrets
import sys
from collections.abc import Sequence

from tests.fuzz.target import started
from tests.services.postgres import free_port
from tests.soak.report import Report
from tests.soak.run import Options, soak

ENGINES = ("sqlite", "postgresql")


def main(arguments: Sequence[str] | None = None) -> int:
    """Open and leave streams; return the exit status: 0, or 1 when something is left of them."""
    parser = argparse.ArgumentParser("python -m tests.soak", description="Open streams and leave them.")
    parser.add_argument("--cycles", type=int, default=20_000, help="streams, on each engine")
    parser.add_argument("--seed", type=int, help="what chance comes from; by default a new one")
    parser.add_argument("--engine", choices=(*ENGINES, "both"), default="both", help="of the server's database")
    parser.add_argument("--minutes", type=float, default=20.0, help="on each engine, after which none is opened")
    parser.add_argument("--at-once", type=int, default=32, help="streams open at any time")
    parser.add_argument("--only", default="", metavar="TEXT", help='those with this in what they are: "tail, left"')
    asked = parser.parse_args(arguments)
    engines = ENGINES if asked.engine == "both" else (asked.engine,)
    seed = secrets.randbelow(10**6) if asked.seed is None else asked.seed
    options = Options(asked.cycles, seed, asked.at_once, asked.minutes * 60, asked.only)
    reports = [asyncio.run(_soak(engine, options)) for engine in engines]
    return 0 if all(report.passed for report in reports) else 1


async def _soak(engine: str, options: Options) -> Report:
    _say(f"python -m tests.soak --engine {engine} --cycles {options.cycles} --seed {options.seed}")
    metrics = f"127.0.0.1:{free_port()}"
    async with started(engine, METRICS_LISTEN=metrics, LOG_QUOTA_BYTES=str(1 << 30)) as target:
        report = await soak(target, metrics, options, _say)
    _say(report.text())
    return report


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
