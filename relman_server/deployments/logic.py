"""Rules of deployments: the state machine of docs/deployments.md."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from relman_server.catalog import logic as catalog
from relman_server.deployments import gates, queue, store
from relman_server.deployments.history import record
from relman_server.deployments.inputs import (
    Cancellation,
    Completion,
    DeploymentChange,
    LeaseHeld,
    NewDeployment,
    Promotion,
    Question,
    StageSpec,
    Start,
)
from relman_server.deployments.model import (
    ENDED,
    PASSED,
    WAITING,
    Deployment,
    DeploymentKind,
    DeploymentStatus,
    EventType,
    Outcome,
    Stage,
    StageStatus,
)
from relman_server.environments.model import EnvironmentType
from relman_server.kernel.db.audit import AuditOutcome
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import (
    Aborted,
    Condition,
    FailedPrecondition,
    InvalidInput,
    Unimplemented,
    Violation,
    wrong_state,
)
from relman_server.releases import logic as releases
from relman_server.releases import store as release_store


class Blocked(FailedPrecondition):
    """Gates are closed: the deployment goes back to PENDING, in a transaction of its own, and the caller is told."""

    reason = "BLOCKED"

    def __init__(self, deployment_id: UUID, blockers: Sequence[gates.Blocker]) -> None:
        conditions = [Condition(blocker.kind, str(blocker.subject_id), blocker.message) for blocker in blockers]
        super().__init__(
            "It cannot start now. " + " ".join(blocker.message for blocker in blockers),
            *conditions,
            metadata={"state": DeploymentStatus.PENDING},
        )
        self.deployment_id = deployment_id


def create_deployment(tx: Transaction, new: NewDeployment) -> Record:
    """Record a deployment of a release into an environment, and decide whether it may start.

    Raises NotFound for an unknown release or environment, PermissionDenied for someone outside the service's team, and
    InvalidInput for a `remediates` that is no deployment of the service.
    """
    facts = store.facts_if_created(tx, new.release, new.environment)
    _require_team(tx, facts.service_id)
    if new.remediates is not None:
        _require_remediable(tx, new.remediates, facts.service_id)
    return _create(
        tx,
        "deployment.create",
        facts,
        kind=new.kind,
        remediates=new.remediates,
        labels=new.labels,
        stages=new.stages,
        supersede=new.supersede,
        hotfix_reason=new.hotfix_reason,
    )


def promote_release(tx: Transaction, wanted: Promotion) -> Record:
    """Record a deployment of a release into the environment that promotes from where it succeeded last.

    Raises NotFound, PermissionDenied, FailedPrecondition when there is no such environment, and InvalidInput when there
    are several and none of them is named.
    """
    release = release_store.release_and_role(tx, wanted.release)
    catalog.require_team(tx.caller, release)
    target = _next_environment(tx, release, wanted.environment)
    facts = store.facts_if_created(tx, str(release.id), target)
    return _create(
        tx, "deployment.create", facts, labels=wanted.labels, stages=wanted.stages, supersede=wanted.supersede
    )


def _next_environment(tx: Reading, release: Record, named: str | None) -> str:
    name = f"{release.service_name}@{release.version}"
    rows = store.next_environments(tx, release.id)
    if not rows:
        raise wrong_state(name, release.status, f"{name} has not succeeded anywhere yet: deploy it first.")
    source: str = rows[0].source
    choices: dict[str, str] = {row.name: str(row.id) for row in rows if row.name is not None}
    if not choices:
        raise wrong_state(name, release.status, f"{name} succeeded last in {source}, and nothing promotes from there.")
    if named is None:
        if len(choices) > 1:
            every = ", ".join(choices)
            raise InvalidInput(Violation("environment", f"must say which: {every} promote from {source}"))
        return next(iter(choices))
    if named not in choices and named not in choices.values():
        raise InvalidInput(Violation("environment", f"must promote from {source}, as do {', '.join(choices)}"))
    return named


def retry_deployment(tx: Transaction, reference: str) -> Record:
    """Record a new deployment of what a failed or cancelled one was of, with the same stages.

    Raises NotFound, PermissionDenied, and FailedPrecondition for one that is not FAILED or CANCELLED.
    """
    found, old = _lock(tx, reference)
    if old.status not in {DeploymentStatus.FAILED, DeploymentStatus.CANCELLED}:
        raise _wrong(old, f"Only a failed or cancelled deployment may be tried again; this one is {old.status}.")
    specs = [StageSpec(name=stage.name, timeout_seconds=stage.timeout_seconds) for stage in store.stages_of(tx, old.id)]
    facts = store.facts_if_created(tx, str(old.release_id), found.environment_name)
    return _create(
        tx,
        "deployment.retry",
        facts,
        kind=DeploymentKind.HOTFIX if old.kind == DeploymentKind.HOTFIX else None,
        remediates=old.remediates,
        labels=dict(old.labels),
        stages=specs,
        hotfix_reason=old.hotfix_reason,
        retry_of=old.id,
    )


def _create(
    tx: Transaction,
    action: str,
    facts: gates.Facts,
    *,
    stages: Sequence[StageSpec],
    kind: DeploymentKind | None = None,
    supersede: bool = False,
    **columns: Any,  # columns of Deployment
) -> Record:
    if supersede:
        _supersede(tx, facts)
    redeploy = store.running_release(tx, facts.service_id, facts.environment_id) == facts.release_id
    defaults: dict[str, Any] = {"remediates": None, "hotfix_reason": "", "retry_of": None}
    deployment = Deployment(
        release_id=facts.release_id,
        service_id=facts.service_id,
        environment_id=facts.environment_id,
        status=DeploymentStatus.PENDING,
        kind=DeploymentKind.HOTFIX
        if kind is DeploymentKind.HOTFIX
        else DeploymentKind.REDEPLOY
        if redeploy
        else DeploymentKind.PLANNED,
        outcome=None,
        failure_reason="",
        production_impacted=False,
        blockers=[],
        revision=0,
        deployed_by=None,
        deployed_at=None,
        completed_at=None,
        rollback_id=None,
        rolled_back_by=None,
        created_by=tx.caller.user_id,
        **defaults | columns,
    )
    tx.add(deployment)
    tx.add_all([new_stage(deployment.id, spec, order) for order, spec in enumerate(stages, start=1)])
    blockers = gates.evaluate(store.facts_of(tx, deployment.id), tx.now)
    deployment.blockers = [blocker.stored() for blocker in blockers]
    deployment.status = DeploymentStatus.PENDING if blockers else DeploymentStatus.READY
    created = record(tx, deployment, EventType.CREATED, queue.sentence(blockers))
    tx.audit(action, deployment, stages=[spec.name for spec in stages])
    return created


def new_stage(deployment_id: UUID, spec: StageSpec, order: int) -> Stage:
    """Return the row of a stage that was not started."""
    return Stage(
        deployment_id=deployment_id,
        name=spec.name,
        order=order,
        status=StageStatus.PENDING,
        timeout_seconds=spec.timeout_seconds,
        attempt=1,
        progress_percent=0,
        progress_message="",
        started_at=None,
        completed_at=None,
        output="",
        earlier_attempts=[],
    )


def _supersede(tx: Transaction, facts: gates.Facts) -> None:
    older = store.waiting_deployments(
        tx,
        Deployment.service_id == facts.service_id,
        Deployment.environment_id == facts.environment_id,
        Deployment.status == DeploymentStatus.PENDING,
    )
    for deployment in older:
        _cancel(tx, deployment, f"Superseded by a deployment of {facts.release_name}.")
        tx.audit("deployment.cancel", deployment, reason="superseded")


def update_deployment(tx: Transaction, change: DeploymentChange) -> Record:
    """Change labels and kind before the start, and the impact at any time.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition for what may not change now.
    """
    _, deployment = _lock(tx, change.deployment, change.etag)
    wanted = change.wanted()
    early = sorted(wanted.keys() & {"labels", "kind"})
    if early and deployment.status not in WAITING:
        fields = " and ".join(early)
        raise _wrong(deployment, f"Before the start only may {fields} change; it is {deployment.status}.")
    if "kind" in wanted and wanted["kind"] is None:
        raise InvalidInput(Violation("kind", "must be PLANNED or HOTFIX"))
    for name, value in wanted.items():
        setattr(deployment, name, value)
    changed = record(tx, deployment, EventType.UPDATED, f"Changed: {', '.join(sorted(wanted)) or 'nothing'}.")
    tx.audit("deployment.update", deployment)
    return changed


def delete_deployment(tx: Transaction, reference: str, etag: str) -> None:
    """Delete a deployment that has ended, with its stages, events and logs.

    Raises NotFound, Aborted for a stale etag, and FailedPrecondition for one that has not ended.
    """
    _, deployment = _lock(tx, reference, etag)
    if deployment.status not in ENDED:
        raise _wrong(deployment, f"Only a deployment that has ended may be deleted; this one is {deployment.status}.")
    tx.delete(deployment)
    tx.audit("deployment.delete", deployment)


def check_deployment(tx: Reading, question: Question) -> list[gates.Blocker]:
    """Return every closed gate of a deployment, or of one that would be made now; raises NotFound."""
    if question.deployment is None:
        assert question.release is not None
        assert question.environment is not None
        return gates.evaluate(store.facts_if_created(tx, question.release, question.environment), tx.now)
    deployment = store.get_deployment(tx, question.deployment)
    if deployment.status not in WAITING:
        raise _wrong(deployment, f"It has been started or has ended: it is {deployment.status}.")
    return gates.evaluate(store.facts_of(tx, deployment.id), tx.now)


def start_deployment(tx: Transaction, start: Start) -> Record:
    """Start a deployment when every gate is open, deciding again in this transaction.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, FailedPrecondition when it does not wait, and Blocked
    when a gate is closed.
    """
    if start.lease_ttl is not None or start.takeover or start.override is not None:
        raise Unimplemented("This server does not offer leases and overrides; start without them.")
    _, deployment = _lock(tx, start.deployment, start.etag)
    if deployment.status not in WAITING:
        raise _wrong(deployment, f"Only a waiting deployment may be started; this one is {deployment.status}.")
    blockers = gates.evaluate(store.facts_of(tx, deployment.id), tx.now)
    if blockers:
        raise Blocked(deployment.id, blockers)
    deployment.status = DeploymentStatus.IN_PROGRESS
    deployment.blockers = []
    deployment.deployed_by = tx.caller.user_id
    deployment.deployed_at = tx.now
    # Two that start at the same instant both find their gates open; the index lets one of them through.
    tx.flush(conflict=Aborted("Another deployment of the service was started at the same moment; look again."))
    started = record(tx, deployment, EventType.STARTED, f"Started by {tx.caller.username}.")
    tx.audit("deployment.start", deployment)
    return started


def note_blocked(tx: Transaction, deployment_id: UUID) -> None:
    """Put down that a start was refused: what the gates say now, and who wanted to start."""
    found = store.lock_deployment(tx, deployment_id)
    deployment: Deployment = found.Deployment
    if deployment.status in WAITING:
        queue.look_again(tx, deployment)
        tx.audit("deployment.start", deployment, outcome=AuditOutcome.FAILED)


def complete_deployment(tx: Transaction, completion: Completion) -> Record:
    """End a deployment.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when it is not in progress, or
    when it shall succeed while stages have not.
    """
    found, deployment = _lock(tx, completion.deployment, completion.etag)
    require_lease(completion.lease)
    if deployment.status != DeploymentStatus.IN_PROGRESS:
        raise _wrong(deployment, f"Only a deployment in progress may be completed; this one is {deployment.status}.")
    stages = store.lock_stages(tx, deployment.id)
    if completion.outcome is Outcome.SUCCEEDED:
        _require_passed(deployment, stages)
    else:
        _cancel_stages(tx, stages)
    deployment.status = DeploymentStatus(completion.outcome)
    deployment.outcome = completion.outcome
    deployment.failure_reason = completion.failure_reason
    deployment.production_impacted = completion.production_impacted
    deployment.completed_at = tx.now
    message = "Succeeded." if completion.outcome is Outcome.SUCCEEDED else f"Failed: {completion.failure_reason or '?'}"
    ended = record(tx, deployment, EventType(completion.outcome), message)
    tx.audit("deployment.complete", deployment)
    if found.environment_type == EnvironmentType.PRODUCTION:
        releases.deployed_to_production(tx, deployment.release_id, succeeded=completion.outcome is Outcome.SUCCEEDED)
    queue.move_on(tx, deployment.service_id, deployment.environment_id)
    return ended


def cancel_deployment(tx: Transaction, cancellation: Cancellation) -> Record:
    """Call a deployment off.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition when it has ended.
    """
    _, deployment = _lock(tx, cancellation.deployment, cancellation.etag)
    if deployment.status in ENDED:
        raise _wrong(deployment, f"It has ended and cannot be called off: it is {deployment.status}.")
    cancelled = _cancel(tx, deployment, cancellation.reason)
    tx.audit("deployment.cancel", deployment, reason=cancellation.reason)
    queue.move_on(tx, deployment.service_id, deployment.environment_id)
    return cancelled


def _cancel(tx: Transaction, deployment: Deployment, reason: str) -> Record:
    _cancel_stages(tx, store.lock_stages(tx, deployment.id))
    deployment.status = DeploymentStatus.CANCELLED
    deployment.failure_reason = reason
    deployment.blockers = []
    deployment.completed_at = tx.now
    return record(tx, deployment, EventType.CANCELLED, f"Cancelled: {reason}" if reason else "Cancelled.")


def _cancel_stages(tx: Transaction, stages: Sequence[Stage]) -> None:
    for stage in stages:
        if stage.status in {StageStatus.PENDING, StageStatus.RUNNING}:
            stage.status = StageStatus.CANCELLED
            stage.completed_at = tx.now


def _require_passed(deployment: Deployment, stages: Sequence[Stage]) -> None:
    missing = [stage for stage in stages if stage.status not in PASSED]
    if missing:
        names = ", ".join(f"{stage.name} ({stage.status})" for stage in missing[:10])
        raise FailedPrecondition(
            f"It cannot succeed while stages have not: {names}.",
            *(
                Condition(stage.status, f"{deployment.id}/{stage.name}", f"stage {stage.name} is {stage.status}")
                for stage in missing
            ),
            metadata={"state": deployment.status},
        )


def require_lease(lease: LeaseHeld | None) -> None:
    """Raise Aborted WRITER_FENCED unless the lease that a call names is held by its caller."""
    if lease is not None:
        raise Aborted("The deployment has no such lease.", reason="WRITER_FENCED")


def _lock(tx: Transaction, reference: str, etag: str = "") -> tuple[Record, Deployment]:
    found = store.lock_deployment(tx, store.deployment_id(reference))
    catalog.require_team(tx.caller, found)
    deployment: Deployment = found.Deployment
    tx.match_etag(deployment, etag)
    return found, deployment


def _require_team(tx: Transaction, service_id: UUID) -> None:
    catalog.require_team(tx.caller, catalog.require_service(tx, str(service_id)))


def _require_remediable(tx: Transaction, remediated: UUID, service_id: UUID) -> None:
    if store.get_deployment_by_id(tx, remediated).service_id != service_id:
        raise InvalidInput(Violation("remediates", "must be a deployment of the same service"))


def _wrong(deployment: Any, message: str) -> FailedPrecondition:  # a Deployment, or a row with its columns
    return wrong_state(str(deployment.id), deployment.status, message)
