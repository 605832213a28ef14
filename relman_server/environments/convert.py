"""Environments between the contract and Python."""

from relman_client.v1 import environment_pb2 as pb
from relman_server.environments.inputs import EnvironmentChange, ListEnvironments, Lock, NewEnvironment
from relman_server.environments.model import lock_of
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import Source, duration, page_writer, writer

new_environment = reader(pb.CreateEnvironmentRequest, NewEnvironment)
environment_change = change_reader(pb.UpdateEnvironmentRequest, EnvironmentChange)
list_environments = reader(pb.ListEnvironmentsRequest, ListEnvironments)
new_lock = reader(pb.LockEnvironmentRequest, Lock)

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
environment_status = writer(pb.EnvironmentStatus, environment=lambda status: environment(status.environment))
