"""A deployment from end to end."""

import grpc

from relman_client.v1 import common_pb2, release_pb2, stage_pb2
from relman_client.v1 import deployment_pb2 as pb
from tests.factories import RunningServer, make_deployment, make_environment, make_release, make_service, refused


async def test_a_deployment_with_stages_goes_from_ready_to_succeeded(server: RunningServer) -> None:
    user = await server.user()
    deployment = await make_deployment(user, server.admin, stages=["build", "test"])
    assert deployment.status == pb.DEPLOYMENT_STATUS_READY
    assert deployment.kind == pb.DEPLOYMENT_KIND_PLANNED

    started = await user.deployments.StartDeployment(pb.StartDeploymentRequest(deployment=deployment.id))
    assert started.deployment.status == pb.DEPLOYMENT_STATUS_IN_PROGRESS
    assert started.deployment.deployed_by == str(user.user_id)
    for name in ("build", "test"):
        reference = f"{deployment.id}/{name}"
        await user.stages.StartStage(stage_pb2.StartStageRequest(stage=reference))
        await user.stages.ReportStageProgress(
            stage_pb2.ReportStageProgressRequest(stage=reference, progress_percent=50, progress_message="half")
        )
        done = await user.stages.CompleteStage(
            stage_pb2.CompleteStageRequest(stage=reference, outcome=common_pb2.OUTCOME_SUCCEEDED, output="ok")
        )
        assert done.status == stage_pb2.STAGE_STATUS_SUCCEEDED
        assert done.progress_percent == 100
    ended = await user.deployments.CompleteDeployment(
        pb.CompleteDeploymentRequest(deployment=deployment.id, outcome=common_pb2.OUTCOME_SUCCEEDED)
    )
    assert ended.status == pb.DEPLOYMENT_STATUS_SUCCEEDED
    assert ended.outcome == common_pb2.OUTCOME_SUCCEEDED

    events = await user.deployments.ListDeploymentEvents(pb.ListDeploymentEventsRequest(deployment=deployment.id))
    assert [event.revision for event in events.events] == list(range(1, 10))
    assert events.events[-1].deployment == ended
    assert events.events[3].stage.progress_percent == 50


async def test_a_deployment_of_a_draft_waits_until_it_is_published(server: RunningServer) -> None:
    draft = await make_release(server.admin, publish=False)
    deployment = await make_deployment(server.admin, server.admin, release=draft.id)
    assert deployment.status == pb.DEPLOYMENT_STATUS_PENDING
    assert [blocker.kind for blocker in deployment.blockers] == [pb.BLOCKER_KIND_RELEASE]

    refusal = await refused(
        server.admin.deployments.StartDeployment(pb.StartDeploymentRequest(deployment=deployment.id))
    )
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.reason == "BLOCKED"
    assert [kind for kind, _, _ in refusal.conditions] == ["RELEASE"]

    await server.admin.releases.PublishRelease(release_pb2.PublishReleaseRequest(release=draft.id))
    again = await server.admin.deployments.GetDeployment(pb.GetDeploymentRequest(deployment=deployment.id))
    assert again.status == pb.DEPLOYMENT_STATUS_READY
    assert not again.blockers


async def test_deployments_of_a_service_go_one_at_a_time_in_order_of_creation(server: RunningServer) -> None:
    admin = server.admin
    service = await make_service(admin)
    environment = await make_environment(admin)
    queue = []
    for _ in range(3):
        release = await make_release(admin, service=service.name)
        queue.append(await make_deployment(admin, admin, release=release.id, environment=environment.name))
    assert [item.status for item in queue] == [
        pb.DEPLOYMENT_STATUS_READY,
        pb.DEPLOYMENT_STATUS_PENDING,
        pb.DEPLOYMENT_STATUS_PENDING,
    ]
    await admin.deployments.CancelDeployment(pb.CancelDeploymentRequest(deployment=queue[1].id, reason="not now"))
    await admin.deployments.StartDeployment(pb.StartDeploymentRequest(deployment=queue[0].id))
    third = await admin.deployments.GetDeployment(pb.GetDeploymentRequest(deployment=queue[2].id))
    assert [(blocker.kind, blocker.subject_id) for blocker in third.blockers] == [(pb.BLOCKER_KIND_QUEUE, queue[0].id)]
    await admin.deployments.CompleteDeployment(
        pb.CompleteDeploymentRequest(deployment=queue[0].id, outcome=common_pb2.OUTCOME_FAILED, failure_reason="no")
    )
    third = await admin.deployments.GetDeployment(pb.GetDeploymentRequest(deployment=queue[2].id))
    assert third.status == pb.DEPLOYMENT_STATUS_READY


async def test_a_watch_sends_the_state_then_every_event_and_ends_with_the_last(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin)
    watch = server.admin.deployments.WatchDeployment(pb.WatchDeploymentRequest(deployment=deployment.id))
    events = aiter(watch)
    first = await anext(events)
    assert first.type == pb.DEPLOYMENT_EVENT_TYPE_SNAPSHOT
    assert first.deployment == deployment
    await server.admin.deployments.StartDeployment(pb.StartDeploymentRequest(deployment=deployment.id))
    await server.admin.deployments.CompleteDeployment(
        pb.CompleteDeploymentRequest(deployment=deployment.id, outcome=common_pb2.OUTCOME_SUCCEEDED)
    )
    rest = [event async for event in events]
    assert [event.type for event in rest] == [
        pb.DEPLOYMENT_EVENT_TYPE_STARTED,
        pb.DEPLOYMENT_EVENT_TYPE_SUCCEEDED,
    ]
