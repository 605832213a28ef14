"""`python -m tests.fuzz`: see the package."""

import argparse
import asyncio
import secrets
import sys
from collections.abc import Sequence

from tests.fuzz.report import Report
from tests.fuzz.run import Options, fuzz
from tests.fuzz.target import started

ENGINES = ("sqlite", "postgresql")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; return the exit status: 0, or 1 when something is wrong."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description="Call every RPC with what nobody would send.")
    parser.add_argument("--operations", type=int, default=100_000, help="in all; halved between the engines")
    parser.add_argument("--seed", type=int, help="the same seed sends the same requests; by default a new one")
    parser.add_argument("--engine", choices=(*ENGINES, "both"), default="both", help="of the server's database")
    parser.add_argument("--minutes", type=float, default=20.0, help="after which no more operations are begun")
    parser.add_argument("--in-flight", type=int, default=16, help="operations under way at any time")
    parser.add_argument("--only", type=int, metavar="OPERATION", help="repeat this one alone")
    parser.add_argument("--rpc", default="", metavar="TEXT", help="only RPCs with this in their name")
    asked = parser.parse_args(arguments)
    engines = ENGINES if asked.engine == "both" else (asked.engine,)
    options = Options(
        seed=secrets.randbelow(10**6) if asked.seed is None else asked.seed,
        operations=asked.operations // len(engines),
        only=asked.only,
        in_flight=asked.in_flight,
        seconds=asked.minutes * 60 / len(engines),
        rpc=asked.rpc,
    )
    if not options.rpcs:
        parser.error(f"no RPC has {asked.rpc} in its name")
    reports = [asyncio.run(_fuzz(engine, options)) for engine in engines]
    return 0 if all(report.passed for report in reports) else 1


async def _fuzz(engine: str, options: Options) -> Report:
    _say(f"python -m tests.fuzz {options.command(engine)}")
    async with started(engine) as target:
        report = await fuzz(target, options, _say)
    _say(report.text())
    return report


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
