"""The metrics as CSV: one line for each number, for spreadsheets and everything else."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from relman_client.cli.dora_data import KEYS, MORE_KEYS, Report
from relman_client.cli.dora_words import band_of
from relman_client.v1 import analytics_pb2 as pb

HEADER = (
    "of", "name", "first_day", "last_day", "metric", "value", "unit", "band", "sample_size", "excluded", "p90", "mean"
)  # fmt: skip
# What a spreadsheet would run, or pass on to one that does.
_FORMULA = re.compile(r"[=+\-@\t\r]")


def write(report: Report, file: Path) -> None:
    """Write every number of a report, as RFC 4180 says."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\r\n")
        writer.writerow(HEADER)
        writer.writerows(_lines(report))


def _lines(report: Report) -> Iterator[list[str]]:
    first, last = str(report.asked.first), str(report.asked.last)
    yield from _of("all", "", first, last, report.summary)
    for part in report.parts:
        yield from _of("part", "", str(part.first), str(part.last), part.metrics)
    for service in report.services:
        yield from _of("service", service.service_name, first, last, service.metrics)
    for place in report.environments:
        yield from _of("environment", place.environment_name, first, last, place.metrics)


def _of(what: str, name: str, first: str, last: str, summary: pb.MetricsSummary) -> Iterator[list[str]]:
    for key in (*KEYS, *MORE_KEYS):
        metric = key.of(summary)
        value, p90, mean = (
            repr(getattr(metric, field)) if metric.HasField(field) else "" for field in ("value", "p90", "mean")
        )
        sizes = [str(metric.sample_size), str(metric.excluded)]
        yield [what, inert(name), first, last, key.field, value, metric.unit, band_of(metric), *sizes, p90, mean]


def inert(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text
