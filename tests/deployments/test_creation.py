import uuid
from typing import Any

import grpc
import pytest

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import release_pb2, stage_pb2
from tests.deployments import steps
from tests.deployments.steps import FAILED, deploy, kind, make_in, state
from tests.factories import (
    RunningServer,
    make_deployment,
    make_environment,
    make_release,
    make_service,
    refused,
)


async def test_a_deployment_is_named_by_the_references_a_pipeline_has(server: RunningServer) -> None:
    release, environment = await make_release(server.admin), await make_environment(server.admin)
    created = await make_deployment(
        server.admin,
        server.admin,
        release=f"{release.service_name}@v{release.version}",
        environment=environment.name,
        labels={"build": "17"},
    )
    assert (created.release_id, created.environment_id) == (release.id, environment.id)
    assert (created.service_name, created.release_version) == (release.service_name, release.version)
    assert (dict(created.labels), created.revision, created.created_by) == (
        {"build": "17"},
        1,
        str(server.admin.user_id),
    )


async def test_deploying_a_release_is_the_same(server: RunningServer) -> None:
    release, environment = await make_release(server.admin), await make_environment(server.admin)
    request: Any = {"release": release.id, "environment": environment.id, "labels": {"a": "b"}, "validate_only": True}
    created = await server.admin.deployments.CreateDeployment(pb.CreateDeploymentRequest(**request))
    deployed = await server.admin.releases.DeployRelease(release_pb2.DeployReleaseRequest(**request))
    for one in (created, deployed):
        for field in ("id", "created_at", "updated_at", "etag"):
            one.ClearField(field)
    assert created == deployed


async def test_unknown_releases_and_environments_are_not_found(server: RunningServer) -> None:
    release, environment = await make_release(server.admin), await make_environment(server.admin)
    for fields, missing in (
        ({"release": "nothing@1.0.0", "environment": environment.name}, "release"),
        ({"release": release.id, "environment": "nothing"}, "environment"),
    ):
        refusal = await refused(make_deployment(server.admin, server.admin, **fields))
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, missing)


LONG = stage_pb2.StageSpec(name="long", timeout_seconds=365 * 86400)


async def test_every_violation_of_a_new_deployment_comes_at_once(server: RunningServer) -> None:
    refusal = await refused(
        server.admin.deployments.CreateDeployment(
            pb.CreateDeploymentRequest(
                release="x@1.0.0",
                kind=pb.DEPLOYMENT_KIND_ROLLBACK,
                remediates="not-an-id",
                labels={"Not A Name": "", "long": "x" * 257},
                stages=[stage_pb2.StageSpec(name="Bad"), stage_pb2.StageSpec(name="ok", timeout_seconds=-1), LONG],
            )
        )
    )
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {
        "environment",
        "kind",
        "remediates",
        "labels.Not A Name",
        "labels.long",
        "stages[0].name",
        "stages[1].timeout_seconds",
        "stages[2].timeout_seconds",
    }


@pytest.mark.parametrize("count", [64, 65])
async def test_labels_are_64_at_most(server: RunningServer, count: int) -> None:
    labels = {f"label-{number}": "x" * 256 for number in range(count)}
    creation = make_deployment(server.admin, server.admin, labels=labels)
    if count > 64:
        assert set((await refused(creation)).violations) == {"labels"}
    else:
        assert dict((await creation).labels) == labels


@pytest.mark.parametrize("count", [100, 101])
async def test_stages_are_100_at_most(server: RunningServer, count: int) -> None:
    creation = make_deployment(server.admin, server.admin, stages=[f"stage-{number}" for number in range(count)])
    if count > 100:
        assert set((await refused(creation)).violations) == {"stages"}
    else:
        stages = await server.admin.deployments.GetDeploymentStages(
            pb.GetDeploymentStagesRequest(deployment=(await creation).id)
        )
        assert [stage.order for stage in stages.stages] == list(range(1, 101))


async def test_stages_of_one_deployment_have_different_names(server: RunningServer) -> None:
    refusal = await refused(make_deployment(server.admin, server.admin, stages=["build", "build"]))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"stages"})


async def test_what_runs_there_already_is_a_redeployment(server: RunningServer) -> None:
    release, environment = await make_release(server.admin), await make_environment(server.admin)
    first = await deploy(server, release.id, environment.name)
    again = await deploy(server, release.id, environment.name)
    elsewhere = await make_deployment(server.admin, server.admin, release=release.id)
    assert [kind(found) for found in (first, again, elsewhere)] == ["PLANNED", "REDEPLOY", "PLANNED"]


async def test_the_kind_goes_by_what_runs_there_at_the_start(server: RunningServer) -> None:
    """Two queued deployments of one release: by the time the second starts, the first has brought it."""
    release, environment = await make_release(server.admin), await make_environment(server.admin)
    first, second = [
        await make_deployment(server.admin, server.admin, release=release.id, environment=environment.name)
        for _ in range(2)
    ]
    assert [kind(first), kind(second)] == ["PLANNED", "PLANNED"]
    await steps.start(server.admin, first)
    await steps.complete(server.admin, first)
    assert kind(await steps.start(server.admin, second)) == "REDEPLOY"


async def test_a_hotfix_says_what_it_repairs(server: RunningServer) -> None:
    broken = await make_in(server, "FAILED")
    release = await make_release(server.admin, service=broken.service_name)
    hotfix = await make_deployment(
        server.admin,
        server.admin,
        release=release.id,
        environment=broken.environment_name,
        kind=pb.DEPLOYMENT_KIND_HOTFIX,
        remediates=broken.id,
        hotfix_reason=" users cannot pay ",
    )
    assert (kind(hotfix), hotfix.remediates, hotfix.hotfix_reason) == ("HOTFIX", broken.id, "users cannot pay")


async def test_a_hotfix_of_what_runs_there_stays_one(server: RunningServer) -> None:
    release, environment = await make_release(server.admin), await make_environment(server.admin)
    await deploy(server, release.id, environment.name)
    hotfix = await make_deployment(
        server.admin,
        server.admin,
        release=release.id,
        environment=environment.name,
        kind=pb.DEPLOYMENT_KIND_HOTFIX,
    )
    assert kind(await steps.start(server.admin, hotfix)) == "HOTFIX"


async def test_a_hotfix_repairs_deployments_of_its_own_service_only(server: RunningServer) -> None:
    other = await make_in(server, "FAILED")
    hotfix = pb.DEPLOYMENT_KIND_HOTFIX
    refusal = await refused(make_deployment(server.admin, server.admin, kind=hotfix, remediates=other.id))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"remediates"})
    refusal = await refused(make_deployment(server.admin, server.admin, kind=hotfix, remediates=str(uuid.uuid4())))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "deployment")


@pytest.mark.parametrize("fields", [{"remediates": str(uuid.uuid4())}, {"hotfix_reason": "because"}])
async def test_only_a_hotfix_remediates(server: RunningServer, fields: dict[str, str]) -> None:
    refusal = await refused(make_deployment(server.admin, server.admin, **fields))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"kind"})


@pytest.mark.parametrize("name", ["ROLLBACK", "REDEPLOY"])
async def test_a_caller_does_not_say_the_kinds_that_the_server_finds(server: RunningServer, name: str) -> None:
    value = pb.DeploymentKind.Value(f"DEPLOYMENT_KIND_{name}")
    refusal = await refused(make_deployment(server.admin, server.admin, kind=value))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"kind"})


async def test_a_retry_is_of_the_same_release_environment_labels_and_stages(server: RunningServer) -> None:
    old = await make_in(
        server,
        "FAILED",
        labels={"build": "17"},
        stages=[stage_pb2.StageSpec(name="build", timeout_seconds=60), "test"],
    )
    again = await steps.retry(server.admin, old)
    assert (again.release_id, again.environment_id) == (old.release_id, old.environment_id)
    assert (dict(again.labels), again.failure_reason, state(again)) == ({"build": "17"}, "", "READY")
    stages = await server.admin.deployments.GetDeploymentStages(pb.GetDeploymentStagesRequest(deployment=again.id))
    assert [(stage.name, stage.timeout_seconds, steps.stage_state(stage)) for stage in stages.stages] == [
        ("build", 60, "PENDING"),
        ("test", 0, "PENDING"),
    ]


async def test_a_retried_hotfix_still_repairs_the_same(server: RunningServer) -> None:
    broken = await make_in(server, "FAILED")
    hotfix = await make_deployment(
        server.admin,
        server.admin,
        release=broken.release_id,
        environment=broken.environment_name,
        kind=pb.DEPLOYMENT_KIND_HOTFIX,
        remediates=broken.id,
    )
    await steps.cancel(server.admin, hotfix)
    again = await steps.retry(server.admin, hotfix)
    assert (kind(again), again.remediates, again.retry_of) == ("HOTFIX", broken.id, hotfix.id)


async def test_a_retry_waits_in_the_queue_like_everyone(server: RunningServer) -> None:
    first, second = await steps.queue(server, 2)
    await steps.start(server.admin, first)
    await steps.complete(server.admin, first, FAILED)
    again = await steps.retry(server.admin, first)
    assert [blocker.subject_id for blocker in again.blockers] == [second.id]


async def test_a_repeated_request_id_makes_one_deployment(server: RunningServer) -> None:
    release, environment = await make_release(server.admin), await make_environment(server.admin)
    fields = {"release": release.id, "environment": environment.id, "request_id": str(uuid.uuid4())}
    first = await make_deployment(server.admin, server.admin, **fields)
    await steps.start(server.admin, first)
    assert await make_deployment(server.admin, server.admin, **fields) == first
    refusal = await refused(make_deployment(server.admin, server.admin, **fields, labels={"a": "b"}))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


async def test_an_abandoned_and_a_held_release_are_refused(server: RunningServer) -> None:
    service = await make_service(server.admin)
    for stop in ("abandon", "quarantine"):
        release = await make_release(server.admin, service=service.name)
        if stop == "abandon":
            await server.admin.releases.AbandonRelease(release_pb2.AbandonReleaseRequest(release=release.id))
        else:
            await server.admin.releases.QuarantineRelease(
                release_pb2.QuarantineReleaseRequest(release=release.id, reason="it leaks")
            )
        refusal = await refused(make_deployment(server.admin, server.admin, release=release.id))
        stopped = "ABANDONED" if stop == "abandon" else "QUARANTINED"
        assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, stopped)
