"""Fifty random histories: every figure of every RPC is the one that plain Python finds, on both databases."""

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from relman_client.v1 import analytics_pb2 as pb
from relman_client.v1 import environment_pb2
from relman_server.kernel.rpc.writing import timestamp
from tests.analytics.histories import AMERICA, BEGIN, EUROPE, PLACES, STAGING, Teller
from tests.analytics.reference import Asked, Number, Reference
from tests.analytics.writing import write
from tests.factories import RunningServer, make_environment, unique

SEEDS = range(50)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Pacific/Auckland",
    "America/St_Johns",
    "Asia/Beirut",
)
KINDS = (
    "deployment_frequency",
    "lead_time_for_changes",
    "change_failure_rate",
    "time_to_restore",
    "rework_rate",
    "deployment_failure_rate",
)


@dataclass
class Told:
    """What the database holds.

    Attributes:
        places: Ids of the environments by name.
        services: Ids of the services by name.
    """

    server: RunningServer
    histories: dict[int, Reference]
    places: dict[str, UUID]
    services: dict[str, UUID]


@pytest.fixture(scope="module")
async def told(server: RunningServer) -> Told:
    histories = {seed: Teller(seed).history for seed in SEEDS}
    types = dict.fromkeys((EUROPE, AMERICA), environment_pb2.ENVIRONMENT_TYPE_PRODUCTION)
    types[STAGING] = environment_pb2.ENVIRONMENT_TYPE_STAGING
    made = {
        place: await make_environment(server.admin, name=unique(place), environment_type=types[place])
        for place in PLACES
    }
    places = {place: UUID(environment.id) for place, environment in made.items()}
    services = await write(server, list(histories.values()), places)
    return Told(server, {seed: Reference(history) for seed, history in histories.items()}, places, services)


def _asked(seed: int, services: list[str]) -> tuple[Asked, dict[str, Any]]:
    """What is asked for, as the reference and as the RPCs take it: another range and zone for every history."""
    chance = random.Random(seed)
    start = BEGIN + timedelta(microseconds=chance.randrange(100 * 86_400_000_000))
    end = start + timedelta(days=chance.choice((1, 20, 45, 200)), microseconds=chance.randrange(86_400_000_000))
    zone = chance.choice(ZONES)
    if seed % 5 == 0:
        start = datetime(2023, 2, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        end = datetime(2023, 6, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    with_staging = seed % 3 == 0
    types = [environment_pb2.ENVIRONMENT_TYPE_PRODUCTION]
    if with_staging:
        types.append(environment_pb2.ENVIRONMENT_TYPE_STAGING)
    asked = Asked(services, PLACES if with_staging else (EUROPE, AMERICA), start, end, ZoneInfo(zone))
    fields = {"start_date": timestamp(start), "end_date": timestamp(end), "time_zone": zone, "environment_types": types}
    return asked, {"services": services, **fields}


def _number(metric: pb.Metric, now: datetime) -> Number:
    return Number(
        metric.value if metric.HasField("value") else None,
        metric.sample_size,
        pb.Band.Name(metric.band).removeprefix("BAND_").replace("UNSPECIFIED", ""),
        metric.excluded,
        metric.basis,
        metric.mean if metric.HasField("mean") else None,
        metric.p90 if metric.HasField("p90") else None,
        tuple(metric.contributing_deployment_ids),
        now - metric.oldest_open_age.ToTimedelta() if metric.HasField("oldest_open_age") else None,
    )


def _expected(reference: Reference, asked: Asked) -> dict[str, Any]:
    found: dict[str, Any] = {
        "deployment_frequency": reference.frequency(asked),
        "lead_time_for_changes": reference.lead_time(asked),
        "change_failure_rate": reference.failure_rate(asked),
        "time_to_restore": reference.time_to_restore(asked),
        "rework_rate": reference.rework_rate(asked),
        "deployment_failure_rate": reference.deployment_failure_rate(asked),
    }
    return found | {"unlinked_incidents": reference.unlinked(asked), "definition_version": 1}


def _same(found: pb.MetricsSummary, expected: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    for kind in KINDS:
        number, metric = _number(getattr(found, kind), now), getattr(found, kind)
        if number.oldest and expected[kind].oldest:
            assert abs(number.oldest - expected[kind].oldest) < timedelta(minutes=1), kind
            number = replace(number, oldest=expected[kind].oldest)
        assert number == expected[kind], kind
        assert bool(metric.reason) == (not metric.HasField("value") or not metric.band), kind
        assert metric.open_failures == (metric.excluded if kind == "time_to_restore" else 0)
    assert (found.unlinked_incidents, found.definition_version) == (expected["unlinked_incidents"], 1)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_random_history_has_the_figures_that_plain_python_finds(told: Told, seed: int) -> None:
    api, reference = told.server.admin.analytics, told.histories[seed]
    asked, fields = _asked(seed, reference.history.services)
    _same(await api.GetMetricsSummary(pb.GetMetricsSummaryRequest(**fields)), _expected(reference, asked))

    services = await api.GetMetricsByService(pb.GetMetricsByServiceRequest(**fields))
    assert [row.service_name for row in services.rows] == sorted(asked.services)
    for row in services.rows:
        _same(row.metrics, _expected(reference, replace(asked, services=[row.service_name])))

    environments = await api.GetMetricsByEnvironment(pb.GetMetricsByEnvironmentRequest(**fields))
    by_id = {UUID(row.environment_id): row for row in environments.rows}
    for place in asked.places:
        _same(by_id[told.places[place]].metrics, _expected(reference, replace(asked, places=[place])))

    trends = await api.GetMetricsTrends(pb.GetMetricsTrendsRequest(**fields))
    found = [
        (
            point.date,
            point.deployments,
            point.failures,
            point.rolling_mean_7d,
            point.lead_time_median if point.HasField("lead_time_median") else None,
        )
        for point in trends.points
    ]
    assert found == reference.trend(asked)
