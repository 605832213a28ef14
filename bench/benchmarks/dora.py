"""Delivery metrics over PostgreSQL: a million deployments of 1,000 services, a year of them in one question.

The data set is made once and kept in bench/data (1.5 GB). Every figure of an answer is computed anew, from rows.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from bench.deliveries import Deliveries
from bench.kit import Kit
from bench.tables import Measure, Table
from relman_client.v1 import analytics_pb2 as pb

MEASURES = (
    Measure("summary", "summary of the year, all services", "s", less=True, budget="<= 2 s"),
    Measure("month", "summary of 30 days, all services", "s", less=True),
    Measure("services", "by service, the first 100, the year", "s", less=True, budget="<= 3 s"),
    Measure("environments", "by environment, the year", "s", less=True),
    Measure("trends", "trends of the year, all services", "s", less=True),
    Measure("one", "summary of the year, one service", "s", less=True),
)
ZONE = "Europe/Berlin"


def run(kit: Kit) -> Table:
    """Measure."""
    there = kit.pick(Deliveries(1000, 500), Deliveries(20, 50))
    with there.database() as database:
        api = kit.relman(database).client.analytics
        year, month = (_range(there, days) for days in (364, 30))
        one = year | {"services": ["service-0007"]}
        questions: dict[str, Callable[[], object]] = {
            "summary": lambda: api.GetMetricsSummary(pb.GetMetricsSummaryRequest(**year)),
            "month": lambda: api.GetMetricsSummary(pb.GetMetricsSummaryRequest(**month)),
            "services": lambda: api.GetMetricsByService(pb.GetMetricsByServiceRequest(**year)),
            "environments": lambda: api.GetMetricsByEnvironment(pb.GetMetricsByEnvironmentRequest(**year)),
            "trends": lambda: api.GetMetricsTrends(pb.GetMetricsTrendsRequest(**year)),
            "one": lambda: api.GetMetricsSummary(pb.GetMetricsSummaryRequest(**one)),
        }
        summary = api.GetMetricsSummary(pb.GetMetricsSummaryRequest(**year))
        assert summary.deployment_failure_rate.sample_size == there.deployments
        table = Table(MEASURES, kit.rounds({"relman": lambda: {key: _took(ask) for key, ask in questions.items()}}))
    table.notes.append(f"{there.deployments:,} deployments of {there.services:,} services within a year.")
    return table


def _range(there: Deliveries, days: int) -> dict[str, Any]:  # fields of requests
    end = datetime.fromisoformat(there.end).replace(tzinfo=UTC) + timedelta(days=1)
    start, until = Timestamp(), Timestamp()
    start.FromDatetime(end - timedelta(days=days + 1))
    until.FromDatetime(end)
    return {"start_date": start, "end_date": until, "time_zone": ZONE}


def _took(ask: Callable[[], object]) -> float:
    started = time.monotonic()
    ask()
    return time.monotonic() - started
