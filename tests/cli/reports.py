"""A report as a server might answer it, without a server."""

import math
import random
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from relman_client.cli.dora_data import DAY, Asked, Part, Report
from relman_client.v1 import analytics_pb2 as pb

HOSTILE = "<script>alert(1)</script>\"'&\u202e\x1b[31m"
SERVICES = ("checkout", "search", "payments", "accounts", "mail-gateway", "recommendations")


def _metric(value: float | None, unit: str, size: int, band: int = 0, **more: object) -> pb.Metric:
    fields = {"value": value} if value is not None else {"reason": "Nothing was deployed there in the range."}
    return pb.Metric(unit=unit, sample_size=size, band=band, **fields, **more)  # type: ignore[arg-type]


def summary(chance: random.Random, deployments: int, days: int) -> pb.MetricsSummary:
    """Plausible metrics."""
    if not deployments:
        return pb.MetricsSummary(
            deployment_frequency=_metric(0.0, "per_day", 0, reason="A band needs 4 whole weeks."),
            lead_time_for_changes=_metric(None, "seconds", 0),
            change_failure_rate=_metric(None, "ratio", 0),
            time_to_restore=_metric(None, "seconds", 0),
            rework_rate=_metric(None, "ratio", 0),
            deployment_failure_rate=_metric(None, "ratio", 0),
            definition_version=1,
        )
    failed = sum(chance.random() < 0.11 for _ in range(deployments))
    lead, restore = chance.uniform(0.4, 3) * 86400, chance.uniform(0.3, 5) * 3600
    rate = failed / deployments
    band = next((number for number, limit in ((1, 0.05), (2, 0.1), (3, 0.15)) if rate <= limit), 4)
    restored = _metric(restore, "seconds", failed, 1 if restore < 3600 else 2, mean=restore * 1.7) if failed else None
    return pb.MetricsSummary(
        deployment_frequency=_metric(deployments / days, "per_day", deployments, 1 if deployments > days / 2 else 2),
        lead_time_for_changes=_metric(
            lead, "seconds", deployments * 3, 1 if lead < 86400 else 2, p90=lead * 2.8, basis="changes"
        ),
        change_failure_rate=_metric(rate, "ratio", deployments, band),
        time_to_restore=restored or _metric(None, "seconds", 0),
        rework_rate=_metric(0.06, "ratio", deployments, reason="There are no bands for it."),
        deployment_failure_rate=_metric(0.03, "ratio", deployments + 4, reason="There are no bands for it."),
        unlinked_incidents=3 if days > 30 else 0,
        definition_version=1,
    )


def report(services: tuple[str, ...] = SERVICES, last: date = date(2026, 11, 25), days: int = 91) -> Report:
    """A quarter of a year of some services in two environments."""
    chance = random.Random(7)
    asked = Asked([], [], last - DAY * (days - 1), last, ZoneInfo("Europe/Berlin"))
    counts = [
        0 if (asked.first + DAY * day).weekday() > 4 else max(0, round(6 + 4 * math.sin(day / 9) + chance.gauss(0, 2)))
        for day in range(days)
    ]
    points = [
        pb.TrendPoint(
            date=(asked.first + DAY * day).isoformat(),
            deployments=count,
            failures=sum(chance.random() < 0.12 for _ in range(count)),
            rolling_mean_7d=sum(counts[max(0, day - 6) : day + 1]) / min(7, day + 1),
        )
        for day, count in enumerate(counts)
    ]
    parts = []
    for first, until in asked.parts():
        inside = counts[(first - asked.first).days : (until - asked.first).days + 1]
        parts.append(Part(first, until, summary(chance, sum(inside), len(inside))))
    whole = summary(chance, sum(counts), days)
    whole.time_to_restore.excluded = whole.time_to_restore.open_failures = 2
    whole.time_to_restore.oldest_open_age.FromTimedelta(timedelta(days=3, hours=4))
    shares = [round(sum(counts) * weight) for weight in (0.34, 0.25, 0.19, 0.14, 0.08)]
    rows = [
        pb.ServiceMetrics(service_id=name, service_name=name, metrics=summary(chance, size, days))
        for name, size in zip(services, [*shares, *[0] * len(services)], strict=False)
    ]
    places = [
        pb.EnvironmentMetrics(environment_name=name, metrics=summary(chance, size, days))
        for name, size in (("production-eu", sum(counts) // 2), ("production-us", sum(counts) // 2))
    ]
    return Report(asked, whole, parts, points, rows, places)
