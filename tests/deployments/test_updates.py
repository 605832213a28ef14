from uuid import UUID

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import func, select

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import log_pb2, stage_pb2
from relman_server.deployments.model import DeploymentEvent, Stage
from relman_server.kernel.db.transaction import Reading
from relman_server.logs.model import LogChunk, LogHead
from tests.deployments import steps
from tests.deployments.steps import STATES, deploy, event_type, events_of, get, kind, make_in
from tests.factories import RunningServer, make_deployment, make_environment, make_release, refused

HOTFIX = pb.DEPLOYMENT_KIND_HOTFIX
PLANNED = pb.DEPLOYMENT_KIND_PLANNED


async def _update(server: RunningServer, deployment: pb.Deployment, **fields: object) -> pb.Deployment:
    request = pb.UpdateDeploymentRequest(deployment=deployment.id, **fields)  # type: ignore[arg-type]
    return await server.admin.deployments.UpdateDeployment(request)


async def test_labels_and_kind_change_only_before_the_start(server: RunningServer) -> None:
    for before in STATES:
        deployment = await make_in(server, before)
        for fields in ({"labels": {"a": "b"}}, {"kind": HOTFIX}):
            if before in {"PENDING", "READY"}:
                await _update(server, deployment, **fields)
            else:
                refusal = await refused(_update(server, deployment, **fields))
                assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, before)
                assert refusal.message.startswith(f"{next(iter(fields))} may change only before the start")


async def test_the_impact_changes_in_every_state(server: RunningServer) -> None:
    for before in STATES:
        deployment = await make_in(server, before)
        updated = await _update(server, deployment, production_impacted=True)
        assert (updated.production_impacted, updated.status) == (True, deployment.status)
        assert event_type((await events_of(server.admin, deployment))[-1]) == "UPDATED"


async def test_labels_are_replaced_and_a_mask_empties_them(server: RunningServer) -> None:
    deployment = await make_in(server, "READY", labels={"a": "1", "b": "2"})
    assert dict((await _update(server, deployment, labels={"c": "3"})).labels) == {"c": "3"}
    assert dict((await _update(server, deployment, production_impacted=False)).labels) == {"c": "3"}
    assert not (await _update(server, deployment, update_mask=FieldMask(paths=["labels"]))).labels


async def test_what_changes_nothing_is_no_event_and_no_new_etag(server: RunningServer) -> None:
    deployment = await make_in(server, "READY", labels={"a": "1"})
    assert await _update(server, deployment) == deployment
    assert await _update(server, deployment, labels={"a": "1"}, kind=PLANNED) == deployment
    assert len(await events_of(server.admin, deployment)) == 1


async def test_an_update_says_in_its_event_what_changed(server: RunningServer) -> None:
    deployment = await make_in(server, "READY")
    updated = await _update(server, deployment, labels={"a": "1"}, kind=HOTFIX, production_impacted=False)
    event = (await events_of(server.admin, deployment))[-1]
    assert event.message == "Changed: kind, labels."
    assert event.deployment == updated


async def test_what_is_no_hotfix_any_more_repairs_nothing(server: RunningServer) -> None:
    broken = await make_in(server, "FAILED")
    hotfix = await make_deployment(
        server.admin,
        server.admin,
        release=broken.release_id,
        kind=HOTFIX,
        remediates=broken.id,
        hotfix_reason="users cannot pay",
    )
    planned = await _update(server, hotfix, kind=PLANNED)
    assert (kind(planned), planned.remediates, planned.hotfix_reason) == ("PLANNED", "", "")


async def test_planned_said_of_what_runs_there_is_a_redeployment(server: RunningServer) -> None:
    release, environment = await make_release(server.admin), await make_environment(server.admin)
    await deploy(server, release.id, environment.name)
    hotfix = await make_deployment(
        server.admin, server.admin, release=release.id, environment=environment.name, kind=HOTFIX
    )
    assert kind(await _update(server, hotfix, kind=PLANNED)) == "REDEPLOY"


@pytest.mark.parametrize("name", ["ROLLBACK", "REDEPLOY", "UNSPECIFIED"])
async def test_a_kind_that_callers_do_not_say_is_refused(server: RunningServer, name: str) -> None:
    deployment = await make_in(server, "READY")
    value = pb.DeploymentKind.Value(f"DEPLOYMENT_KIND_{name}")
    refusal = await refused(_update(server, deployment, kind=value))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"kind"})


async def test_a_rollback_stays_one(server: RunningServer) -> None:
    deployment = await make_in(server, "READY")
    await server.app.db.write(steps.set_columns, deployment.id, {"kind": "ROLLBACK"})
    refusal = await refused(_update(server, deployment, kind=HOTFIX))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("path", ["status", "remediates", "hotfix_reason", "deployment", "nothing"])
async def test_a_mask_of_what_cannot_be_set_is_refused(server: RunningServer, path: str) -> None:
    deployment = await make_in(server, "READY")
    refusal = await refused(_update(server, deployment, update_mask=FieldMask(paths=[path])))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"update_mask"})


async def test_a_stale_etag_changes_and_deletes_nothing(server: RunningServer) -> None:
    deployment = await make_in(server, "CANCELLED")
    await _update(server, deployment, production_impacted=True)
    for call in (
        _update(server, deployment, production_impacted=False, etag=deployment.etag),
        server.admin.deployments.DeleteDeployment(
            pb.DeleteDeploymentRequest(deployment=deployment.id, etag=deployment.etag)
        ),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert (await get(server.admin, deployment)).production_impacted


def _leftovers(tx: Reading, deployment: str) -> list[int]:
    return [
        tx.scalar(select(func.count()).select_from(table).where(table.deployment_id == UUID(deployment)))
        for table in (Stage, DeploymentEvent, LogChunk, LogHead)
    ]


async def test_a_deletion_takes_stages_events_and_logs_with_it(server: RunningServer) -> None:
    deployment = await make_in(server, "IN_PROGRESS", stages=["build"])
    entry = log_pb2.LogEntry(text="hello")
    await server.admin.logs.AppendLogs(
        log_pb2.AppendLogsRequest(deployment=deployment.id, stream_name="main", first_sequence=1, entries=[entry])
    )
    assert all(await server.app.db.read(_leftovers, deployment.id))
    await steps.cancel(server.admin, deployment)
    await server.admin.deployments.DeleteDeployment(pb.DeleteDeploymentRequest(deployment=deployment.id))
    assert await server.app.db.read(_leftovers, deployment.id) == [0, 0, 0, 0]
    refusal = await refused(server.admin.stages.GetStage(stage_pb2.GetStageRequest(stage=f"{deployment.id}/build")))
    assert refusal.code == grpc.StatusCode.NOT_FOUND


async def test_what_a_deleted_one_was_followed_by_stays(server: RunningServer) -> None:
    old = await make_in(server, "FAILED")
    again = await steps.retry(server.admin, old)
    await server.admin.deployments.DeleteDeployment(pb.DeleteDeploymentRequest(deployment=old.id))
    assert (await get(server.admin, again)).retry_of == ""
