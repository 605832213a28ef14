"""One deployment at a time per service and environment; the others wait in order of creation."""

from relman_client.v1 import catalog_pb2
from relman_client.v1 import deployment_pb2 as pb
from tests.deployments import steps
from tests.deployments.steps import FAILED, events_of, gates, get, queue, state
from tests.factories import (
    RunningServer,
    make_deployment,
    make_environment,
    make_release,
    make_service,
)


async def _states(server: RunningServer, deployments: list[pb.Deployment]) -> list[str]:
    return [state(await get(server.admin, deployment)) for deployment in deployments]


async def test_the_oldest_is_ready_and_the_others_wait_for_it(server: RunningServer) -> None:
    waiting = await queue(server, 3)
    assert await _states(server, waiting) == ["READY", "PENDING", "PENDING"]
    for deployment in waiting[1:]:
        assert [blocker.subject_id for blocker in deployment.blockers] == [waiting[0].id]
        assert gates(deployment) == ["QUEUE"]


async def test_they_go_in_order_of_creation_whatever_ends_the_one_before(server: RunningServer) -> None:
    waiting = await queue(server, 4)
    await steps.cancel(server.admin, waiting[0])
    for index, outcome in ((1, steps.SUCCEEDED), (2, FAILED)):
        assert (await _states(server, waiting))[index:] == ["READY"] + ["PENDING"] * (3 - index)
        await steps.start(server.admin, waiting[index])
        await steps.complete(server.admin, waiting[index], outcome)
    assert (await _states(server, waiting))[3] == "READY"


async def test_cancelling_one_in_progress_lets_the_next_go(server: RunningServer) -> None:
    first, second = await queue(server, 2)
    await steps.start(server.admin, first)
    await steps.cancel(server.admin, first)
    assert state(await get(server.admin, second)) == "READY"


async def test_one_that_is_cancelled_in_the_middle_leaves_the_head_where_it_is(server: RunningServer) -> None:
    first, second, third = await queue(server, 3)
    await steps.cancel(server.admin, second)
    assert await _states(server, [first, third]) == ["READY", "PENDING"]
    assert [blocker.subject_id for blocker in (await get(server.admin, third)).blockers] == [first.id]
    await steps.cancel(server.admin, first)
    assert state(await get(server.admin, third)) == "READY"


async def test_nobody_who_is_not_concerned_gets_an_event(server: RunningServer) -> None:
    first, second, third = await queue(server, 3)
    await steps.cancel(server.admin, third)
    assert len(await events_of(server.admin, first)) == 1
    assert len(await events_of(server.admin, second)) == 1


async def test_one_that_left_is_told_to_those_behind_in_one_event_each(server: RunningServer) -> None:
    first, second, third = await queue(server, 3)
    await steps.cancel(server.admin, first)
    assert [steps.event_type(event) for event in await events_of(server.admin, second)] == ["CREATED", "READY"]
    later = await events_of(server.admin, third)
    assert [steps.event_type(event) for event in later] == ["CREATED", "BLOCKED"]
    assert later[-1].deployment.blockers[0].subject_id == second.id


async def test_other_services_and_other_environments_do_not_wait(server: RunningServer) -> None:
    (first,) = await queue(server, 1)
    elsewhere = await make_deployment(server.admin, server.admin, release=first.release_id)
    another = await make_deployment(server.admin, server.admin, environment=first.environment_id)
    assert await _states(server, [first, elsewhere, another]) == ["READY"] * 3


async def test_one_that_cannot_start_holds_those_behind_it_until_it_is_called_off(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    draft = await make_release(server.admin, service=service.name, publish=False)
    ready = await make_release(server.admin, service=service.name)
    stuck = await make_deployment(server.admin, server.admin, release=draft.id, environment=environment.name)
    behind = await make_deployment(server.admin, server.admin, release=ready.id, environment=environment.name)
    assert gates(behind) == ["QUEUE"]
    await steps.cancel(server.admin, stuck)
    assert state(await get(server.admin, behind)) == "READY"


async def test_superseding_cancels_what_is_pending_before_it_and_says_so(server: RunningServer) -> None:
    ready, pending = await queue(server, 2)
    release = await make_release(server.admin, service=ready.service_name)
    deployment = await make_deployment(
        server.admin, server.admin, release=release.id, environment=ready.environment_name, supersede=True
    )
    superseded = await get(server.admin, pending)
    assert state(superseded) == "CANCELLED"
    assert f"{release.service_name}@{release.version}" in superseded.failure_reason
    assert state(await get(server.admin, ready)) == "READY"
    assert [blocker.subject_id for blocker in deployment.blockers] == [ready.id]


async def test_superseding_everything_is_ready_at_once(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    draft = await make_release(server.admin, service=service.name, publish=False)
    stuck = await make_deployment(server.admin, server.admin, release=draft.id, environment=environment.name)
    release = await make_release(server.admin, service=service.name)
    deployment = await make_deployment(
        server.admin, server.admin, release=release.id, environment=environment.name, supersede=True
    )
    assert state(deployment) == "READY"
    assert state(await get(server.admin, stuck)) == "CANCELLED"


async def test_an_inactive_service_and_an_inactive_environment_hold_until_they_are_active(
    server: RunningServer,
) -> None:
    (deployment,) = await queue(server, 1)
    for active in (False, True):
        await server.admin.catalog.UpdateService(
            catalog_pb2.UpdateServiceRequest(service=deployment.service_id, is_active=active)
        )
        await steps.set_active(server, deployment.environment_id, active=active)
        found = await get(server.admin, deployment)
        assert gates(found) == ([] if active else ["INACTIVE", "INACTIVE"])
        assert state(found) == ("READY" if active else "PENDING")
