"""A short run on each engine; and that a run notices what is left of those who are gone."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.target import served
from tests.services.postgres import free_port
from tests.soak.holdings import Holdings
from tests.soak.report import Report
from tests.soak.run import Options, soak

QUIET = Holdings(streams=0, calls=0, connections=0, tasks=12, memory=100_000.0)


async def test_nothing_is_left_of_streams_that_were_left(engine_name: str, database_url: str, tmp_path: Path) -> None:
    """Fails when a feed of the hub stays as its last follower goes, or when a handler ends without its tasks."""
    metrics = f"127.0.0.1:{free_port()}"
    async with served(engine_name, database_url, tmp_path, METRICS_LISTEN=metrics) as target:
        report = await soak(target, metrics, Options(cycles=150, seed=3))
    assert report.passed, report.text()
    assert report.cycles.total() == 2 * 150, "to warm up, and after that"
    assert len(report.cycles) == 20, "every kind is left at every moment"


def _report(after: Holdings, cycles: int = 20_000, complaints: int = 0) -> Report:
    counts = Counter({"tail, left before anything": cycles})
    complained = +Counter({"log: oops": complaints})
    return Report("--seed 7", QUIET, 4_000, after, counts, [QUIET, after], complained)


def test_a_run_that_left_nothing_passes() -> None:
    report = _report(replace(QUIET, memory=QUIET.memory + 16 * 150))
    assert report.passed
    assert "growth for every 1,000 streams: 150 KiB (at most 150)" in report.text()
    assert report.text().endswith("PASS: 0 faults")


@pytest.mark.parametrize(
    ("left", "says"),
    [
        ({"streams": 1}, "1 streams are open"),
        ({"calls": 2}, "2 calls are under way"),
        ({"connections": 1}, "1 connections of the database are in use"),
        ({"tasks": 14}, "2 tasks are left"),
        ({"memory": QUIET.memory + 16 * 151}, "it grew by 151 KiB"),
    ],
)
def test_what_is_left_is_a_fault(left: dict[str, Any], says: str) -> None:
    report = _report(replace(QUIET, **left))
    assert not report.passed
    assert f"FAULT {says}" in report.text()


def test_what_the_log_complains_of_is_a_fault() -> None:
    assert "FAULT the log complains 3 times: log: oops" in _report(QUIET, complaints=3).text()


def test_memory_is_not_judged_while_the_server_warms_up() -> None:
    grown = replace(QUIET, memory=QUIET.memory * 2)
    assert _report(grown, cycles=8_999).passed
    assert not _report(grown, cycles=9_000).passed
