"""What may be asked for, what is refused, and where days begin."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import analytics_pb2 as pb
from relman_server.analytics.calendar import Range
from relman_server.kernel.rpc.writing import timestamp
from tests.analytics.steps import PRODUCTION
from tests.factories import RunningServer, make_environment, make_service, refused, unique
from tests.statements import executed, statements

DAY = timedelta(days=1)
CALLS: dict[str, Any] = {
    "GetMetricsSummary": pb.GetMetricsSummaryRequest,
    "GetMetricsTrends": pb.GetMetricsTrendsRequest,
    "GetMetricsByService": pb.GetMetricsByServiceRequest,
    "GetMetricsByEnvironment": pb.GetMetricsByEnvironmentRequest,
}


def at(text: str) -> Timestamp:
    return timestamp(datetime.fromisoformat(text))


async def ask(server: RunningServer, call: str, **fields: Any) -> Any:
    return await getattr(server.admin.analytics, call)(CALLS[call](**fields))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"start_date": at("2026-02-01T00:00Z"), "end_date": at("2026-01-01T00:00Z")}, "end_date"),
        ({"start_date": at("2026-02-01T00:00Z"), "end_date": at("2026-02-01T00:00Z")}, "end_date"),
        ({"start_date": at("2000-01-01T00:00Z"), "end_date": at("2100-01-01T00:00Z")}, "end_date"),
        ({"start_date": at("1990-01-01T00:00Z")}, "end_date"),
        ({"start_date": at("2999-01-01T00:00Z")}, "end_date"),
        ({"start_date": at("1969-12-31T00:00Z"), "end_date": at("1970-01-02T00:00Z")}, "start_date"),
        ({"end_date": at("9999-12-31T00:00Z")}, "end_date"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone"),
        ({"time_zone": "+02:00"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"services": ["x"] * 501}, "services"),
        ({"services": [""]}, "services[0]"),
        ({"environment_types": [0]}, "environment_types[0]"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    server: RunningServer, call: str, fields: dict[str, Any], wrong: str
) -> None:
    refusal = await refused(ask(server, call, **fields))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {wrong})


@pytest.mark.parametrize("call", CALLS)
async def test_every_unknown_service_is_named(server: RunningServer, call: str) -> None:
    refusal = await refused(ask(server, call, services=["ghosts", (await make_service(server.admin)).id, "spirits"]))
    assert (refusal.code, refusal.resource.resource_name) == (grpc.StatusCode.NOT_FOUND, "ghosts, spirits")


async def test_without_a_range_it_is_of_the_last_30_days(server: RunningServer) -> None:
    found = await ask(server, "GetMetricsSummary")
    start, end = found.start_date.ToDatetime(UTC), found.end_date.ToDatetime(UTC)
    assert end - start == 30 * DAY
    assert abs(datetime.now(UTC) - end) < timedelta(minutes=1)


async def test_ten_years_are_answered_day_by_day(server: RunningServer) -> None:
    start = datetime(2016, 1, 1, tzinfo=UTC)
    fields = {
        "start_date": timestamp(start),
        "end_date": timestamp(start + 3660 * DAY),
        "time_zone": "Africa/Casablanca",
    }
    trends = await ask(server, "GetMetricsTrends", services=[(await make_service(server.admin)).name], **fields)
    days = [date.fromisoformat(point.date) for point in trends.points]
    assert days == [date(2016, 1, 1) + DAY * number for number in range(3661)]
    assert not any(point.deployments or point.HasField("lead_time_median") for point in trends.points)
    assert (trends.definition_version, trends.time_zone) == (1, "Africa/Casablanca")


async def test_services_come_in_pages_by_name_also_those_without_deployments(server: RunningServer) -> None:
    names = sorted([(await make_service(server.admin)).name for _ in range(3)])
    first = await ask(server, "GetMetricsByService", services=names, page_size=2)
    rest = await ask(server, "GetMetricsByService", services=names, page_size=2, page_token=first.next_page_token)
    assert [row.service_name for row in (*first.rows, *rest.rows)] == names
    assert rest.next_page_token == ""
    assert first.rows[0].metrics.deployment_frequency.value == 0
    refusal = await refused(ask(server, "GetMetricsByService", services=names[:2], page_token=first.next_page_token))
    assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_environments_are_told_by_their_type_and_not_by_their_name(server: RunningServer) -> None:
    made = await make_environment(server.admin, name=unique("production"))
    rows = (await ask(server, "GetMetricsByEnvironment")).rows
    assert made.id not in {row.environment_id for row in rows}
    rows = (await ask(server, "GetMetricsByEnvironment", environment_types=[made.environment_type])).rows
    assert made.id in {row.environment_id for row in rows}


async def test_what_is_asked_again_is_not_made_into_sql_again(server: RunningServer) -> None:
    """However many services, a page of them costs as many statements as one."""
    names = [(await make_service(server.admin)).name for _ in range(5)]
    with statements(server.app.db) as one:
        await ask(server, "GetMetricsByService", services=names[:1])
    with statements(server.app.db) as five:
        await ask(server, "GetMetricsByService", services=names)
    assert len(one) == len(five) <= 12


INDEXES = {
    "AS pipeline_failures": {"ix_deployment_facts", "ix_deployment_unusual"},
    "AS bases": {"ix_delivered_change_environment_id_delivered_at"},
    "AS oldest": {"ix_deployment_unusual", "ix_deployment_outcome"},
}
"""By what stands in a statement, which indexes it needs."""


@pytest.mark.parametrize("statement", INDEXES)
async def test_what_came_of_deployments_is_found_by_index(
    server: RunningServer, engine_name: str, statement: str
) -> None:
    """Fails without the indexes; on PostgreSQL, also when they lack a column, for then rows are looked at."""
    await make_environment(server.admin, environment_type=PRODUCTION)
    seen: list[tuple[str, Any]] = []
    with executed(server.app.db, lambda statement, parameters: seen.append((statement, parameters))):
        await ask(server, "GetMetricsSummary")
    (found,) = [each for each in seen if statement in each[0]]
    with server.app.db.reads.connect() as connection:
        if engine_name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")
            connection.exec_driver_sql("SET enable_bitmapscan = off")
            # Of an empty table, one index is as good as another.
            connection.exec_driver_sql("BEGIN")
            if "ix_deployment_outcome" not in INDEXES[statement]:
                connection.exec_driver_sql("DROP INDEX ix_deployment_outcome")
        explain = "EXPLAIN " if engine_name == "postgresql" else "EXPLAIN QUERY PLAN "
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + found[0], found[1]))
        if engine_name == "postgresql":
            connection.exec_driver_sql("ROLLBACK")
        connection.invalidate()
    if engine_name == "postgresql" and statement == "AS oldest":
        assert "CTE sound" in plan, "or successes may be read again for each failure, where few are expected"
    by = "Index Only Scan using " if engine_name == "postgresql" else "INDEX "
    for index in INDEXES[statement]:
        assert f"{by}{index}" in plan, plan


async def test_the_changes_of_a_day_are_those_of_its_part_of_the_index(server: RunningServer, engine_name: str) -> None:
    """Fails when they are told of the range as well: without statistics all of it may be read for each day."""
    if engine_name == "sqlite":
        pytest.skip("SQLite groups the changes of the range by day")
    await make_environment(server.admin, environment_type=PRODUCTION)
    seen: list[tuple[str, Any]] = []
    with executed(server.app.db, lambda statement, parameters: seen.append((statement, parameters))):
        await ask(server, "GetMetricsTrends")
    (found,) = [each for each in seen if "delivered_change" in each[0]]
    with server.app.db.reads.connect() as connection:
        plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {found[0]}", found[1]))
    assert "delivered_at >= " in plan
    assert "delivered_at >= '" not in plan


# --- where days begin


@pytest.mark.parametrize(
    ("zone", "start", "end", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-03-30", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-26", 25),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-06", 24.5),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-05", 23),
        ("Asia/Kathmandu", "2026-05-01", "2026-05-02", 24),
    ],
)
def test_days_are_as_long_as_the_clocks_say(zone: str, start: str, end: str, hours: float) -> None:
    there = Range(datetime(2018, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), ZoneInfo(zone))
    length = there.starts(date.fromisoformat(end)) - there.starts(date.fromisoformat(start))
    assert length == timedelta(hours=hours)


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/St_Johns", "Africa/Casablanca", "Pacific/Apia", "Asia/Gaza"]
)
def test_every_change_of_the_clocks_is_found_to_the_second(zone: str) -> None:
    start, end = datetime(2009, 1, 1, 5, 7, 11, 13, tzinfo=UTC), datetime(2019, 1, 1, tzinfo=UTC)
    there = Range(start, end, ZoneInfo(zone))
    for number, (change, offset) in enumerate(there.offsets):
        assert change.astimezone(there.zone).utcoffset() == offset
        if number:
            before = (change - timedelta(seconds=1)).astimezone(there.zone).utcoffset()
            assert before == there.offsets[number - 1][1] != offset
    moment = start
    while moment < end:
        known = [offset for change, offset in there.offsets if change <= moment][-1]
        assert moment.astimezone(there.zone).utcoffset() == known
        moment += timedelta(hours=7)


def test_weeks_and_months_count_when_nothing_of_them_is_missing() -> None:
    zone = ZoneInfo("Europe/Berlin")
    start, end = datetime(2026, 2, 28, tzinfo=zone), datetime(2026, 4, 13, tzinfo=zone)
    whole = Range(start.astimezone(UTC), end.astimezone(UTC), zone).since(None)
    assert [str(first) for first, _ in whole.weeks()] == [
        f"2026-{day}" for day in ("03-02", "03-09", "03-16", "03-23", "03-30", "04-06")
    ]
    assert [str(first) for first, _ in whole.months()] == ["2026-03-01"]
    later = Range((start + timedelta(seconds=1)).astimezone(UTC), end.astimezone(UTC), zone)
    assert later.since(None).first_whole == date(2026, 3, 1)
    assert later.since(datetime(2026, 3, 10, 15, tzinfo=UTC)).first_whole == date(2026, 3, 10)
