"""Rules of stages: the steps of a deployment's pipeline, in their order."""

from collections.abc import Sequence
from datetime import timedelta

from relman_server.catalog import logic as catalog
from relman_server.deployments import leases, stage_store
from relman_server.deployments.creation import new_stage
from relman_server.deployments.ending import some, stage_condition
from relman_server.deployments.history import record
from relman_server.deployments.inputs import (
    MAX_ATTEMPTS,
    MAX_STAGES,
    NewStage,
    StageChange,
    StageCompletion,
    StageProgress,
    StageSkip,
    StageSpec,
    StageStep,
)
from relman_server.deployments.logic import lock, wrong
from relman_server.deployments.model import (
    ENDED,
    PASSED,
    Deployment,
    DeploymentStatus,
    EventType,
    Stage,
    StageStatus,
)
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import AlreadyExists, FailedPrecondition, wrong_state


def create_stage(tx: Transaction, new: NewStage) -> Record:
    """Add a stage to a deployment that has not ended.

    Raises NotFound, PermissionDenied, FailedPrecondition when the deployment has ended, has too many stages or a later
    stage was started, and AlreadyExists for a name or an order that another stage has.
    """
    _, deployment = lock(tx, new.deployment)
    if deployment.status in ENDED:
        raise wrong(deployment, f"Stages cannot be added to a deployment that has ended; it is {deployment.status}.")
    others = stage_store.stage_states(tx, deployment.id)
    if len(others) >= MAX_STAGES:
        raise wrong(deployment, f"A deployment has at most {MAX_STAGES} stages.")
    order = new.order or max((other.order for other in others), default=0) + 1
    _require_free(new.name, order, others)
    _require_not_passed_by(order, others)
    stage = new_stage(deployment.id, StageSpec(name=new.name, timeout_seconds=new.timeout_seconds), order)
    tx.add(stage)
    return _done(tx, "stage.create", deployment, stage, EventType.STAGE_CREATED, f"Stage {stage.name} was added.")


def update_stage(tx: Transaction, change: StageChange) -> Record:
    """Change a stage that was not started.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, FailedPrecondition when it was started, and
    AlreadyExists for a name or an order that another stage has.
    """
    deployment, stage = _lock(tx, change.stage, change.etag)
    _require_pending(stage, "changed")
    wanted = change.wanted()
    others = [row for row in stage_store.stage_states(tx, deployment.id) if row.id != stage.id]
    order = wanted.get("order", stage.order)
    _require_free(wanted.get("name", stage.name), order, others)
    _require_not_passed_by(order, others)
    for name, value in wanted.items():
        setattr(stage, name, value)
    return _done(tx, "stage.update", deployment, stage, EventType.STAGE_UPDATED, f"Stage {stage.name} was changed.")


def start_stage(tx: Transaction, step: StageStep) -> Record:
    """Start a stage; all stages before it must be SUCCEEDED or SKIPPED.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when the deployment is not in
    progress, the stage is not pending, or one before it has not passed.
    """
    deployment, stage = _lock(tx, step.stage, step.etag)
    leases.require(tx, deployment.id, step.lease)
    _require_in_progress(deployment)
    _require_pending(stage, "started")
    _require_its_turn(stage, stage_store.stage_states(tx, deployment.id))
    stage.status = StageStatus.RUNNING
    stage.started_at = tx.now
    stage.due_at = tx.now + timedelta(seconds=stage.timeout_seconds) if stage.timeout_seconds else None
    return _done(tx, "stage.start", deployment, stage, EventType.STAGE_STARTED, f"Stage {stage.name} started.")


def report_progress(tx: Transaction, progress: StageProgress) -> Record:
    """Say how far a running stage is.

    Raises NotFound, PermissionDenied, and FailedPrecondition when it is not running.
    """
    deployment, stage = _lock(tx, progress.stage)
    leases.require(tx, deployment.id, progress.lease)
    _require_running(stage)
    stage.progress_percent = progress.progress_percent
    stage.progress_message = progress.progress_message
    message = f"Stage {stage.name}: {stage.progress_percent} % {stage.progress_message}".rstrip()
    return _done(tx, "stage.progress", deployment, stage, EventType.STAGE_PROGRESS, message)


def complete_stage(tx: Transaction, completion: StageCompletion) -> Record:
    """End a running stage. Completing it again with the same outcome changes nothing and is no error.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when it is neither running nor
    ended that way.
    """
    deployment, stage = _lock(tx, completion.stage)
    leases.require(tx, deployment.id, completion.lease)
    if stage.status == completion.outcome:
        tx.audit("stage.complete", stage, repeated=True)
        return stage_store.get_stage(tx, str(stage.id))
    tx.match_etag(stage, completion.etag)
    _require_running(stage)
    stage.status = StageStatus(completion.outcome)
    stage.completed_at = tx.now
    stage.due_at = None
    stage.output = completion.output
    if stage.status == StageStatus.SUCCEEDED:
        stage.progress_percent = 100
    message = f"Stage {stage.name} {stage.status.lower()}."
    return _done(tx, "stage.complete", deployment, stage, EventType.STAGE_ENDED, message)


def skip_stage(tx: Transaction, skip: StageSkip) -> Record:
    """Leave a pending stage out.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when it is not pending.
    """
    deployment, stage = _lock(tx, skip.stage, skip.etag)
    leases.require(tx, deployment.id, skip.lease)
    _require_pending(stage, "skipped")
    stage.status = StageStatus.SKIPPED
    stage.completed_at = tx.now
    stage.output = skip.reason
    message = f"Stage {stage.name} skipped: {skip.reason}" if skip.reason else f"Stage {stage.name} skipped."
    return _done(tx, "stage.skip", deployment, stage, EventType.STAGE_ENDED, message, reason=skip.reason)


def retry_stage(tx: Transaction, step: StageStep) -> Record:
    """Make a new attempt of a stage that ended without success; the old one stays readable.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when the deployment is not in
    progress, or the stage did not fail or was tried too often.
    """
    deployment, stage = _lock(tx, step.stage, step.etag)
    leases.require(tx, deployment.id, step.lease)
    _require_in_progress(deployment)
    if stage.status not in {StageStatus.FAILED, StageStatus.TIMED_OUT}:
        raise _wrong(stage, f"Only a failed stage may be tried again; {stage.name} is {stage.status}.")
    if stage.attempt >= MAX_ATTEMPTS:
        raise _wrong(stage, f"{stage.name} was tried {stage.attempt} times; go on in a new deployment.")
    assert stage.started_at is not None
    assert stage.completed_at is not None
    attempt = {
        "attempt": stage.attempt,
        "status": stage.status,
        "started_at": stage.started_at.isoformat(),
        "completed_at": stage.completed_at.isoformat(),
        "output": stage.output,
    }
    stage.earlier_attempts = [*stage.earlier_attempts, attempt]
    stage.attempt += 1
    stage.status = StageStatus.PENDING
    stage.progress_percent = 0
    stage.progress_message = ""
    stage.started_at = None
    stage.completed_at = None
    stage.output = ""
    message = f"Stage {stage.name}: attempt {stage.attempt}."
    return _done(tx, "stage.retry", deployment, stage, EventType.STAGE_RETRIED, message)


def _lock(tx: Transaction, reference: str, etag: str = "") -> tuple[Deployment, Stage]:
    """Return a stage for changing, and its deployment, locked."""
    found = stage_store.lock_stage(tx, reference)
    catalog.require_team(tx.caller, found)
    tx.match_etag(found.Stage, etag)
    return found.Deployment, found.Stage


def _done(
    tx: Transaction,
    action: str,
    deployment: Deployment,
    stage: Stage,
    event: EventType,
    message: str,
    reason: str = "",
) -> Record:
    record(tx, deployment, event, message, stage)
    tx.audit(action, stage, reason=reason)
    return stage_store.get_stage(tx, str(stage.id))


def _require_in_progress(deployment: Deployment) -> None:
    if deployment.status != DeploymentStatus.IN_PROGRESS:
        raise wrong(deployment, f"The deployment is not in progress; it is {deployment.status}.")


def _require_pending(stage: Stage, what: str) -> None:
    if stage.status != StageStatus.PENDING:
        raise _wrong(stage, f"Only a pending stage may be {what}; {stage.name} is {stage.status}.")


def _require_running(stage: Stage) -> None:
    if stage.status != StageStatus.RUNNING:
        raise _wrong(stage, f"The stage {stage.name} is not running; it is {stage.status}.")


def _require_its_turn(stage: Stage, stages: Sequence[Record]) -> None:
    before = [other for other in stages if other.order < stage.order and other.status not in PASSED]
    if before:
        raise FailedPrecondition(
            f"{stage.name} comes after {some(before)}.",
            *(stage_condition(other) for other in before),
            metadata={"state": stage.status},
        )


def _require_free(name: str, order: int, others: Sequence[Record]) -> None:
    for other in others:
        if other.name == name:
            raise AlreadyExists("stage", f"{other.deployment_id}/{name}")
        if other.order == order:
            raise AlreadyExists("stage", f"{other.deployment_id}/{other.name} (order {order})")


def _require_not_passed_by(order: int, others: Sequence[Record]) -> None:
    """A stage that stands before one that was started would never have its turn."""
    for other in others:
        if other.order > order and other.started_at is not None:
            raise wrong_state(
                f"{other.deployment_id}/{other.name}",
                other.status,
                f"Stage {other.name} (order {other.order}) was started already; choose a higher order.",
            )


def _wrong(stage: Stage, message: str) -> FailedPrecondition:
    return wrong_state(f"{stage.deployment_id}/{stage.name}", stage.status, message)
