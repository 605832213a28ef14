"""The history: an event for every change, with the deployment as the call answered it and who did it."""

from typing import Any

import grpc

from relman_client.v1 import deployment_pb2 as pb
from tests.deployments import steps
from tests.deployments.steps import FAILED, deploy, event_type, events_of, make_in, queue
from tests.factories import RunningServer, make_deployment, make_environment, make_release, make_service, refused


async def test_every_event_has_the_deployment_as_the_call_answered_it(server: RunningServer) -> None:
    created = await make_deployment(server.admin, server.admin, labels={"a": "b"})
    updated = await server.admin.deployments.UpdateDeployment(
        pb.UpdateDeploymentRequest(deployment=created.id, labels={"c": "d"})
    )
    started = await steps.start(server.admin, created)
    ended = await steps.complete(server.admin, created, FAILED, failure_reason="no disk")
    events = await events_of(server.admin, created)
    assert [event_type(event) for event in events] == ["CREATED", "UPDATED", "STARTED", "FAILED"]
    assert [event.deployment for event in events] == [created, updated, started, ended]
    assert [event.cursor for event in events] == ["1", "2", "3", "4"]
    assert events[-1].message == "Failed: no disk"
    assert events[-1].time == ended.completed_at


async def test_an_event_names_who_did_it(server: RunningServer) -> None:
    ann = await server.user()
    first, second = await queue(server, 2)
    service = await make_service(ann)
    release = await make_release(ann, service=service.name)
    own = await make_deployment(ann, server.admin, release=release.id)
    await steps.cancel(server.admin, own, reason="not now")
    events = await events_of(ann, own)
    assert [event.actor_id for event in events] == [str(ann.user_id), str(server.admin.user_id)]
    assert events[-1].message == "Cancelled: not now"
    await steps.cancel(server.admin, first)
    assert (await events_of(ann, second))[-1].actor_id == str(server.admin.user_id)


async def test_a_blocked_deployment_says_in_a_sentence_what_it_waits_for(server: RunningServer) -> None:
    deployment = await make_in(server, "PENDING")
    (event,) = await events_of(server.admin, deployment)
    assert event.message == (
        f"It cannot start yet. {deployment.service_name}@{deployment.release_version} is a draft: publish it first."
    )


async def test_events_are_listed_after_a_revision_and_in_pages(server: RunningServer) -> None:
    deployment = await make_in(server, "SUCCEEDED")
    for request, revisions in (
        ({"after_revision": 1}, [2, 3]),
        ({"after_revision": 3}, []),
        ({"after_revision": 2**62}, []),
        ({"order_by": "revision desc", "page_size": 2}, [3, 2]),
        ({"skip": 1, "page_size": 1}, [2]),
    ):
        listed = await server.admin.deployments.ListDeploymentEvents(
            pb.ListDeploymentEventsRequest(deployment=deployment.id, **request)
        )
        assert [event.revision for event in listed.events] == revisions


async def test_events_of_an_unknown_deployment_are_not_found(server: RunningServer) -> None:
    request = pb.ListDeploymentEventsRequest(deployment="0190a1b2-0000-7000-8000-000000000000")
    refusal = await refused(server.admin.deployments.ListDeploymentEvents(request))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "deployment")


async def test_a_release_is_deployed_or_failed_by_what_happens_in_production_only(server: RunningServer) -> None:
    staging = await make_environment(server.admin)
    production = await make_environment(server.admin, environment_type=steps.PRODUCTION)
    release = await make_release(server.admin)
    for environment, outcome, status in (
        (staging, FAILED, "PUBLISHED"),
        (staging, steps.SUCCEEDED, "PUBLISHED"),
        (production, FAILED, "FAILED"),
        (production, steps.SUCCEEDED, "DEPLOYED"),
        (production, FAILED, "DEPLOYED"),
    ):
        await deploy(server, release.id, environment.name, outcome=outcome)
        assert await steps.release_state(server.admin, release.id) == status


async def test_a_production_deployment_that_is_called_off_says_nothing_of_its_release(server: RunningServer) -> None:
    production = await make_environment(server.admin, environment_type=steps.PRODUCTION)
    deployment = await make_in(server, "IN_PROGRESS", environment=production.name)
    await steps.cancel(server.admin, deployment)
    assert await steps.release_state(server.admin, deployment.release_id) == "PUBLISHED"


async def test_lists_are_filtered_by_everything_at_once(server: RunningServer) -> None:
    first, second = await queue(server, 2)
    await steps.start(server.admin, first)
    await steps.complete(server.admin, first)
    for fields, found in (
        ({}, [second, first]),
        ({"environment": first.environment_name}, [second, first]),
        ({"release": f"{first.service_name}@{first.release_version}"}, [first]),
        ({"status": pb.DEPLOYMENT_STATUS_READY}, [second]),
        ({"kind": pb.DEPLOYMENT_KIND_REDEPLOY}, []),
        ({"start_date": second.created_at}, [second]),
        ({"end_date": second.created_at}, [first]),
        ({"order_by": "created_at"}, [first, second]),
        ({"order_by": "status"}, [second, first]),
    ):
        listed = await server.admin.deployments.ListDeployments(
            pb.ListDeploymentsRequest(service=first.service_name, **fields)
        )
        assert [deployment.id for deployment in listed.deployments] == [deployment.id for deployment in found], fields


async def test_pages_by_the_time_of_the_end_go_on_where_the_one_before_ended(server: RunningServer) -> None:
    """What has not ended stands where it was created."""
    deployments = await queue(server, 3)
    await steps.start(server.admin, deployments[0])
    await steps.complete(server.admin, deployments[0])
    found: list[str] = []
    token = ""
    for _ in range(3):
        page = await server.admin.deployments.ListDeployments(
            pb.ListDeploymentsRequest(
                service=deployments[0].service_name, order_by="completed_at desc", page_size=1, page_token=token
            )
        )
        found += [deployment.id for deployment in page.deployments]
        token = page.next_page_token
    assert found == [deployments[index].id for index in (0, 2, 1)]
    assert not token


async def test_filters_that_name_nothing_are_not_found(server: RunningServer) -> None:
    deployment = await make_in(server, "READY")
    for name in ("release", "service", "environment"):
        unknown = "nothing@1.0.0" if name == "release" else "nothing"
        fields: Any = {"service": deployment.service_name, "environment": deployment.environment_name, name: unknown}
        refusal = await refused(server.admin.deployments.ListDeployments(pb.ListDeploymentsRequest(**fields)))
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, name)
