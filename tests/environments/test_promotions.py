import asyncio

import grpc

from relman_client.v1 import environment_pb2 as pb
from tests.factories import RunningServer, make_environment, refused


async def _promote(server: RunningServer, before: pb.Environment, after: pb.Environment) -> pb.Environment:
    return await server.admin.environments.UpdateEnvironment(
        pb.UpdateEnvironmentRequest(environment=after.name, promotes_from=before.name)
    )


async def test_an_environment_does_not_come_before_itself(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    refusal = await refused(_promote(server, environment, environment))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"promotes_from"})


async def test_a_circle_of_three_is_refused(server: RunningServer) -> None:
    first = await make_environment(server.admin)
    second = await make_environment(server.admin, promotes_from=first.name)
    third = await make_environment(server.admin, promotes_from=second.id)
    refusal = await refused(_promote(server, third, first))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"promotes_from"})
    unchanged = await server.admin.environments.GetEnvironment(pb.GetEnvironmentRequest(environment=first.id))
    assert unchanged == first


async def test_two_may_promote_from_the_same(server: RunningServer) -> None:
    first = await make_environment(server.admin)
    for _ in range(2):
        after = await make_environment(server.admin)
        assert (await _promote(server, first, after)).promotes_from == first.id


async def test_the_order_of_two_is_turned_around_in_two_steps(server: RunningServer) -> None:
    first = await make_environment(server.admin)
    second = await make_environment(server.admin, promotes_from=first.name)
    await server.admin.environments.UpdateEnvironment(
        pb.UpdateEnvironmentRequest(environment=second.name, promotes_from="")
    )
    assert (await _promote(server, second, first)).promotes_from == second.id


async def test_an_unknown_environment_before_is_not_found(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    for call in (
        make_environment(server.admin, promotes_from="nothing"),
        server.admin.environments.UpdateEnvironment(
            pb.UpdateEnvironmentRequest(environment=environment.name, promotes_from="nothing")
        ),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.resource.resource_name) == (grpc.StatusCode.NOT_FOUND, "nothing")


async def test_two_changes_at_once_do_not_close_a_circle(server: RunningServer) -> None:
    first, second = await make_environment(server.admin), await make_environment(server.admin)
    results = await asyncio.gather(
        _promote(server, first, second), _promote(server, second, first), return_exceptions=True
    )
    assert sum(isinstance(result, grpc.aio.AioRpcError) for result in results) == 1
