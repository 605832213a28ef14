"""Exit statuses of the commands that scripts decide by: those that wait for a deployment's end, and verification."""

from typing import Final

from relman_client.v1.deployment_pb2 import DeploymentStatus

SUCCEEDED: Final = 0
OTHER: Final = 1
USAGE: Final = 2
FAILED: Final = 3
REJECTED: Final = 4
CANCELLED: Final = 5
TIMED_OUT: Final = 6
BLOCKED: Final = 7

# Of `relman audit verify`.
TAMPERED: Final = 3
NO_EXPORT: Final = 4

_ENDS = {
    DeploymentStatus.DEPLOYMENT_STATUS_SUCCEEDED: SUCCEEDED,
    DeploymentStatus.DEPLOYMENT_STATUS_FAILED: FAILED,
    DeploymentStatus.DEPLOYMENT_STATUS_ROLLED_BACK: FAILED,
    DeploymentStatus.DEPLOYMENT_STATUS_REJECTED: REJECTED,
    DeploymentStatus.DEPLOYMENT_STATUS_CANCELLED: CANCELLED,
}


def exit_of(status: "DeploymentStatus.ValueType") -> int:
    """Return the exit status for how a deployment ended; OTHER for one that has not ended."""
    return _ENDS.get(status, OTHER)
