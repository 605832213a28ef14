"""Rules of stages: the steps of a deployment's pipeline, in their order."""

from collections.abc import Sequence

from relman_server.catalog import logic as catalog
from relman_server.deployments import stage_store, store
from relman_server.deployments.creation import new_stage
from relman_server.deployments.history import record
from relman_server.deployments.inputs import (
    NewStage,
    StageChange,
    StageCompletion,
    StageProgress,
    StageSkip,
    StageSpec,
    StageStep,
)
from relman_server.deployments.logic import require_lease
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
from relman_server.kernel.errors import AlreadyExists, Condition, FailedPrecondition, wrong_state


def create_stage(tx: Transaction, new: NewStage) -> Record:
    """Add a stage to a deployment that has not ended.

    Raises NotFound, PermissionDenied, FailedPrecondition when the deployment has ended or a later stage was started,
    and AlreadyExists for a name or an order that another stage has.
    """
    found = store.lock_deployment(tx, store.deployment_id(new.deployment))
    catalog.require_team(tx.caller, found)
    deployment: Deployment = found.Deployment
    if deployment.status in ENDED:
        raise _wrong_deployment(deployment, "has ended")
    stages = stage_store.lock_stages(tx, deployment.id)
    order = new.order or max((stage.order for stage in stages), default=0) + 1
    _require_not_passed_by(deployment, order, stages)
    stage = new_stage(deployment.id, StageSpec(name=new.name, timeout_seconds=new.timeout_seconds), order)
    tx.add(stage, conflict=AlreadyExists("stage", f"{deployment.id}/{new.name} (order {order})"))
    return _done(tx, "stage.create", deployment, stage, EventType.STAGE_CREATED, f"Stage {stage.name} was added.")


def update_stage(tx: Transaction, change: StageChange) -> Record:
    """Change a stage that was not started.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, FailedPrecondition when it was started, and
    AlreadyExists for a name or an order that another stage has.
    """
    deployment, stage, stages = _lock(tx, change.stage, change.etag)
    if stage.status != StageStatus.PENDING:
        raise _wrong(stage, f"Only a pending stage may change; this one is {stage.status}.")
    if "order" in change.model_fields_set:
        _require_not_passed_by(deployment, change.order, [other for other in stages if other is not stage])
    for name, value in change.wanted().items():
        setattr(stage, name, value)
    tx.flush(conflict=AlreadyExists("stage", f"{deployment.id}/{stage.name} (order {stage.order})"))
    return _done(tx, "stage.update", deployment, stage, EventType.STAGE_UPDATED, f"Stage {stage.name} was changed.")


def start_stage(tx: Transaction, step: StageStep) -> Record:
    """Start a stage; all stages before it must be SUCCEEDED or SKIPPED.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when the deployment is not in
    progress, the stage is not pending, or one before it has not passed.
    """
    deployment, stage, stages = _lock(tx, step.stage, step.etag)
    require_lease(step.lease)
    _require_in_progress(deployment)
    if stage.status != StageStatus.PENDING:
        raise _wrong(stage, f"Only a pending stage may be started; {stage.name} is {stage.status}.")
    _require_its_turn(stage, stages)
    stage.status = StageStatus.RUNNING
    stage.started_at = tx.now
    return _done(tx, "stage.start", deployment, stage, EventType.STAGE_STARTED, f"Stage {stage.name} started.")


def report_progress(tx: Transaction, progress: StageProgress) -> Record:
    """Say how far a running stage is.

    Raises NotFound, PermissionDenied, and FailedPrecondition when it is not running.
    """
    deployment, stage, _ = _lock(tx, progress.stage)
    require_lease(progress.lease)
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
    deployment, stage, _ = _lock(tx, completion.stage)
    require_lease(completion.lease)
    if stage.status == completion.outcome:
        tx.audit("stage.complete", stage, repeated=True)
        return stage_store.get_stage(tx, str(stage.id))
    tx.match_etag(stage, completion.etag)
    _require_running(stage)
    stage.status = StageStatus(completion.outcome)
    stage.completed_at = tx.now
    stage.output = completion.output
    if stage.status == StageStatus.SUCCEEDED:
        stage.progress_percent = 100
    message = f"Stage {stage.name} {stage.status.lower()}."
    return _done(tx, "stage.complete", deployment, stage, EventType.STAGE_ENDED, message)


def skip_stage(tx: Transaction, skip: StageSkip) -> Record:
    """Leave a pending stage out.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when it is not pending.
    """
    deployment, stage, _ = _lock(tx, skip.stage, skip.etag)
    require_lease(skip.lease)
    if stage.status != StageStatus.PENDING:
        raise _wrong(stage, f"Only a pending stage may be skipped; {stage.name} is {stage.status}.")
    stage.status = StageStatus.SKIPPED
    stage.completed_at = tx.now
    stage.output = skip.reason
    message = f"Stage {stage.name} skipped: {skip.reason}" if skip.reason else f"Stage {stage.name} skipped."
    return _done(tx, "stage.skip", deployment, stage, EventType.STAGE_ENDED, message, reason=skip.reason)


def retry_stage(tx: Transaction, step: StageStep) -> Record:
    """Make a new attempt of a stage that ended without success; the old one stays readable.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when the deployment is not in
    progress or the stage did not fail.
    """
    deployment, stage, _ = _lock(tx, step.stage, step.etag)
    require_lease(step.lease)
    _require_in_progress(deployment)
    if stage.status not in {StageStatus.FAILED, StageStatus.TIMED_OUT}:
        raise _wrong(stage, f"Only a failed stage may be tried again; {stage.name} is {stage.status}.")
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


def _lock(tx: Transaction, reference: str, etag: str = "") -> tuple[Deployment, Stage, Sequence[Stage]]:
    """Return a stage for changing, its deployment, locked, and all stages of that."""
    place = stage_store.stage_place(tx, reference)
    found = store.lock_deployment(tx, place.deployment_id)
    catalog.require_team(tx.caller, found)
    stages = stage_store.lock_stages(tx, place.deployment_id)
    stage = next(stage for stage in stages if stage.id == place.id)
    tx.match_etag(stage, etag)
    return found.Deployment, stage, stages


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
        raise _wrong_deployment(deployment, "is not in progress")


def _require_running(stage: Stage) -> None:
    if stage.status != StageStatus.RUNNING:
        raise _wrong(stage, f"The stage {stage.name} is not running; it is {stage.status}.")


def _require_its_turn(stage: Stage, stages: Sequence[Stage]) -> None:
    before = [other for other in stages if other.order < stage.order and other.status not in PASSED]
    if before:
        names = ", ".join(f"{other.name} ({other.status})" for other in before[:10])
        raise FailedPrecondition(
            f"{stage.name} comes after {names}.",
            *(
                Condition(other.status, f"{other.deployment_id}/{other.name}", f"stage {other.name} is {other.status}")
                for other in before
            ),
            metadata={"state": stage.status},
        )


def _require_not_passed_by(deployment: Deployment, order: int, stages: Sequence[Stage]) -> None:
    """A stage that stands before one that was started would never have its turn."""
    started = [stage for stage in stages if stage.order > order and stage.started_at is not None]
    if started:
        raise wrong_state(
            str(deployment.id),
            deployment.status,
            f"Stage {started[0].name} (order {started[0].order}) was started already; choose a higher order.",
        )


def _wrong(stage: Stage, message: str) -> FailedPrecondition:
    return wrong_state(f"{stage.deployment_id}/{stage.name}", stage.status, message)


def _wrong_deployment(deployment: Deployment, what: str) -> FailedPrecondition:
    return wrong_state(str(deployment.id), deployment.status, f"The deployment {what}: it is {deployment.status}.")
