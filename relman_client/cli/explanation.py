"""A deployment in words: why it waits, how it ended, and what to do about it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.cli.output import to_datetime, word
from relman_client.cli.text import ago, exact, safe
from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1.deployment_pb2 import BlockerKind, DeploymentEventType, DeploymentStatus
from relman_client.v1.stage_pb2 import PipelineStage, StageStatus

_OUTPUT_LINES = 5
_BAD = {StageStatus.STAGE_STATUS_FAILED, StageStatus.STAGE_STATUS_TIMED_OUT}
_PASSABLE = {
    BlockerKind.BLOCKER_KIND_FREEZE: "freeze",
    BlockerKind.BLOCKER_KIND_LOCK: "lock",
    BlockerKind.BLOCKER_KIND_SOAK: "soak",
    BlockerKind.BLOCKER_KIND_PROMOTION: "promotion",
}


def explain(
    deployment: pb.Deployment, blockers: Sequence[pb.Blocker], events: Sequence[pb.DeploymentEvent]
) -> list[str]:
    """Return the explanation, line by line.

    Args:
        deployment: With its stages.
        blockers: What keeps it from starting now; empty unless it waits.
        events: Its newest events, the oldest first.
    """
    states = DeploymentStatus
    tell = {
        states.DEPLOYMENT_STATUS_PENDING: lambda: _waiting(deployment, blockers),
        states.DEPLOYMENT_STATUS_READY: lambda: _waiting(deployment, blockers),
        states.DEPLOYMENT_STATUS_IN_PROGRESS: lambda: _in_progress(deployment),
        states.DEPLOYMENT_STATUS_SUCCEEDED: lambda: _succeeded(deployment),
        states.DEPLOYMENT_STATUS_FAILED: lambda: _failed(deployment, events),
        states.DEPLOYMENT_STATUS_CANCELLED: lambda: _called_off(deployment, events, "was cancelled"),
        states.DEPLOYMENT_STATUS_REJECTED: lambda: _called_off(deployment, events, "was rejected"),
        states.DEPLOYMENT_STATUS_ROLLED_BACK: lambda: _called_off(deployment, events, "was rolled back"),
    }.get(deployment.status)
    return [safe(line) for line in tell()] if tell else [f"{_name(deployment)} is {word(deployment, 'status')}."]


def _ago(moment: Timestamp) -> str:
    told = ago(to_datetime(moment))
    return "just now" if told == "now" else told


def _name(deployment: pb.Deployment) -> str:
    what = {"rollback": "the rollback to ", "hotfix": "the hotfix "}.get(word(deployment, "kind"), "")
    name = f"{what}{deployment.service_name}@{deployment.release_version} to {deployment.environment_name}"
    return name[0].upper() + name[1:] if what else name


def _waiting(deployment: pb.Deployment, blockers: Sequence[pb.Blocker]) -> Iterator[str]:
    since = _ago(deployment.created_at)
    if not blockers:
        yield f"{_name(deployment)} was created {since} and may start: every gate is open."
        yield ""
        yield "Nobody has started it yet. Its pipeline does that:"
        yield f"  relman deployment run {deployment.id} -f pipeline.yaml"
        return
    count = "one thing" if len(blockers) == 1 else f"{len(blockers)} things"
    yield f"{_name(deployment)} was created {since} and waits for {count}:"
    for blocker in blockers:
        yield ""
        yield f"  {word(blocker, 'kind'):<10} {blocker.message}"
        for line in _way_out(deployment, blocker):
            yield f"  {'':<10} {line}"
    yield ""
    yield "Once nothing is left it becomes ready by itself, and `relman watch` tells."
    passable = [f"--override {_PASSABLE[blocker.kind]}" for blocker in blockers if blocker.kind in _PASSABLE]
    if len(passable) == len(blockers):
        yield ""
        yield "In an emergency those who maintain the service may start it all the same; that is audited:"
        yield f"  relman deployment start {deployment.id} {' '.join(dict.fromkeys(passable))} --reason WHY"


def _way_out(deployment: pb.Deployment, blocker: pb.Blocker) -> Iterator[str]:
    """Say who or what opens a gate."""
    if blocker.HasField("until"):
        moment = to_datetime(blocker.until)
        left = max(timedelta(minutes=1), moment - datetime.now(UTC) + timedelta(seconds=30))
        minutes = timedelta(minutes=left // timedelta(minutes=1))
        yield f"It opens by itself in {exact(minutes)}, at {moment.astimezone():%Y-%m-%d %H:%M %Z}."
    kind, kinds = blocker.kind, BlockerKind
    release = f"{deployment.service_name}@{deployment.release_version}"
    if kind == kinds.BLOCKER_KIND_APPROVAL:
        who = ", ".join(blocker.waiting_for) or "those who may"
        yield f"For {who}: relman approve {deployment.id}"
    elif kind == kinds.BLOCKER_KIND_QUEUE:
        yield f"What is in front: relman why {blocker.subject_id}"
    elif kind == kinds.BLOCKER_KIND_LOCK:
        yield f"relman unlock {deployment.environment_name}"
    elif kind == kinds.BLOCKER_KIND_RELEASE and "draft" in blocker.message:
        yield f"relman release publish {release}"
    elif kind == kinds.BLOCKER_KIND_RELEASE and "quarantine" in blocker.message:
        yield f"relman release clear-quarantine {release} --reason WHY"


def _in_progress(deployment: pb.Deployment) -> Iterator[str]:
    yield f"{_name(deployment)} was started {_ago(deployment.deployed_at)} and is in progress."
    running = [stage for stage in deployment.stages if stage.status == StageStatus.STAGE_STATUS_RUNNING]
    broken = [stage for stage in deployment.stages if stage.status in _BAD]
    for stage in running:
        told = f" {stage.progress_message}" if stage.progress_message else ""
        yield f"Stage {stage.name} began {_ago(stage.started_at)}: {stage.progress_percent} %{told}"
    for stage in broken:
        yield f"Stage {stage.name} {word(stage, 'status')}; its pipeline has not said what becomes of that."
        yield f"  relman stage retry {deployment.id}/{stage.name}"
    if deployment.stages and not running and not broken:
        waiting = [stage.name for stage in deployment.stages if stage.status == StageStatus.STAGE_STATUS_PENDING]
        yield f"Next is stage {waiting[0]}." if waiting else "Every stage is done; its pipeline has to complete it."
    yield f"  relman logs -f {deployment.id}"


def _succeeded(deployment: pb.Deployment) -> Iterator[str]:
    yield f"{_name(deployment)} succeeded {_ago(deployment.completed_at)}."


def _failed(deployment: pb.Deployment, events: Sequence[pb.DeploymentEvent]) -> Iterator[str]:
    yield f"{_name(deployment)} failed {_ago(deployment.completed_at)}."
    said = _last_message(events, DeploymentEventType.DEPLOYMENT_EVENT_TYPE_FAILED)
    if said or deployment.failure_reason:
        yield f"  {said or deployment.failure_reason}"
    for stage in deployment.stages:
        if stage.status in _BAD:
            yield ""
            yield from _broken(stage)
    yield ""
    yield f"Its log:            relman logs {deployment.id}"
    yield f"To try again:       relman deployment retry {deployment.id}"
    yield f"To go back:         relman rollback {deployment.id} --reason WHY"


def _broken(stage: PipelineStage) -> Iterator[str]:
    attempt = f" (attempt {stage.attempt})" if stage.attempt > 1 else ""
    yield f"Stage {stage.name}{attempt} {word(stage, 'status').replace('-', ' ')}"
    for line in stage.output.strip().splitlines()[-_OUTPUT_LINES:]:
        yield f"  {line}"


def _called_off(deployment: pb.Deployment, events: Sequence[pb.DeploymentEvent], how: str) -> Iterator[str]:
    when = deployment.updated_at if how == "was rolled back" else deployment.completed_at
    yield f"{_name(deployment)} {how} {_ago(when)}."
    said = events[-1].message if events else deployment.failure_reason
    if said:
        yield f"  {said}"
    if deployment.rolled_back_by:
        yield f"The rollback: {deployment.rolled_back_by}"


def _last_message(events: Sequence[pb.DeploymentEvent], kind: "DeploymentEventType.ValueType") -> str:
    return next((event.message for event in reversed(events) if event.type == kind), "")
