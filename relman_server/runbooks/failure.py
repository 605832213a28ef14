"""What a deployment printed before it failed, for finding help. The one place where runbooks look at deployments."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from relman_server.deployments import stage_store
from relman_server.deployments import store as deployments
from relman_server.deployments.model import StageStatus
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.logs import chunks, convert
from relman_server.logs import store as logs
from relman_server.logs.inputs import Wanted

LAST_LINES = 50
_LINE_READ = 2000  # characters; what is longer is data
_BROKEN = (StageStatus.FAILED, StageStatus.TIMED_OUT)


@dataclass(frozen=True)
class Failure:
    """A deployment, as far as it matters for finding help.

    Attributes:
        service_id, environment_id: Of what was deployed where.
        lines: The last ones of the failed stage's log, then what the stage and the deployment say themselves.
    """

    service_id: UUID
    environment_id: UUID
    lines: Sequence[str]


def failure_of(tx: Reading, deployment_id: UUID) -> Failure:
    """Return what is known of a deployment, whether it failed or not; raises NotFound."""
    deployment = deployments.get_deployment_by_id(tx, deployment_id)
    broken = [stage for stage in stage_store.stages_of(tx, deployment_id) if stage.status in _BROKEN]
    lines = list(_said(tx, deployment, broken[-1] if broken else None))
    return Failure(deployment.service_id, deployment.environment_id, [line[:_LINE_READ] for line in lines])


def _said(tx: Reading, deployment: Record, stage: Record | None) -> Iterator[str]:
    if stage is not None:
        yield from _last_lines(tx, deployment.id, stage.id)
        yield from stage.output.splitlines()[-LAST_LINES:]
    if deployment.failure_reason:
        yield deployment.failure_reason


def _last_lines(tx: Reading, deployment_id: UUID, stage_id: UUID) -> Iterator[str]:
    wanted = Wanted(stage_id=stage_id)
    head = logs.states(tx, [deployment_id])[0].position
    found: deque[str] = deque()
    for chunk in chunks.read_back(tx, deployment_id, head + 1, wanted).chunks:
        for line in reversed(convert.find(chunk.payload, wanted)):
            found.appendleft(line.entry.text)
            if len(found) == LAST_LINES:
                return iter(found)
    return iter(found)
