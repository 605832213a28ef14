"""Charts as SVG that stands in a page: bars or a line over time, with axes, readable without colours."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

HEIGHT = 190
NARROW, WIDE = 400, 830
LEFT, RIGHT, TOP, BOTTOM = 50, 8, 12, 26
"""Room around what is drawn; at the left there is more where the marks of the axis need it."""
_FOR_NAMES = 50
"""Room at the right for the names of bands."""
_LETTER = 7
"""Room for a letter of a text: as wide as the digits of the widest usual fonts are at the page's 11 pixels."""
_GAP = 6
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Chart:
    """What to draw.

    Attributes:
        name: Unique in the page; letters, digits and hyphens.
        title: What it shows.
        description: The same in a sentence, for those who do not see it.
        labels: Of the values.
        values: None where there is none.
        text: Writes a value.
        scale: What one of the axis's units is in values.
        bars: Bars rather than a line.
        parts: Of each value, the part that is drawn in another colour; empty for none.
        limits: Where bands end, each with its name.
        width: Of the drawing; it is scaled to where it stands.
    """

    name: str
    title: str
    description: str
    labels: Sequence[str]
    values: Sequence[float | None]
    text: Callable[[float], str]
    scale: float = 1.0
    bars: bool = False
    parts: Sequence[float] = ()
    limits: Sequence[tuple[float, str]] = ()
    width: int = NARROW


def draw(chart: Chart) -> str:
    """Return the chart as an `svg` element; its colours are those of the page's classes."""
    return _Drawing(chart).svg()


def ticks(top: float, scale: float) -> list[float]:
    """Return where the axis is marked: about four round numbers of units, from 0 to the top or beyond."""
    if top <= 0:
        return [0.0, scale]
    raw = top / scale / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(each * power for each in _STEPS if each * power >= raw * 0.999) * scale
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]


class _Drawing:
    def __init__(self, chart: Chart) -> None:
        self._chart = chart
        known = [value for value in chart.values if value is not None]
        self._ticks = ticks(max(known, default=0.0), chart.scale)
        self._marks = [chart.text(tick) for tick in self._ticks]
        self._left = max(LEFT, *(_width(mark) + 2 * _GAP for mark in self._marks))
        self._right = chart.width - (_FOR_NAMES if chart.limits else RIGHT)
        self._slot = (self._right - self._left) / max(1, len(chart.values))

    def svg(self) -> str:
        chart = self._chart
        parts = [*self._axes(), *self._limits(), *(self._bars() if chart.bars else self._line()), *self._labels()]
        return (
            f'<svg class="chart" viewBox="0 0 {chart.width} {HEIGHT}" role="img"'
            f' aria-labelledby="{chart.name}-title" aria-describedby="{chart.name}-description">'
            f'<title id="{chart.name}-title">{escape(chart.title)}</title>'
            f'<desc id="{chart.name}-description">{escape(chart.description)}</desc>{"".join(parts)}</svg>'
        )

    def _x(self, number: int) -> float:
        return self._left + self._slot * (number + 0.5)

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self._ticks[-1] * (HEIGHT - TOP - BOTTOM)

    def _axes(self) -> list[str]:
        found = []
        for tick, mark in zip(self._ticks, self._marks, strict=True):
            y = self._y(tick)
            found.append(f'<line class="grid" x1="{self._left}" x2="{self._right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            found.append(f'<text class="tick" x="{self._left - _GAP}" y="{y + 3.5:.1f}">{escape(mark)}</text>')
        return found

    def _limits(self) -> list[str]:
        """Mark where bands end, as far as that is in sight and not on top of each other; what is below has the name."""
        found: list[str] = []
        lowest = 1e9
        for value, name in self._chart.limits:
            y = self._y(value)
            if value > self._ticks[-1] or lowest - y < 13:
                continue
            lowest = y
            found.append(f'<line class="limit" x1="{self._left}" x2="{self._right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            found.append(f'<text class="limit" x="{self._right + 5}" y="{y + 10:.1f}">{escape(name)}</text>')
        return found

    def _bars(self) -> list[str]:
        chart = self._chart
        width = max(1.0, self._slot * 0.7)
        found = []
        for number, value in enumerate(chart.values):
            if value is None:
                continue
            x, part = self._x(number) - width / 2, chart.parts[number] if chart.parts else 0.0
            shown = [self._bar("bar", x, width, 0.0, value - part), self._bar("part", x, width, value - part, value)]
            found.append(f"<g>{self._tip(number, value)}{''.join(shown)}</g>")
        return found

    def _bar(self, kind: str, x: float, width: float, low: float, high: float) -> str:
        if high <= low:
            return ""
        y = self._y(high)
        height = max(1.0, self._y(low) - y)
        return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5"/>'

    def _line(self) -> list[str]:
        """Draw a line through neighbours; where values are missing it is broken, so nothing is made up."""
        found = []
        runs: list[list[int]] = [[]]
        for number, value in enumerate(self._chart.values):
            if value is None:
                runs.append([])
            else:
                runs[-1].append(number)
        for run in runs:
            points = " ".join(f"{self._x(number):.1f},{self._y(self._chart.values[number] or 0):.1f}" for number in run)
            if len(run) > 1:
                found.append(f'<polyline class="line" points="{points}"/>')
        for number, value in enumerate(self._chart.values):
            if value is not None:
                where = f'cx="{self._x(number):.1f}" cy="{self._y(value):.1f}"'
                found.append(f'<g>{self._tip(number, value)}<circle class="dot" {where} r="3"/></g>')
        return found

    def _tip(self, number: int, value: float) -> str:
        return f"<title>{escape(self._chart.labels[number])}: {escape(self._chart.text(value))}</title>"

    def _labels(self) -> list[str]:
        """Name as many of the values as there is room for, each below its own; none reaches beyond the picture."""
        names = [label.partition(" to ")[0] for label in self._chart.labels]
        widest = max(map(_width, names), default=0)
        every = max(1, math.ceil((widest + 2 * _GAP) / self._slot))
        return [
            f'<text class="label" x="{self._x(number):.1f}" y="{HEIGHT - 8}">{escape(names[number])}</text>'
            for number in range(0, len(names), every)
            if self._x(number) + widest / 2 <= self._chart.width
        ]


def _width(text: str) -> int:
    return _LETTER * len(text)
