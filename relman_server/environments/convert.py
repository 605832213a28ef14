"""Environments between the contract and Python."""

from relman_client.v1 import environment_pb2 as pb
from relman_server.environments.inputs import EnvironmentChange, ListEnvironments, Lock, NewEnvironment, StatusOf
from relman_server.environments.model import lock_of
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import Source, duration, fitting_rows, page_writer, writer

new_environment = reader(pb.CreateEnvironmentRequest, NewEnvironment)
environment_change = change_reader(pb.UpdateEnvironmentRequest, EnvironmentChange)
list_environments = reader(pb.ListEnvironmentsRequest, ListEnvironments)
new_lock = reader(pb.LockEnvironmentRequest, Lock)
status_of = reader(pb.GetEnvironmentStatusRequest, StatusOf)

_lock = writer(pb.EnvironmentLock)


def _lock_when_read(row: Source) -> pb.EnvironmentLock | None:
    lock = lock_of(row, row.read_at)
    return _lock(lock) if lock else None


environment = writer(
    pb.Environment,
    soak_time=lambda row: duration(row.soak_seconds),
    approval_ttl=lambda row: duration(row.approval_ttl_seconds),
    lock=_lock_when_read,
)
environments = page_writer(pb.ListEnvironmentsResponse, "environments", environment)
_running = writer(pb.RunningRelease)


def environment_status(status: Source) -> pb.EnvironmentStatus:
    """Write what runs in an environment, as much of it as an answer holds."""
    running, token = fitting_rows(status.running, _running)
    return pb.EnvironmentStatus(
        environment=environment(status.environment),
        running=running,
        next_page_token=token,
        in_progress=status.in_progress,
        waiting=status.waiting,
    )
