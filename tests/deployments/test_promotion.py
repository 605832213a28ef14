from typing import Any

import grpc
from google.protobuf.message import Message

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import environment_pb2, release_pb2
from tests.deployments import steps
from tests.deployments.steps import deploy
from tests.factories import RunningServer, make_environment, make_release, refused


async def _promote(server: RunningServer, release: release_pb2.Release, **fields: Any) -> pb.Deployment:
    return await server.admin.releases.PromoteRelease(release_pb2.PromoteReleaseRequest(release=release.id, **fields))


async def _after(server: RunningServer, before: environment_pb2.Environment) -> environment_pb2.Environment:
    return await make_environment(server.admin, promotes_from=before.name)


async def test_a_release_goes_on_from_where_it_succeeded_last(server: RunningServer) -> None:
    testing = await make_environment(server.admin)
    staging = await _after(server, testing)
    production = await _after(server, staging)
    release = await make_release(server.admin)
    await deploy(server, release.id, testing.name)
    promoted = await _promote(server, release, labels={"a": "b"})
    assert (promoted.environment_id, dict(promoted.labels)) == (staging.id, {"a": "b"})
    await steps.start(server.admin, promoted)
    await steps.complete(server.admin, promoted)
    assert (await _promote(server, release)).environment_id == production.id


async def test_a_failure_does_not_count_as_having_been_there(server: RunningServer) -> None:
    testing = await make_environment(server.admin)
    staging = await _after(server, testing)
    await _after(server, staging)
    release = await make_release(server.admin)
    await deploy(server, release.id, testing.name)
    await deploy(server, release.id, staging.name, outcome=steps.FAILED)
    assert (await _promote(server, release)).environment_id == staging.id


async def test_a_release_that_succeeded_nowhere_is_not_promoted(server: RunningServer) -> None:
    release = await make_release(server.admin)
    refusal = await refused(_promote(server, release))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE")
    assert "deploy it first" in refusal.message


async def test_at_the_end_of_the_way_there_is_nothing_to_promote_into(server: RunningServer) -> None:
    release, environment = await make_release(server.admin), await make_environment(server.admin)
    await deploy(server, release.id, environment.name)
    refusal = await refused(_promote(server, release))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert environment.name in refusal.message


async def test_an_inactive_environment_is_not_next(server: RunningServer) -> None:
    before = await make_environment(server.admin)
    closed, open_one = await _after(server, before), await _after(server, before)
    await steps.set_active(server, closed.name, active=False)
    release = await make_release(server.admin)
    await deploy(server, release.id, before.name)
    assert (await _promote(server, release)).environment_id == open_one.id


async def test_of_several_the_caller_says_which(server: RunningServer) -> None:
    before = await make_environment(server.admin)
    first, second = await _after(server, before), await _after(server, before)
    release = await make_release(server.admin)
    await deploy(server, release.id, before.name)
    refusal = await refused(_promote(server, release))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"environment"})
    assert first.name in refusal.message
    assert second.name in refusal.message
    for reference in (second.name, second.id, second.id.upper()):
        assert (await _promote(server, release, environment=reference)).environment_id == second.id


async def test_an_environment_that_is_not_next_is_refused_and_an_unknown_one_not_found(server: RunningServer) -> None:
    before = await make_environment(server.admin)
    await _after(server, before)
    release = await make_release(server.admin)
    await deploy(server, release.id, before.name)
    refusal = await refused(_promote(server, release, environment=before.name))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"environment"})
    refusal = await refused(_promote(server, release, environment="nothing"))
    assert (refusal.code, refusal.resource.resource_name) == (grpc.StatusCode.NOT_FOUND, "nothing")


def _without_identity(message: Message) -> Message:
    for field in ("id", "created_at", "updated_at", "completed_at", "etag"):
        if field in message.DESCRIPTOR.fields_by_name:
            message.ClearField(field)
    return message


async def test_a_promotion_that_is_only_tried_answers_the_same(server: RunningServer) -> None:
    before = await make_environment(server.admin)
    after = await _after(server, before)
    release = await make_release(server.admin)
    await deploy(server, release.id, before.name)
    tried = await _promote(server, release, validate_only=True)
    listed = await server.admin.deployments.ListDeployments(pb.ListDeploymentsRequest(environment=after.name))
    assert listed.total_size == 0
    assert _without_identity(tried) == _without_identity(await _promote(server, release))
