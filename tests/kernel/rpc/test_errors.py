"""How calls end when something goes wrong: always with a status, never with more than the caller may know."""

import asyncio
import gc
import io
import json
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import grpc
import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from relman_client.v1 import deployment_pb2, system_pb2, team_pb2
from relman_server.kernel.db import Transaction, database
from relman_server.kernel.errors import InvalidInput
from relman_server.kernel.identity import Call
from relman_server.kernel.rpc.errors import Errors, cut
from tests.contract import RPCS, call
from tests.factories import RunningServer, make_deployment, make_team, refused, unique
from tests.requests import VALID


def _explode(tx: object, *_: object) -> None:
    raise RuntimeError("SELECT secret FROM vault WHERE path = '/etc/relman'")


def _misquery(tx: Transaction, *_: object) -> None:
    tx.execute(text("SELECT secret FROM vault"))


@pytest.mark.parametrize("wrong", [_explode, _misquery])
async def test_an_unexpected_error_says_nothing_of_the_inside(
    server: RunningServer, server_log: io.StringIO, monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., None]
) -> None:
    """Fails when the mapping of errors is taken out of the chain: gRPC itself sends the exception's text."""
    monkeypatch.setattr("relman_server.teams.logic.create_team", wrong)
    refusal = await refused(
        server.admin.teams.CreateTeam(
            team_pb2.CreateTeamRequest(name=unique("team")), metadata=(("x-request-id", "correlate-me"),)
        )
    )
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert refusal.info.metadata == {"correlation_id": "correlate-me"}
    assert "vault" not in f"{refusal.message}{refusal.info}"
    assert "correlate-me" in server_log.getvalue()
    assert "vault" in server_log.getvalue()


async def test_an_unexpected_error_of_any_call_says_nothing_of_the_inside(
    server: RunningServer, server_log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = {rpc: await VALID[rpc.name](server) for rpc in RPCS if rpc.name in VALID}

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("secret of the vault")

    monkeypatch.setattr(server.app.db, "_write", broken)
    monkeypatch.setattr(server.app.db, "_read", broken)
    for rpc, request in requests.items():
        outcome = await call(server.channel, rpc, request, server.admin.metadata)
        assert outcome.refusal is not None, rpc.name
        assert (outcome.status, outcome.reason) == ("INTERNAL", "INTERNAL"), rpc.name
        assert "vault" not in f"{outcome.refusal.message}{outcome.refusal.info}", rpc.name
        assert outcome.refusal.info.metadata["correlation_id"] == outcome.request_id


def _blocked(release: threading.Event) -> Callable[..., Any]:
    def wait(*_: object) -> None:
        release.wait(20)

    return wait


async def _settled(server: RunningServer) -> None:
    """Wait until nothing is written for a while, the server's own housekeeping included, which has several steps."""
    idle = 0
    for _ in range(500):
        idle = 0 if server.app.db._writers.expected else idle + 1
        if idle == 5:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("something is written for too long")


async def test_past_the_bound_calls_are_told_to_come_back_at_once(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when waiting is not bounded: the calls would queue up until their deadlines."""
    release = threading.Event()
    workers = server.app.db._writers
    await _settled(server)
    monkeypatch.setattr(workers, "_bound", 6)
    running = [asyncio.ensure_future(server.app.db.write(_blocked(release))) for _ in range(6)]
    await asyncio.sleep(0.05)
    started = time.monotonic()
    refusal = await refused(server.admin.teams.CreateTeam(team_pb2.CreateTeamRequest(name="late")))
    assert time.monotonic() - started < 1
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert refusal.retry.retry_delay.seconds == 1
    # Reads have threads of their own, and go on.
    assert await server.admin.teams.ListTeams(team_pb2.ListTeamsRequest()) == team_pb2.ListTeamsResponse(
        total_is_exact=True, page=1, page_size=50
    )
    release.set()
    await asyncio.gather(*running)
    assert (await make_team(server.admin)).id


def test_the_number_of_waiting_calls_is_bounded() -> None:
    assert 100 <= database.MAX_WAITING <= 10_000


async def test_a_call_whose_deadline_passed_in_the_queue_changes_nothing(server: RunningServer) -> None:
    """Fails when the deadline is not looked at again in the worker thread."""
    release = threading.Event()
    await _settled(server)
    blocking = [asyncio.ensure_future(server.app.db.write(_blocked(release))) for _ in range(4)]
    await asyncio.sleep(0.05)
    refusal = await refused(server.admin.teams.CreateTeam(team_pb2.CreateTeamRequest(name="late"), timeout=0.2))
    assert refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.sleep(0.2)
    release.set()
    await asyncio.gather(*blocking)
    await make_team(server.admin)  # went through the same queue, so what was before it has been decided
    late = await refused(server.admin.teams.GetTeam(team_pb2.GetTeamRequest(team="late")))
    assert late.code == grpc.StatusCode.NOT_FOUND


def _checked_out(server: RunningServer) -> int:
    engines = (server.app.db.writes, server.app.db.reads)
    return sum(cast("QueuePool", engine.pool).checkedout() for engine in engines)


async def test_a_cancelled_call_leaves_no_connection_behind(server: RunningServer) -> None:
    calls = [
        asyncio.ensure_future(server.admin.teams.CreateTeam(team_pb2.CreateTeamRequest(name=unique("team"))))
        for _ in range(50)
    ]
    await asyncio.sleep(0.01)
    for one in calls:
        one.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await _settled(server)
    assert _checked_out(server) == 0
    assert (await make_team(server.admin)).id


def _refusals_in_memory() -> int:
    gc.collect()
    return sum(isinstance(each, InvalidInput | ValidationError) for each in gc.get_objects())


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("CreateTeam", team_pb2.CreateTeamRequest(name="No Name")),
        ("UpdateTeam", team_pb2.UpdateTeamRequest(team="x" * 400)),
    ],
)
async def test_a_refused_request_leaves_nothing_in_memory(server: RunningServer, rpc: str, request_: Any) -> None:
    """Fails when InvalidInput refers to pydantic's error: what a validator raised keeps the call and its request."""
    before = _refusals_in_memory()
    for _ in range(10):
        assert (await refused(getattr(server.admin.teams, rpc)(request_))).violations
    assert _refusals_in_memory() <= before + 1, "more than that of the last call"


async def test_streams_hold_no_connection_while_nothing_happens(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin)
    request = deployment_pb2.WatchDeploymentRequest(deployment=deployment.id, keep_open=True)
    watches = [server.admin.deployments.WatchDeployment(request) for _ in range(20)]
    for watch in watches:
        await watch.read()
    await asyncio.sleep(0.3)
    assert _checked_out(server) == 0
    for watch in watches:
        watch.cancel()


async def test_who_leaves_a_stream_is_not_told_that_the_server_ended_it(
    server: RunningServer, server_log: io.StringIO
) -> None:
    """The answer would stay in memory, as nobody is there any more; and the log would say UNAVAILABLE of every one."""
    deployment = await make_deployment(server.admin, server.admin)
    request = deployment_pb2.WatchDeploymentRequest(deployment=deployment.id, keep_open=True)
    watch = server.admin.deployments.WatchDeployment(request)
    await watch.read()
    watch.cancel()
    async with asyncio.timeout(10):
        while "WatchDeployment" not in server_log.getvalue():  # noqa: ASYNC110 - the server has no event for tests
            await asyncio.sleep(0.01)
    [ended] = [line for line in map(json.loads, server_log.getvalue().splitlines()) if "Watch" in str(line)]
    assert (ended["status"], ended.get("reason")) == ("CANCELLED", None)


async def test_a_handler_that_is_cancelled_inside_still_answers(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own CancelledError would leave the caller waiting for good: gRPC sends no status then."""

    async def cancelled(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(server.app.db, "write", cancelled)
    refusal = await refused(server.admin.teams.CreateTeam(team_pb2.CreateTeamRequest(name="x"), timeout=5))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


@pytest.mark.parametrize(
    ("said", "room", "kept"),
    [
        ("short", 100, "short"),
        ("a" * 100, 100, "a" * 100),
        ("a" * 101, 100, "a" * 97 + "..."),
        ("ü" * 16, 100, "ü" * 16),
        ("ü" * 17, 100, "ü" * 13 + "..."),
        ("💥" * 100, 100, "💥" * 5 + "..."),
        ("", 0, ""),
    ],
)
def test_text_is_cut_to_what_it_takes_in_a_header(said: str, room: int, kept: str) -> None:
    assert cut(said, room) == kept


async def test_the_health_of_a_server_is_not_the_business_of_the_database_alone(server: RunningServer) -> None:
    outside = await server.nobody.system.GetHealth(system_pb2.GetHealthRequest())
    assert outside.database.HasField("latency")
    assert not outside.redis.HasField("latency")


async def test_an_answer_to_who_has_just_left_is_no_error_of_ours(server_log: io.StringIO) -> None:
    """Fails when it is taken for a mistake of a handler: every follower that leaves would log a traceback."""

    async def leave(*_: object) -> None:
        raise grpc.aio.InternalError('Failed "execute_batch"')

    left = Call(method="/relman.v1.DeploymentLogService/TailLogs", policy=None)
    with pytest.raises(grpc.aio.InternalError):
        await Errors()(left, None, cast("Any", None), leave)
    assert (left.status, server_log.getvalue()) == ("CANCELLED", "")
