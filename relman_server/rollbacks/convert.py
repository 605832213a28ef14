"""Rollbacks between the contract and Python."""

from collections.abc import Sequence

from relman_client.v1 import deployment_pb2
from relman_client.v1 import rollback_pb2 as pb
from relman_server.deployments.model import PASSED, StageStatus
from relman_server.kernel.db.transaction import Record
from relman_server.kernel.rpc.reading import reader
from relman_server.kernel.rpc.writing import page_writer, writer
from relman_server.rollbacks.inputs import Cancellation, ListRollbacks, NewRollback
from relman_server.rollbacks.model import RollbackStatus

new_rollback = reader(pb.CreateRollbackRequest, NewRollback)
roll_back_deployment = reader(deployment_pb2.RollbackDeploymentRequest, NewRollback)
list_rollbacks = reader(pb.ListRollbacksRequest, ListRollbacks)
cancellation = reader(pb.CancelRollbackRequest, Cancellation)

rollback = writer(pb.Rollback)
rollbacks = page_writer(pb.ListRollbacksResponse, "rollbacks", rollback)

_head = writer(
    pb.GetRollbackStatusResponse,
    **{
        name: lambda _: None
        for name in (
            "total_stages",
            "pending_stages",
            "running_stages",
            "completed_stages",
            "failed_stages",
            "progress_percent",
            "current_stage",
            "current_stage_id",
        )
    },
)


def status(found: tuple[Record, Sequence[Record]]) -> pb.GetRollbackStatusResponse:
    """Write how far a rollback is."""
    row, stages = found
    message = _head(row)
    pending = [stage for stage in stages if stage.status == StageStatus.PENDING]
    running = [stage for stage in stages if stage.status == StageStatus.RUNNING]
    passed = [stage for stage in stages if stage.status in PASSED]
    message.total_stages = len(stages)
    message.pending_stages = len(pending)
    message.running_stages = len(running)
    message.completed_stages = len(passed)
    message.failed_stages = len(stages) - len(pending) - len(running) - len(passed)
    message.progress_percent = _percent(row, len(stages), len(passed), running)
    for stage in (running or pending)[:1]:
        message.current_stage, message.current_stage_id = stage.name, str(stage.id)
    return message


def _percent(row: Record, total: int, passed: int, running: Sequence[Record]) -> int:
    if row.status == RollbackStatus.SUCCEEDED:
        return 100
    done = 100 * passed + sum(stage.progress_percent for stage in running)
    return int(done / total) if total else 0
