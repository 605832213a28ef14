"""Several server processes over one database: what one of them does the others do not do again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import func, select

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import stage_pb2
from relman_server.deployments.model import Deployment, DeploymentStatus, Stage, StageStatus
from relman_server.kernel import reconciler
from relman_server.kernel.clock import SystemClock
from relman_server.kernel.db.transaction import Reading, Transaction
from tests.conftest import empty_database, serving
from tests.deployments import steps
from tests.factories import Caller, Refusal, RunningServer, make_deployment, make_environment, make_release
from tests.services.relman import ServerProcess

ROUNDS = 8
MANY = 12
HOUR = stage_pb2.StageSpec(name="build", timeout_seconds=3600)


@pytest.fixture
async def quiet_server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningServer]:
    """A server over PostgreSQL that does nothing by itself, and whose folder, key and database others may share."""
    monkeypatch.setattr(reconciler, "EVERY", 1e9)
    with empty_database("postgresql", request, tmp_path) as url:
        async with serving(url, tmp_path / "data", SystemClock()) as running:
            yield running


@contextmanager
def _processes(server: RunningServer, number: int) -> Iterator[list[ServerProcess]]:
    """Make processes over the database of a server, of which the first token is theirs, too; not started yet."""
    settings = server.app.settings
    made = [ServerProcess(settings.data_dir, {"DATABASE_URL": settings.url}) for _ in range(number)]
    try:
        yield made
    finally:
        for process in made:
            process.kill()


async def test_of_two_that_start_a_deployment_at_once_on_two_processes_one_does(quiet_server: RunningServer) -> None:
    environment = await make_environment(quiet_server.admin)
    release = await make_release(quiet_server.admin)
    async with AsyncExitStack() as stack:
        processes = stack.enter_context(_processes(quiet_server, 2))
        await asyncio.gather(*(asyncio.to_thread(process.start) for process in processes))
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(process.address)) for process in processes
        ]
        callers = [Caller(channel, quiet_server.admin.token) for channel in channels]
        for _ in range(ROUNDS):
            deployment = await make_deployment(
                callers[0], quiet_server.admin, release=release.id, environment=environment.name
            )
            results = await asyncio.gather(
                *(steps.start(caller, deployment) for caller in callers), return_exceptions=True
            )
            refusals = [Refusal(result) for result in results if isinstance(result, grpc.aio.AioRpcError)]
            assert [refusal.reason for refusal in refusals] == ["INVALID_STATE"]
            events = [steps.event_type(event) for event in await steps.events_of(callers[1], deployment)]
            assert events == ["CREATED", "STARTED"]
            await steps.complete(callers[1], deployment)


async def test_a_process_that_is_killed_while_it_times_stages_out_leaves_each_to_the_next_once(
    quiet_server: RunningServer,
) -> None:
    release = await make_release(quiet_server.admin)
    running = [await _running(quiet_server, release.id) for _ in range(MANY)]
    with _processes(quiet_server, 2) as (first, second):
        await asyncio.to_thread(first.start)
        await quiet_server.app.db.write(_make_overdue)
        await _until_failed(quiet_server, 1)
        await asyncio.to_thread(first.kill)
        await asyncio.to_thread(second.start)
        await _until_failed(quiet_server, MANY)
    for deployment in running:
        events = await steps.events_of(quiet_server.admin, deployment)
        assert Counter(steps.event_type(event) for event in events[-2:]) == {"STAGE_ENDED": 1, "FAILED": 1}
        assert len(events) == 5  # created, started, stage started, timed out, failed
        assert events[-1].deployment.failure_reason == "STAGE_TIMEOUT"


async def _running(server: RunningServer, release: str) -> pb.Deployment:
    """Return a deployment whose stage runs."""
    deployment = await make_deployment(server.admin, server.admin, release=release, stages=[HOUR])
    await steps.start(server.admin, deployment)
    await server.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=f"{deployment.id}/build"))
    return deployment


def _make_overdue(tx: Transaction) -> None:
    for stage in tx.entities(select(Stage).where(Stage.status == StageStatus.RUNNING)):
        stage.due_at = tx.now - timedelta(seconds=1)
        tx.audit("stage.update", stage)


async def _until_failed(server: RunningServer, number: int) -> None:
    async with asyncio.timeout(30):
        while await server.app.db.read(_failed) < number:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.002)


def _failed(tx: Reading) -> Any:
    return tx.scalar(select(func.count()).where(Deployment.status == DeploymentStatus.FAILED))
