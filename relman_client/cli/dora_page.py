"""The metrics as one page that needs nothing else: no network, no scripts; light, dark and on paper."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from html import escape
from importlib import resources

from relman_client.cli import dora_words as words
from relman_client.cli.dora_data import KEYS, MORE_KEYS, Key, Report
from relman_client.cli.svg import WIDE, Chart, draw
from relman_client.cli.text import counted, safe
from relman_client.v1 import analytics_pb2 as pb

_AT_FIRST = 25  # rows of a table; the others are there when they are asked for
_DAYS = 120  # charts of single days are of the last ones
_LIMITS = {
    "lead-time": ((86400.0, "elite"), (7 * 86400.0, "high"), (30 * 86400.0, "medium")),
    "failure-rate": ((0.05, "elite"), (0.10, "high"), (0.15, "medium")),
    "restore": ((3600.0, "elite"), (86400.0, "high"), (7 * 86400.0, "medium")),
}
_CSP = "default-src 'none'; style-src 'unsafe-inline'"

Group = tuple[str, pb.MetricsSummary]


def page(report: Report, now: datetime | None = None) -> str:
    """Return the page.

    Args:
        report: What to show.
        now: When it was made.
    """
    return "".join(_Page(report, now or datetime.now(UTC)).parts())


def _text(text: str) -> str:
    """A text of the server's: neither markup nor anything that turns letters around."""
    return escape(safe(text))


class _Page:
    def __init__(self, report: Report, now: datetime) -> None:
        self._report = report
        self._asked = report.asked
        self._now = now

    def parts(self) -> Iterator[str]:
        title = f"Delivery of {words.scope(self._asked)}"
        style = resources.files("relman_client.cli").joinpath("dora.css").read_text("utf-8")
        yield f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_text(title)}</title>\n'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        yield f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">\n'
        yield f'<meta name="referrer" content="no-referrer">\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n'
        yield f"<header><h1>{_text(title)}</h1>"
        days = f"{_long(self._asked.first)} to {_long(self._asked.last)}, days of {self._asked.zone.key}"
        yield f'<p class="soft">{_text(days)}</p></header>\n'
        yield from self._keys()
        yield from self._over_time()
        yield from self._table("By service", "Service", self._services())
        yield from self._table("By environment", "Environment", self._environments())
        yield from self._definitions()
        yield "</main>\n</body>\n</html>\n"

    def _services(self) -> list[Group]:
        return [(row.service_name, row.metrics) for row in self._report.services]

    def _environments(self) -> list[Group]:
        return [(row.environment_name, row.metrics) for row in self._report.environments]

    # --- the numbers

    def _keys(self) -> Iterator[str]:
        yield '<section class="keys" aria-label="The four keys">\n'
        for key in KEYS:
            metric = key.of(self._report.summary)
            yield '<div class="card key">'
            yield f"<h3>{key.title}</h3>"
            yield f'<div class="head"><p class="value">{_text(words.value_of(metric))}</p>{_band(metric)}</div>'
            yield f'<p class="soft">{_text(words.about(key, self._report.summary))}</p>'
            if metric.HasField("value") and metric.reason:
                yield f'<p class="soft">{_text(metric.reason)}</p>'
            yield "</div>\n"
        yield f'</section>\n<p class="note" style="margin-top: 12px">{_text(self._aside())}</p>\n'

    def _aside(self) -> str:
        summary = self._report.summary
        told = [f"{key.title}: {words.value_of(key.of(summary))}" for key in MORE_KEYS]
        if count := summary.unlinked_incidents:
            told.append(f"{counted(count, 'incident')} linked to no deployment")
        return " · ".join(told)

    # --- charts

    def _over_time(self) -> Iterator[str]:
        yield '<h2>Over time</h2>\n<section class="charts">\n'
        for key in KEYS:
            yield from self._chart(key)
        yield from self._days()
        yield "</section>\n"

    def _chart(self, key: Key) -> Iterator[str]:
        parts = self._report.parts
        metrics = [key.of(part.metrics) for part in parts]
        values = [metric.value if metric.HasField("value") else None for metric in metrics]
        labels = words.part_names(parts)
        scale = _scale(metrics[0].unit, values)
        shown = [f"{label}: {words.value_of(metric)}" for label, metric in zip(labels, metrics, strict=True)]
        chart = Chart(
            name=key.name,
            title=f"{key.title} over time",
            description="; ".join(shown[:60]),
            labels=labels,
            values=values,
            text=lambda value: words.number(value, metrics[0].unit) if value else "0",
            scale=scale,
            bars=key.name in {"frequency", "failure-rate"},
            limits=_LIMITS.get(key.name, ()),
        )
        rows = [
            [label, words.value_of(metric), f"{metric.sample_size:,}"]
            for label, metric in zip(labels, metrics, strict=True)
        ]
        yield f'<div class="card"><h3>{key.title}</h3><p class="note">{_text(key.means)}</p>'
        table = _data(f"{key.title} over time", ["Days", key.title, "Computed from"], rows)
        yield f"{draw(_in_short(chart, key))}{table}</div>\n"

    def _days(self) -> Iterator[str]:
        points = self._report.days[-_DAYS:]
        if not any(point.deployments for point in points):
            return
        labels = words.days([date.fromisoformat(point.date) for point in points])
        total, failed = sum(point.deployments for point in points), sum(point.failures for point in points)
        chart = Chart(
            name="days",
            title="Deployments day by day",
            description=f"{counted(total, 'deployment')}, {failed:,} of them failed",
            labels=labels,
            values=[float(point.deployments) for point in points],
            text=lambda value: f"{value:g}",
            bars=True,
            parts=[float(point.failures) for point in points],
            width=WIDE,
        )
        rows = [
            [label, f"{point.deployments:,}", f"{point.failures:,}", f"{point.rolling_mean_7d:.1f}"]
            for label, point in zip(labels, points, strict=True)
        ]
        note = "Deployments that reached production; those that failed there are in red, on top."
        yield f'<div class="card wide"><h3>Deployments day by day</h3><p class="note">{note}</p>'
        yield f'<div class="scroll" tabindex="0" role="region" aria-label="Deployments day by day">{draw(chart)}</div>'
        yield f"{_data('Deployments day by day', ['Day', 'Deployments', 'Failed', 'Mean of 7 days'], rows)}</div>\n"

    # --- tables

    def _table(self, title: str, of: str, groups: Sequence[Group]) -> Iterator[str]:
        if not groups:
            return
        ordered = sorted(groups, key=lambda group: -group[1].deployment_frequency.value)
        tops = {key.name: max((key.of(summary).value for _, summary in groups), default=0.0) for key in KEYS}
        yield f'<h2>{title}</h2>\n<div class="card">'
        yield _wide(title, of, [_row(group, tops) for group in ordered[:_AT_FIRST]])
        if rest := ordered[_AT_FIRST:]:
            yield f"<details><summary>{len(rest):,} more</summary>"
            yield f"{_wide(f'{title}, the others', of, [_row(group, tops) for group in rest])}</details>"
        yield "</div>\n"

    def _definitions(self) -> Iterator[str]:
        yield '<h2>What the numbers mean</h2>\n<div class="card"><dl>'
        for key in (*KEYS, *MORE_KEYS):
            yield f"<dt>{key.title}</dt><dd>{_text(key.means)}</dd>"
        yield "</dl></div>\n"
        version = self._report.summary.definition_version
        made = f"{self._now.astimezone(self._asked.zone):%Y-%m-%d %H:%M} {self._asked.zone.key}"
        yield f"<footer>Made by relman at {_text(made)}; definitions of version {version}, bands of the DORA report"
        yield " of 2023. <code>relman dora --explain</code> names the deployments behind a number.</footer>\n"


def _long(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _band(metric: pb.Metric) -> str:
    band = words.band_of(metric)
    return f'<span class="band {band}">{band}</span>' if band else ""


def _scale(unit: str, values: Sequence[float | None]) -> float:
    """What the axis counts in: days, hours, minutes, percent."""
    top = max((value for value in values if value is not None), default=0.0)
    if unit == "ratio":
        return 0.01
    if unit != "seconds":
        return 1.0
    return next((size for size in (86400.0, 3600.0, 60.0) if top >= 1.5 * size), 1.0)


def _in_short(chart: Chart, key: Key) -> Chart:
    """The same with shorter numbers at the axis where the title says of what they are."""
    if key.name != "frequency":
        return chart
    return Chart(**{**chart.__dict__, "text": lambda value: f"{value:.2f}".rstrip("0").rstrip(".") or "0"})


def _wide(title: str, of: str, rows: Sequence[str]) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in (of, *(key.title for key in KEYS)))
    head = f"<caption>{title}; bars compare the rows.</caption><thead><tr>{heads}</tr></thead>"
    table = f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"
    # A region that scrolls must be reachable by the keyboard.
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">{table}</div>'


def _row(group: Group, tops: dict[str, float]) -> str:
    name, summary = group
    cells = []
    for key in KEYS:
        metric = key.of(summary)
        share = 100 * metric.value / tops[key.name] if tops[key.name] else 0
        meter = f'<div class="meter" aria-hidden="true"><span style="width: {share:.1f}%"></span></div>'
        figure = f"<span>{_text(words.value_of(metric))}</span>{_band(metric)}"
        cells.append(f'<td><div class="figure">{figure}</div>{meter if metric.HasField("value") else ""}</td>')
    return f'<tr><th scope="row">{_text(name)}</th>{"".join(cells)}</tr>'


def _data(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The numbers of a chart, for those who do not see it."""
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    caption = f"<caption>{_text(title)}</caption>"
    table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<details><summary>As a table</summary><div class="scroll">{table}</div></details>'
