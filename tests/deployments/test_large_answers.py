"""Deployments whose stages have more to say than fits into one answer."""

from uuid import UUID

import pytest
from sqlalchemy import select

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import stage_pb2
from relman_server.deployments.inputs import MAX_STAGES
from relman_server.deployments.model import Stage
from relman_server.kernel.db.transaction import Transaction
from tests.factories import RunningServer, make_deployment

OUTPUT = "é" * 32 * 1024
CLIENTS_TAKE = 4 * 1024 * 1024
"""What gRPC's libraries accept unless told otherwise, as the channel of these tests does."""


def _fill(tx: Transaction, deployment: str, attempts: int) -> None:
    for stage in tx.entities(select(Stage).where(Stage.deployment_id == UUID(deployment))):
        stage.output = OUTPUT
        stage.attempt = attempts + 1
        stage.earlier_attempts = [
            {"attempt": number, "status": "FAILED", "started_at": None, "completed_at": None, "output": OUTPUT}
            for number in range(1, attempts + 1)
        ]
        tx.audit("stage.update", stage)


async def _filled(server: RunningServer, stages: int, attempts: int) -> pb.Deployment:
    names = [f"s{number}" for number in range(stages)]
    deployment = await make_deployment(server.admin, server.admin, stages=names)
    await server.app.db.write(_fill, deployment.id, attempts)
    return deployment


@pytest.mark.parametrize(("stages", "attempts"), [(MAX_STAGES, 0), (3, 40)])
async def test_all_stages_of_a_deployment_fit_into_an_answer_whatever_they_put_out(
    shared_server: RunningServer, stages: int, attempts: int
) -> None:
    admin = shared_server.admin
    deployment = await _filled(shared_server, stages, attempts)
    view = pb.DEPLOYMENT_VIEW_WITH_STAGES
    found = await admin.deployments.GetDeployment(pb.GetDeploymentRequest(deployment=deployment.id, view=view))
    listed = await admin.deployments.GetDeploymentStages(pb.GetDeploymentStagesRequest(deployment=deployment.id))
    assert list(found.stages) == list(listed.stages)
    assert len(found.stages) == stages
    assert CLIENTS_TAKE // 2 < found.ByteSize() < CLIENTS_TAKE
    for stage in found.stages:
        assert stage.output_shortened
        assert OUTPUT.startswith(stage.output)
        assert all(OUTPUT.startswith(attempt.output) for attempt in stage.earlier_attempts)


async def test_one_stage_is_told_whole(shared_server: RunningServer) -> None:
    deployment = await _filled(shared_server, 3, 40)
    stage = await shared_server.admin.stages.GetStage(stage_pb2.GetStageRequest(stage=f"{deployment.id}/s1"))
    assert (stage.output, stage.output_shortened) == (OUTPUT, False)
    assert {attempt.output for attempt in stage.earlier_attempts} == {OUTPUT}


async def test_outputs_that_fit_are_not_shortened(shared_server: RunningServer) -> None:
    deployment = await _filled(shared_server, 3, 2)
    listed = await shared_server.admin.deployments.GetDeploymentStages(
        pb.GetDeploymentStagesRequest(deployment=deployment.id)
    )
    assert [(stage.output, stage.output_shortened) for stage in listed.stages] == [(OUTPUT, False)] * 3
