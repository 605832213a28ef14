"""What the server says of itself: grpc.health.v1, GetHealth, reflection."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from relman_client.v1 import common_pb2, system_pb2
from relman_server.kernel.errors import Unavailable
from relman_server.kernel.rpc.health import Health
from tests.conftest import MovableClock, serving
from tests.contract import services
from tests.factories import RunningServer
from tests.services.valkey import ValkeyServer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def _check(server: RunningServer, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(server.channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=name))).status)


async def _becomes(server: RunningServer, name: str, status: int) -> None:
    """Return when the health is as said, within 8 seconds."""
    stub = health_pb2_grpc.HealthStub(server.channel)
    async with asyncio.timeout(8):
        async for answer in stub.Watch(health_pb2.HealthCheckRequest(service=name)):
            if answer.status == status:
                return


async def test_the_whole_each_service_and_the_database_have_a_health(shared_server: RunningServer) -> None:
    for name in ("", "database", *(service.full_name for service in services())):
        assert await _check(shared_server, name) == SERVING, name


@pytest.mark.parametrize("name", ["redis", "relman.v1.Nothing", "x" * 1000])
async def test_what_is_not_there_has_no_health(shared_server: RunningServer, name: str) -> None:
    """Redis too, when none is configured: an orchestrator that asks for it learns that its settings are wrong."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await _check(shared_server, name)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_watching_what_is_not_there_says_so_and_goes_on(shared_server: RunningServer) -> None:
    stub = health_pb2_grpc.HealthStub(shared_server.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="redis"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


async def test_a_malformed_health_check_is_refused_and_harms_nobody(shared_server: RunningServer) -> None:
    check: Any = shared_server.channel.unary_unary("/grpc.health.v1.Health/Check")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await check(b"\xff\xff")
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert await _check(shared_server, "") == SERVING


async def test_reflection_lists_every_service(shared_server: RunningServer) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(shared_server.channel)
    ask = stub.ServerReflectionInfo()
    await ask.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    await ask.done_writing()
    listed = {service.name for service in (await ask.read()).list_services_response.service}
    assert {service.full_name for service in services()} < listed
    assert "grpc.health.v1.Health" in listed


async def test_reflection_is_off_when_it_is_turned_off(
    sqlite_template: Path, tmp_path: Path, clock: MovableClock
) -> None:
    shutil.copy(sqlite_template, tmp_path / "relman.db")
    async with serving(f"sqlite:///{tmp_path / 'relman.db'}", tmp_path, clock, reflection=False) as server:
        ask: Any = server.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ask([b""]).read()
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_probe_that_fails_in_an_unexpected_way_is_asked_again() -> None:
    """Fails when only expected errors are caught: the task would be over, and the health never change again."""
    moods: list[Exception | None] = [None, RuntimeError("unexpected"), Unavailable("expected"), None]

    async def probe() -> None:
        mood = moods.pop(0)
        if mood is not None:
            raise mood

    health = Health(["a.Service"], {"database": probe})
    said = []
    for _ in range(4):
        await health.look()
        said.append(health._known["a.Service"])
    assert said == [True, False, False, True]


# --- Redis, as far as it is used


@pytest.fixture
async def with_redis(
    sqlite_template: Path, tmp_path: Path, clock: MovableClock
) -> AsyncIterator[tuple[RunningServer, ValkeyServer]]:
    """A server over SQLite, and a Valkey of its own."""
    shutil.copy(sqlite_template, tmp_path / "relman.db")
    with ValkeyServer() as valkey:
        async with serving(
            f"sqlite:///{tmp_path / 'relman.db'}", tmp_path / "data", clock, redis_url=valkey.url
        ) as server:
            yield server, valkey


async def test_a_redis_that_is_configured_has_a_health(with_redis: tuple[RunningServer, ValkeyServer]) -> None:
    server, _ = with_redis
    assert await _check(server, "redis") == SERVING
    inside = await server.admin.system.GetHealth(system_pb2.GetHealthRequest())
    assert inside.redis.status == common_pb2.HEALTH_STATUS_HEALTHY
    assert inside.redis.HasField("latency")
    assert inside.redis.version
    outside = await server.nobody.system.GetHealth(system_pb2.GetHealthRequest())
    assert outside.redis.version == ""


async def test_a_redis_that_is_gone_is_said_to_be_and_the_server_goes_on(
    with_redis: tuple[RunningServer, ValkeyServer],
) -> None:
    """Fails when the whole depends on it: a balancer would send everyone away, from every replica at once."""
    server, valkey = with_redis
    await asyncio.to_thread(valkey.stop)
    await _becomes(server, "redis", NOT_SERVING)
    assert await _check(server, "") == SERVING
    said = await server.admin.system.GetHealth(system_pb2.GetHealthRequest())
    assert said.redis.status == common_pb2.HEALTH_STATUS_FAILING
    assert said.redis.message
    assert str(valkey.folder) not in said.redis.message
    assert said.database.status == common_pb2.HEALTH_STATUS_HEALTHY
    await asyncio.to_thread(valkey.start)
    await _becomes(server, "redis", SERVING)


async def test_a_redis_that_is_frozen_does_not_hold_up_the_answer(
    with_redis: tuple[RunningServer, ValkeyServer],
) -> None:
    server, valkey = with_redis
    valkey.freeze()
    try:
        async with asyncio.timeout(6):
            said = await server.nobody.system.GetHealth(system_pb2.GetHealthRequest())
    finally:
        valkey.thaw()
    assert said.redis.status == common_pb2.HEALTH_STATUS_FAILING
