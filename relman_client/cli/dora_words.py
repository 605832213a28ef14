"""Metrics in words and numbers for people."""

from collections.abc import Sequence
from datetime import date

from relman_client.cli.dora_data import Asked, Key, Part
from relman_client.cli.output import word
from relman_client.cli.text import counted
from relman_client.v1 import analytics_pb2 as pb
from relman_client.v1.environment_pb2 import EnvironmentType

NOTHING = "-"
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_BASES = {
    "changes": "since their commits",
    "git_commit": "since the commits of releases",
    "release": "since their releases were created",
    "mixed": "since commits, or releases where no commit is known",
}


def span(seconds: float) -> str:
    """A span in its two largest units: `1 d 4 h`, `52 min`, `8.4 s`."""
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    for number, (size, unit) in enumerate(_UNITS[:-1]):
        if seconds >= size:
            smaller, name = _UNITS[number + 1]
            count, rest = divmod(round(seconds / smaller), round(size / smaller))
            return f"{count} {unit} {rest} {name}" if rest and count < 30 else f"{count} {unit}"
    raise AssertionError("unreachable: a minute was ruled out")


def value_of(metric: pb.Metric) -> str:
    """The value with its unit."""
    return number(metric.value, metric.unit) if metric.HasField("value") else NOTHING


def number(value: float, unit: str) -> str:
    """A number of a unit of the contract."""
    if unit == "seconds":
        return span(value)
    if unit == "ratio":
        return f"{100 * value:.1f}".removesuffix(".0") + " %"
    if 0 < value < 0.1:
        return f"1 in {round(1 / value)} days"
    return f"{value:.2f}".rstrip("0").rstrip(".") + " a day"


def band_of(metric: pb.Metric) -> str:
    """The band; empty when there is none."""
    return word(metric, "band")


def about(key: Key, summary: pb.MetricsSummary) -> str:
    """What a value was computed from, and what was left out."""
    metric = key.of(summary)
    parts = _basis(key, metric)
    if metric.excluded and not metric.open_failures:
        parts.append(f"{counted(metric.excluded, 'change')} left out: committed after they were deployed")
    if metric.open_failures:
        oldest = span(metric.oldest_open_age.ToTimedelta().total_seconds())
        parts.append(f"{metric.open_failures:,} not over yet, the oldest for {oldest}")
    return "; ".join(parts)


def _basis(key: Key, metric: pb.Metric) -> list[str]:
    if not metric.HasField("value"):
        return [metric.reason.rstrip(".")]
    size = metric.sample_size
    if key.name == "frequency":
        return [counted(size, "deployment")]
    if key.name == "lead-time":
        how = _BASES.get(metric.basis, metric.basis)
        return [f"90 % within {span(metric.p90)}", f"{counted(size, 'change')}, {how}"]
    if key.name == "restore":
        return [f"mean {span(metric.mean)}", counted(size, "failure")]
    return [f"{round(metric.value * size):,} of {counted(size, 'deployment')}"]


def days(when: Sequence[date]) -> list[str]:
    """Days in their order: `27 Aug`; with their years where they are of several: `27 Aug 2026`."""
    several = bool(when) and when[0].year != when[-1].year
    return [f"{each.day} {each:%b %Y}" if several else f"{each.day} {each:%b}" for each in when]


def part_names(parts: Sequence[Part]) -> list[str]:
    """The days of each part, the parts in their order."""
    names = days([day for part in parts for day in (part.first, part.last)])
    pairs = zip(names[::2], names[1::2], strict=True)
    return [first if first == last else f"{first} to {last}" for first, last in pairs]


def scope(asked: Asked, *, most: int = 5) -> str:
    """Of what the metrics are."""
    names = list(asked.services)
    who = "all services" if not names else ", ".join(names[:most])
    if len(names) > most:
        who += f" and {len(names) - most} more"
    return f"{who}, {' and '.join(types(asked.types))}"


def types(numbers: Sequence["EnvironmentType.ValueType"]) -> list[str]:
    """Types of environments."""
    prefix = "ENVIRONMENT_TYPE_"
    chosen = numbers or [EnvironmentType.ENVIRONMENT_TYPE_PRODUCTION]
    return [EnvironmentType.Name(number).removeprefix(prefix).lower() for number in chosen]
