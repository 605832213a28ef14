"""Tables: what was measured, as Markdown for people and as JSON for everything else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

CONTENDERS = ("peer", "relman", "ceiling")


@dataclass(frozen=True)
class Measure:
    """Something that is measured: a row of a table.

    Attributes:
        key: Its name in the figures of a round.
        what: For a person.
        unit: Of the figures.
        less: Whether less is better.
        budget: What relman is to reach, for a person.
        compared: Whether there is a better.
    """

    key: str
    what: str
    unit: str
    less: bool = False
    budget: str = ""
    compared: bool = True


@dataclass
class Table:
    """What a benchmark found.

    Attributes:
        measures: Its rows.
        figures: Of each round, by contender and measure.
        notes: What one must know to read it.
    """

    measures: Sequence[Measure]
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, figures: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """Add figures of more measures, or more rounds."""
        for contender, by_key in figures.items():
            for key, values in by_key.items():
                self.figures.setdefault(contender, {}).setdefault(key, []).extend(values)

    def value(self, contender: str, key: str) -> float | None:
        """Return the median of a contender's rounds; None when it was not measured."""
        values = self.figures.get(contender, {}).get(key)
        return median(values) if values else None

    def markdown(self) -> str:
        """Return the table and its notes."""
        head = ["", "unit", "peer", "relman", "ceiling", "to the peer", "to the ceiling", "budget"]
        rows = [self._row(measure) for measure in self.measures]
        lines = [_line(head), _line(["---", "---", *["---:"] * 5, "---"]), *map(_line, rows)]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])

    def _row(self, measure: Measure) -> list[str]:
        values = [self.value(contender, measure.key) for contender in CONTENDERS]
        peer, relman, ceiling = values
        to_peer, to_ceiling = (
            _ratio(relman, other, less=measure.less) if measure.compared else None for other in (peer, ceiling)
        )
        return [
            measure.what,
            measure.unit,
            *("-" if value is None else _number(value) for value in values),
            "-" if to_peer is None else f"{to_peer:.1f}x",
            "-" if to_ceiling is None else f"{to_ceiling * 100:.0f} %",
            measure.budget,
        ]

    def document(self, **more: Any) -> dict[str, Any]:
        """Return everything, for JSON; `more` comes first."""
        rows = [
            {
                **asdict(measure),
                **{
                    name: {"median": self.value(name, measure.key), "rounds": self.figures[name][measure.key]}
                    for name in CONTENDERS
                    if measure.key in self.figures.get(name, {})
                },
            }
            for measure in self.measures
        ]
        return {**more, "rows": rows, "notes": self.notes, "markdown": self.markdown()}


def write(folder: Path, name: str, document: Mapping[str, Any]) -> Path:
    """Write a document as JSON and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    file.write_text(json.dumps(document, indent=2) + "\n")
    return file


def _ratio(relman: float | None, other: float | None, *, less: bool) -> float | None:
    """Return how many times better relman is than the other."""
    if relman is None or other is None:
        return None
    above, below = (other, relman) if less else (relman, other)
    return above / below if below else None


def _number(value: float) -> str:
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}" if value else "0"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
