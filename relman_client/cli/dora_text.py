"""The metrics in a terminal: numbers with their bands, sparklines, a chart, and tables."""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import TextIO

from relman_client.cli import dora_words as words
from relman_client.cli.ansi import cut, width_of
from relman_client.cli.dora_data import KEYS, MORE_KEYS, Key, Report
from relman_client.cli.output import Columns, print_rows
from relman_client.cli.text import coloured, counted, has_colours, is_terminal, note, safe
from relman_client.v1 import analytics_pb2 as pb

Group = tuple[str, pb.MetricsSummary]
"""The name of a service or an environment, and its metrics."""

BLOCKS = "▁▂▃▄▅▆▇█"
STYLES = {"elite": "green", "high": "blue", "medium": "yellow", "low": "red"}
_INDENT = "  "
_ROWS = 6
_TITLE = max(len(key.title) for key in (*KEYS, *MORE_KEYS))
_MOST_GROUPS = 15


def sparkline(values: Sequence[float | None]) -> str:
    """A line of blocks, one for each value; a dot where there is none."""
    known = [value for value in values if value is not None]
    top = max(known, default=0.0)
    return "".join("·" if value is None else _block(value, top) for value in values)


def _block(value: float, top: float) -> str:
    if not value:
        return BLOCKS[0] if not top else " "
    return BLOCKS[min(len(BLOCKS) - 1, int(value / top * len(BLOCKS)))]


def values_of(report: Report, key: Key) -> list[float | None]:
    """The values of a key over time."""
    metrics = [key.of(part.metrics) for part in report.parts]
    return [metric.value if metric.HasField("value") else None for metric in metrics]


class Screen:
    """Writes a report.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colours = has_colours(stream)
        self._pretty = is_terminal(stream) and (stream.encoding or "").lower().replace("-", "") == "utf8"
        self._width = max(40, min(110, shutil.get_terminal_size().columns))

    def show(self, report: Report) -> None:
        """Write all of it."""
        asked = report.asked
        self._line(self._styled(f"Delivery of {words.scope(asked)}", "bold"))
        self._line(self._styled(f"{asked.first} to {asked.last}, days of {asked.zone.key}", "dim"))
        self._line()
        for key in KEYS:
            self._key(key, report)
        for key in MORE_KEYS:
            self._aside(key, report.summary)
        self._unlinked(report.summary)
        if self._pretty and any(point.deployments for point in report.days):
            self._line()
            self._chart(report.days)
        self._table("By service", [(row.service_name, row.metrics) for row in report.services])
        self._table("By environment", [(row.environment_name, row.metrics) for row in report.environments])

    def _line(self, text: str = "") -> None:
        self._stream.write(f"{text}\n")

    def _styled(self, text: str, style: str) -> str:
        return coloured(safe(text), style) if self._colours else safe(text)

    def _key(self, key: Key, report: Report) -> None:
        metric = key.of(report.summary)
        band = words.band_of(metric)
        line = f"{_INDENT}{self._styled(key.title.ljust(_TITLE), 'bold')}  {words.value_of(metric):<14}"
        line += f" {self._styled(f'{band:<6}', STYLES.get(band, ''))}"
        room = self._width - len(_INDENT) - _TITLE - 2 - 15 - 7 - 2
        series = sparkline(values_of(report, key)) if len(report.parts) > 1 else ""
        if self._pretty and len(series) <= room:
            line += f"  {self._styled(series, STYLES.get(band, 'cyan'))}"
        self._line(line.rstrip())
        self._remark(words.about(key, report.summary))
        if metric.HasField("value") and metric.reason:
            self._remark(metric.reason.rstrip("."))

    def _remark(self, text: str) -> None:
        for line in _wrapped(text, self._width - 4):
            self._line(f"{_INDENT}{_INDENT}{self._styled(line, 'dim')}")

    def _aside(self, key: Key, summary: pb.MetricsSummary) -> None:
        value, remark = words.value_of(key.of(summary)), words.about(key, summary)
        line = f"{_INDENT}{key.title.ljust(_TITLE)}  {value:<14} "
        self._line(line + self._styled(cut(remark, max(10, self._width - width_of(line))), "dim"))

    def _unlinked(self, summary: pb.MetricsSummary) -> None:
        if count := summary.unlinked_incidents:
            told = f"{counted(count, 'incident')} linked to no deployment: they count in no rate"
            self._line(f"{_INDENT}{self._styled(told, 'yellow')}")

    def _chart(self, days: Sequence[pb.TrendPoint]) -> None:
        """Bars of deployments, day by day, those that failed on top."""
        columns = _columns(days, self._width - 10)
        top = max(count for count, _ in columns)
        each = _days_each(days, self._width - 10)
        per = "a day" if each == 1 else f"in {each} days each"
        self._line(
            f"{_INDENT}{self._styled('Deployments', 'bold')} {self._styled(f'{per}, failed ones in red', 'dim')}"
        )
        for row in range(_ROWS, 0, -1):
            label = f"{top * row / _ROWS:>5.0f}" if row in {_ROWS, _ROWS // 2} else " " * 5
            bars = "".join(self._cell(count, failed, top, row) for count, failed in columns)
            self._line(f"{_INDENT}{self._styled(label, 'dim')} {self._styled('┤', 'dim')}{bars}".rstrip())
        self._line(f"{_INDENT}{self._styled('    0 └' + '─' * len(columns), 'dim')}")
        first, last = words.days([date.fromisoformat(days[at].date) for at in (0, -1)])
        self._line(f"{_INDENT}{' ' * 7}{self._styled(first + last.rjust(len(columns) - len(first)), 'dim')}")

    def _cell(self, count: float, failed: float, top: float, row: int) -> str:
        """One character of a bar: how much of it is filled, and whether what failed reaches down to there."""
        filled = count / top * _ROWS - (row - 1)
        if filled <= 0:
            return " "
        block = BLOCKS[min(len(BLOCKS) - 1, max(0, round(filled * len(BLOCKS)) - 1))]
        red = failed and (count - failed) / top * _ROWS <= row - 0.5
        return self._styled(block, "red" if red else "cyan")

    def _table(self, title: str, rows: Sequence[Group]) -> None:
        active = [row for row in rows if row[1].deployment_failure_rate.sample_size]
        if len(active) < 2:
            return
        ordered = sorted(active, key=lambda row: -row[1].deployment_frequency.value)
        self._line()
        self._line(self._styled(title, "bold"))
        self._stream.flush()
        columns: Columns[Group] = {
            title.removeprefix("By "): lambda row: row[0],
            **{key.short: _cell_of(key) for key in KEYS},
        }
        print_rows(columns, ordered[:_MOST_GROUPS])
        idle, hidden = len(rows) - len(active), len(active) - _MOST_GROUPS
        if hidden > 0:
            note(f"and {hidden} more; --csv and --html have all of them")
        if idle:
            note(f"{idle} without a deployment in the range")


def _cell_of(key: Key) -> Callable[[Group], str]:
    def cell(row: Group) -> str:
        metric = key.of(row[1])
        band = words.band_of(metric)
        return f"{words.value_of(metric)} {band}".rstrip()

    return cell


def _columns(days: Sequence[pb.TrendPoint], room: int) -> list[tuple[float, float]]:
    """Deployments and failures of every day, or of several together when there are more days than columns."""
    each = _days_each(days, room)
    groups = [days[at : at + each] for at in range(0, len(days), each)]
    return [(sum(p.deployments for p in group), sum(p.failures for p in group)) for group in groups]


def _days_each(days: Sequence[pb.TrendPoint], room: int) -> int:
    return -(-len(days) // max(10, room))


def _wrapped(text: str, width: int) -> Iterator[str]:
    line = ""
    for part in text.split(" "):
        if line and len(line) + 1 + len(part) > width:
            yield line
            line = part
        else:
            line = f"{line} {part}" if line else part
    if line:
        yield line


def show(report: Report) -> None:
    """Write a report to standard output."""
    Screen(sys.stdout).show(report)
