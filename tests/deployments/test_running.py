"""What runs where, and how it is doing."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from relman_client.v1 import catalog_pb2, common_pb2, environment_pb2
from relman_client.v1 import deployment_pb2 as pb
from relman_server.kernel.rpc import writing
from tests.deployments import steps
from tests.deployments.steps import FAILED, deploy, make_in, queue
from tests.factories import (
    RunningServer,
    make_deployment,
    make_environment,
    make_release,
    make_service,
    refused,
    unique,
)


async def _status(server: RunningServer, environment: str) -> environment_pb2.EnvironmentStatus:
    return await server.admin.environments.GetEnvironmentStatus(
        environment_pb2.GetEnvironmentStatusRequest(environment=environment)
    )


async def _health(server: RunningServer, service: str) -> catalog_pb2.ServiceHealth:
    return await server.admin.catalog.GetServiceHealth(catalog_pb2.GetServiceHealthRequest(service=service))


def _name(status: common_pb2.HealthStatus.ValueType) -> str:
    return common_pb2.HealthStatus.Name(status).removeprefix("HEALTH_STATUS_")


async def _in(server: RunningServer, service: str, environment: str) -> catalog_pb2.ServiceEnvironmentHealth:
    health = await _health(server, service)
    return next(found for found in health.environments if found.environment_name == environment)


async def test_an_environment_shows_the_newest_success_of_every_service(server: RunningServer) -> None:
    environment = await make_environment(server.admin)
    services = [await make_service(server.admin) for _ in range(2)]
    newest = {}
    for service in services:
        for _ in range(2):
            release = await make_release(server.admin, service=service.name)
            newest[service.name] = await deploy(server, release.id, environment.name)
        failing = await make_release(server.admin, service=service.name)
        await deploy(server, failing.id, environment.name, outcome=FAILED)
    running = (await _status(server, environment.name)).running
    assert [found.service_name for found in running] == sorted(service.name for service in services)
    for found in running:
        deployment = newest[found.service_name]
        assert (found.deployment_id, found.release_version) == (deployment.id, deployment.release_version)
        assert (found.release_id, found.running_since) == (deployment.release_id, deployment.completed_at)


async def _pages(call: Callable[[Any], Awaitable[Any]], request: Any) -> list[Any]:
    """Return the answers to a request until the last one."""
    found = [await call(request)]
    while found[-1].next_page_token:
        request.page_token = found[-1].next_page_token
        found.append(await call(request))
    return found


async def test_an_environment_with_more_than_an_answer_holds_goes_on_in_the_next(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = await make_environment(server.admin)
    services = [await make_service(server.admin) for _ in range(4)]
    for service in services:
        release = await make_release(server.admin, service=service.name)
        await deploy(server, release.id, environment.name)
    whole = await _status(server, environment.name)
    assert (len(whole.running), whole.next_page_token) == (4, "")

    monkeypatch.setattr(writing, "PAGE_BYTES", 3 * whole.running[0].ByteSize() - 1)
    request = environment_pb2.GetEnvironmentStatusRequest(environment=environment.name)
    pages = await _pages(server.admin.environments.GetEnvironmentStatus, request)
    assert [len(page.running) for page in pages] == [2, 2]
    assert [found for page in pages for found in page.running] == list(whole.running)
    assert all(page.environment == whole.environment for page in pages)
    request.environment = environment.id
    refusal = await refused(server.admin.environments.GetEnvironmentStatus(request))
    assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_a_service_in_more_environments_than_an_answer_holds_goes_on_in_the_next(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await make_service(server.admin)
    for name in ("a", "b", "z"):
        await make_environment(server.admin, name=unique(name))
    release = await make_release(server.admin, service=service.name)
    await deploy(server, release.id, (await make_environment(server.admin, name=unique("zz"))).name, outcome=FAILED)
    whole = await _health(server, service.name)
    names = [found.environment_name for found in whole.environments]
    assert (names, whole.next_page_token) == (sorted(names), "")

    monkeypatch.setattr(writing, "PAGE_BYTES", 10)
    request = catalog_pb2.GetServiceHealthRequest(service=service.name)
    pages = await _pages(server.admin.catalog.GetServiceHealth, request)
    assert [found for page in pages for found in page.environments] == list(whole.environments)
    assert len(pages) == len(names) >= 4
    assert {_name(page.status) for page in pages} == {"FAILING"}, "whichever environments an answer holds"


async def test_an_environment_counts_what_runs_and_what_waits(server: RunningServer) -> None:
    first, *_ = await queue(server, 3)
    await steps.start(server.admin, first)
    status = await _status(server, first.environment_id)
    assert (status.in_progress, status.waiting, len(status.running)) == (1, 2, 0)


async def test_after_a_rollback_what_ran_before_runs_again(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    good = await deploy(server, (await make_release(server.admin, service=service.name)).id, environment.name)
    bad = await deploy(server, (await make_release(server.admin, service=service.name)).id, environment.name)
    await server.app.db.write(steps.set_columns, bad.id, {"status": "ROLLED_BACK"})
    assert [found.deployment_id for found in (await _status(server, environment.id)).running] == [good.id]
    back = await deploy(server, good.release_id, environment.name)
    assert [found.deployment_id for found in (await _status(server, environment.id)).running] == [back.id]
    assert steps.kind(back) == "REDEPLOY"


async def test_a_service_that_was_deployed_nowhere_is_unknown(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    health = await _health(server, service.name)
    assert (health.service_id, _name(health.status)) == (service.id, "UNKNOWN")
    found = await _in(server, service.name, environment.name)
    assert (_name(found.status), found.release_id, found.HasField("running_since")) == ("UNKNOWN", "", False)


async def test_a_service_whose_last_deployment_succeeded_is_healthy(server: RunningServer) -> None:
    deployment = await make_in(server, "SUCCEEDED")
    found = await _in(server, deployment.service_name, deployment.environment_name)
    assert (_name(found.status), found.last_outcome) == ("HEALTHY", steps.SUCCEEDED)
    assert (found.release_id, found.last_deployment_id) == (deployment.release_id, deployment.id)
    assert found.running_since == deployment.completed_at
    assert _name((await _health(server, deployment.service_id)).status) == "HEALTHY"


async def test_a_failure_while_an_older_one_still_runs_degrades(server: RunningServer) -> None:
    good = await make_in(server, "SUCCEEDED")
    release = await make_release(server.admin, service=good.service_name)
    bad = await deploy(server, release.id, good.environment_name, outcome=FAILED)
    found = await _in(server, good.service_name, good.environment_name)
    assert (_name(found.status), found.release_id, found.last_deployment_id) == ("DEGRADED", good.release_id, bad.id)


async def test_a_failure_that_users_feel_is_failing_until_the_next_success(server: RunningServer) -> None:
    good = await make_in(server, "SUCCEEDED")
    release = await make_release(server.admin, service=good.service_name)
    await deploy(server, release.id, good.environment_name, outcome=FAILED, production_impacted=True)
    assert _name((await _in(server, good.service_name, good.environment_name)).status) == "FAILING"
    await deploy(server, release.id, good.environment_name)
    assert _name((await _in(server, good.service_name, good.environment_name)).status) == "HEALTHY"


async def test_nothing_that_ever_succeeded_is_failing(server: RunningServer) -> None:
    deployment = await make_in(server, "FAILED")
    assert _name((await _in(server, deployment.service_name, deployment.environment_name)).status) == "FAILING"


async def test_a_locked_environment_degrades(server: RunningServer) -> None:
    deployment = await make_in(server, "SUCCEEDED")
    await steps.lock(server, deployment.environment_name)
    assert _name((await _in(server, deployment.service_name, deployment.environment_name)).status) == "DEGRADED"


async def test_what_was_called_off_says_nothing_of_health(server: RunningServer) -> None:
    good = await make_in(server, "SUCCEEDED")
    again = await make_deployment(
        server.admin, server.admin, release=good.release_id, environment=good.environment_name
    )
    await steps.cancel(server.admin, again)
    found = await _in(server, good.service_name, good.environment_name)
    assert (_name(found.status), found.last_deployment_id) == ("HEALTHY", good.id)


async def test_a_service_is_as_healthy_as_its_worst_environment(server: RunningServer) -> None:
    good = await make_in(server, "SUCCEEDED")
    elsewhere = await make_environment(server.admin)
    await deploy(server, good.release_id, elsewhere.name, outcome=FAILED)
    assert _name((await _health(server, good.service_name)).status) == "FAILING"


async def test_an_inactive_environment_shows_only_for_what_was_deployed_there(server: RunningServer) -> None:
    deployment = await make_in(server, "SUCCEEDED")
    other = await make_service(server.admin)
    await steps.set_active(server, deployment.environment_name, active=False)
    found = await _in(server, deployment.service_name, deployment.environment_name)
    assert found.release_id == deployment.release_id
    names = [found.environment_name for found in (await _health(server, other.name)).environments]
    assert deployment.environment_name not in names
    assert names == sorted(names)


async def test_health_says_what_the_next_one_waits_for(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    draft = await make_release(server.admin, service=service.name, publish=False)
    for _ in range(2):
        await make_deployment(server.admin, server.admin, release=draft.id, environment=environment.name)
    found = await _in(server, service.name, environment.name)
    assert [blocker.kind for blocker in found.blockers] == [pb.BLOCKER_KIND_RELEASE]


@pytest.mark.parametrize("what", ["service", "environment"])
async def test_what_is_unknown_is_not_found(server: RunningServer, what: str) -> None:
    refusal = await refused(_health(server, "nothing") if what == "service" else _status(server, "nothing"))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, what)
