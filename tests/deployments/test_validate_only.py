"""validate_only: every check and the same answer, without any effect."""

import uuid
from typing import Any

import grpc
from google.protobuf.message import Message
from sqlalchemy import func, select

from relman_client.v1 import deployment_pb2 as pb
from relman_server.deployments.model import Deployment, DeploymentEvent, Stage
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.idempotency import Answer
from relman_server.kernel.db.transaction import Reading
from tests.deployments import steps
from tests.deployments.steps import make_in, queue, state
from tests.factories import RunningServer, make_deployment, make_environment, make_release, refused


def _everything(tx: Reading) -> list[Any]:
    counts = [
        tx.scalar(select(func.count()).select_from(table)) for table in (Stage, DeploymentEvent, AuditEntry, Answer)
    ]
    return [*counts, tx.rows(select(Deployment.id, Deployment.row_version).order_by(Deployment.id))]


def _comparable(message: Message) -> Message:
    for field in ("id", "created_at", "updated_at", "completed_at", "etag"):
        message.ClearField(field)
    return message


async def test_a_creation_that_is_only_tried_changes_nothing(server: RunningServer) -> None:
    first, second = await queue(server, 2)
    release = await make_release(server.admin, service=first.service_name)
    fields: dict[str, Any] = {
        "release": release.id,
        "environment": first.environment_name,
        "stages": ["build"],
        "supersede": True,
        "request_id": str(uuid.uuid4()),
    }
    before = await server.app.db.read(_everything)
    tried = await make_deployment(server.admin, server.admin, **fields, validate_only=True)
    assert await server.app.db.read(_everything) == before
    assert state(await steps.get(server.admin, second)) == "PENDING"
    assert (await refused(steps.get(server.admin, tried))).code == grpc.StatusCode.NOT_FOUND
    # The id of the request is still free for the real one.
    assert _comparable(tried) == _comparable(await make_deployment(server.admin, server.admin, **fields))


async def test_a_creation_that_is_only_tried_is_refused_like_the_real_one(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    for only in (True, False):
        refusal = await refused(
            make_deployment(
                server.admin, server.admin, release="nothing@1.0.0", environment=environment.name, validate_only=only
            )
        )
        assert (refusal.code, refusal.resource.resource_name) == (grpc.StatusCode.NOT_FOUND, "nothing@1.0.0")


async def test_a_completion_that_is_only_tried_changes_nothing(server: RunningServer) -> None:
    first, second = await queue(server, 2)
    await steps.start(server.admin, first)
    before = await server.app.db.read(_everything)
    tried = await steps.complete(server.admin, first, validate_only=True, request_id=str(uuid.uuid4()))
    assert state(tried) == "SUCCEEDED"
    assert await server.app.db.read(_everything) == before
    assert [state(await steps.get(server.admin, found)) for found in (first, second)] == ["IN_PROGRESS", "PENDING"]
    assert _comparable(tried) == _comparable(await steps.complete(server.admin, first))


async def test_a_completion_that_is_only_tried_is_refused_like_the_real_one(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS", stages=["build"])
    refusals = [await refused(steps.complete(server.admin, deployment, validate_only=only)) for only in (True, False)]
    assert [refusal.code for refusal in refusals] == [grpc.StatusCode.FAILED_PRECONDITION] * 2
    assert refusals[0].conditions == refusals[1].conditions


async def test_nobody_is_woken_by_what_did_not_happen(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS")
    watch = server.admin.deployments.WatchDeployment(pb.WatchDeploymentRequest(deployment=deployment.id))
    assert steps.event_type(await anext(aiter(watch))) == "SNAPSHOT"
    await steps.complete(server.admin, deployment, validate_only=True)
    await steps.cancel(server.admin, deployment)
    assert [steps.event_type(event) async for event in watch] == ["CANCELLED"]
