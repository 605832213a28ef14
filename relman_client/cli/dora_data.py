"""What `relman dora` shows: the metrics of a range, of its parts, of services and of environments."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.client import Client
from relman_client.v1 import analytics_pb2 as pb

DAY = timedelta(days=1)
_STEPS = (1, 7, 14, 28, 91, 182, 364)
_MOST_PARTS = 26
_AT_ONCE = 4


@dataclass(frozen=True)
class Key:
    """A metric.

    Attributes:
        name: As it is typed.
        field: Its field of the contract's MetricsSummary.
        title: For people.
        short: The same for the head of a column.
        means: What it is, in a sentence.
    """

    name: str
    field: str
    title: str
    short: str
    means: str

    def of(self, summary: pb.MetricsSummary) -> pb.Metric:
        """The metric of a summary."""
        metric: pb.Metric = getattr(summary, self.field)
        return metric


KEYS = (
    Key(
        "frequency",
        "deployment_frequency",
        "Deployment frequency",
        "frequency",
        "Successful deployments per calendar day, without rollbacks and repetitions.",
    ),
    Key(
        "lead-time",
        "lead_time_for_changes",
        "Lead time for changes",
        "lead time",
        "Median time from the commit of a change to its first success in production.",
    ),
    Key(
        "failure-rate",
        "change_failure_rate",
        "Change failure rate",
        "failure rate",
        "Share of the deployments that users felt, were rolled back, repaired by a hotfix, or caused an incident.",
    ),
    Key(
        "restore",
        "time_to_restore",
        "Time to restore",
        "restore",
        "Median time from a failed deployment until users were well again.",
    ),
)
MORE_KEYS = (
    Key(
        "rework",
        "rework_rate",
        "Rework rate",
        "rework",
        "Share of the successful deployments that were hotfixes or rollbacks.",
    ),
    Key(
        "pipeline-failures",
        "deployment_failure_rate",
        "Failed before production",
        "pipeline failures",
        "Share of the deployments that failed without anybody feeling it.",
    ),
)


@dataclass(frozen=True)
class Asked:
    """Of what, in whole days of a time zone.

    Attributes:
        services: Names or ids; empty means all.
        types: EnvironmentType numbers; empty means production.
        first: The first day.
        last: The last day.
        zone: Where days begin.
    """

    services: Sequence[str]
    types: Sequence[Any]  # enum numbers have a type each
    first: date
    last: date
    zone: ZoneInfo

    def fields(self, first: date | None = None, last: date | None = None) -> dict[str, Any]:
        """Fields of a request for these days, or for some of them."""
        return {
            "services": self.services,
            "environment_types": self.types,
            "start_date": self._starts(first or self.first),
            "end_date": self._starts((last or self.last) + DAY),
            "time_zone": self.zone.key,
        }

    def _starts(self, day: date) -> Timestamp:
        timestamp = Timestamp()
        timestamp.FromDatetime(datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC))
        return timestamp

    def parts(self) -> Iterator[tuple[date, date]]:
        """The range in parts of some days each; a shorter one, if any, comes first."""
        days = (self.last - self.first).days + 1
        step = next((step for step in _STEPS if days / step <= _MOST_PARTS), -(-days // _MOST_PARTS))
        first = self.first
        while first <= self.last:
            length = days % step or step if first == self.first else step
            yield first, first + DAY * (length - 1)
            first += DAY * length


@dataclass(frozen=True)
class Part:
    """The metrics of some days."""

    first: date
    last: date
    metrics: pb.MetricsSummary


@dataclass(frozen=True)
class Report:
    """Everything there is to show.

    Attributes:
        parts: The range in parts, in order.
        days: Every day.
        services: By name.
        environments: By name.
    """

    asked: Asked
    summary: pb.MetricsSummary
    parts: Sequence[Part]
    days: Sequence[pb.TrendPoint]
    services: Sequence[pb.ServiceMetrics]
    environments: Sequence[pb.EnvironmentMetrics]


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter(f"{name!r} is no time zone such as Europe/Berlin", param_hint="--zone") from None


def summary_of(client: Client, asked: Asked) -> pb.MetricsSummary:
    """The metrics of the range."""
    return client.analytics.GetMetricsSummary(pb.GetMetricsSummaryRequest(**asked.fields()))


def report_of(client: Client, asked: Asked) -> Report:
    """Everything there is to show; several questions at a time."""
    api = client.analytics
    summary = summary_of(client, asked)  # first and alone: what is wrong with the question is said once

    def part(days: tuple[date, date]) -> Part:
        return Part(*days, api.GetMetricsSummary(pb.GetMetricsSummaryRequest(**asked.fields(*days))))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = pool.map(part, asked.parts())
        days = pool.submit(api.GetMetricsTrends, pb.GetMetricsTrendsRequest(**asked.fields()))
        services = pool.submit(_all, api.GetMetricsByService, pb.GetMetricsByServiceRequest(**asked.fields()))
        places = pool.submit(_all, api.GetMetricsByEnvironment, pb.GetMetricsByEnvironmentRequest(**asked.fields()))
        return Report(asked, summary, list(parts), days.result().points, services.result(), places.result())


def _all(call: Callable[[Any], Any], request: Any) -> list[Any]:  # rows of either kind
    """The rows of every page."""
    rows: list[Any] = []
    while True:
        page = call(request)
        rows += page.rows
        if not page.next_page_token:
            return rows
        request.page_token = page.next_page_token
