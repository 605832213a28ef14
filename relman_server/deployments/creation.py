"""How deployments come to be: created, promoted, tried again."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from relman_server.approvals import requests
from relman_server.catalog import logic as catalog
from relman_server.deployments import gates, queue, store
from relman_server.deployments.ending import cancel
from relman_server.deployments.facts import facts_of, lock_facts
from relman_server.deployments.history import record
from relman_server.deployments.inputs import NewDeployment, Promotion, StageSpec
from relman_server.deployments.logic import lock, wrong
from relman_server.deployments.model import Deployment, DeploymentKind, DeploymentStatus, EventType, Stage, StageStatus
from relman_server.deployments.stage_store import stages_of
from relman_server.environments import store as environments
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import InvalidInput, Violation, wrong_state
from relman_server.releases import store as release_store
from relman_server.releases.model import ReleaseStatus


def create_deployment(tx: Transaction, new: NewDeployment) -> Record:
    """Record a deployment of a release into an environment, and decide whether it may start.

    Raises NotFound for an unknown release or environment, PermissionDenied for someone outside the service's team, and
    InvalidInput for a `remediates` that is no deployment of the service.
    """
    release = release_store.release_and_role(tx, new.release)
    catalog.require_team(tx.caller, release)
    facts = lock_facts(tx, str(release.id), new.environment)
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
    facts = lock_facts(tx, str(release.id), str(target))
    return _create(
        tx, "deployment.create", facts, labels=wanted.labels, stages=wanted.stages, supersede=wanted.supersede
    )


def _next_environment(tx: Reading, release: Record, named: str | None) -> UUID:
    wanted = environments.environment_id(tx, named) if named else None
    name = f"{release.service_name}@{release.version}"
    rows = store.next_environments(tx, release.id)
    if not rows:
        raise wrong_state(name, release.status, f"{name} has not succeeded anywhere yet: deploy it first.")
    source: str = rows[0].source
    choices: dict[UUID, str] = {row.id: row.name for row in rows if row.id is not None}
    every = ", ".join(choices.values())
    if not choices:
        raise wrong_state(name, release.status, f"{name} succeeded last in {source}, and nothing promotes from there.")
    if wanted is None:
        if len(choices) > 1:
            raise InvalidInput(Violation("environment", f"must say which: {every} promote from {source}"))
        return next(iter(choices))
    if wanted not in choices:
        raise InvalidInput(
            Violation("environment", f"must promote from {source}, where {name} succeeded last: {every}")
        )
    return wanted


def retry_deployment(tx: Transaction, reference: str) -> Record:
    """Record a new deployment of what a failed or cancelled one was of, with the same stages.

    Raises NotFound, PermissionDenied, and FailedPrecondition for one that is not FAILED or CANCELLED.
    """
    _, old = lock(tx, reference, with_queue=True)
    if old.kind == DeploymentKind.ROLLBACK:
        raise wrong(old, "A rollback is not tried again: roll the deployment back that it was of once more.")
    if old.status not in {DeploymentStatus.FAILED, DeploymentStatus.CANCELLED}:
        raise wrong(old, f"Only a failed or cancelled deployment may be tried again; this one is {old.status}.")
    return _create(
        tx,
        "deployment.retry",
        lock_facts(tx, str(old.release_id), str(old.environment_id)),
        kind=DeploymentKind.HOTFIX if old.kind == DeploymentKind.HOTFIX else None,
        remediates=old.remediates,
        labels=dict(old.labels),
        stages=[StageSpec(name=row.name, timeout_seconds=row.timeout_seconds) for row in stages_of(tx, old.id)],
        hotfix_reason=old.hotfix_reason,
        retry_of=old.id,
    )


def roll_back(tx: Transaction, undone: Deployment, release_id: UUID, example: UUID, rollback_id: UUID) -> Record:
    """Record the deployment of an earlier release that undoes another one, in front of its queue.

    Args:
        tx: The transaction.
        undone: What is undone; locked with its queue.
        release_id: The release to go back to.
        example: A deployment by which that release got there before: its stages are those of the new one.
        rollback_id: What the deployment belongs to.
    """
    made = _create(
        tx,
        "deployment.create",
        lock_facts(tx, str(release_id), str(undone.environment_id)),
        kind=DeploymentKind.ROLLBACK,
        labels=dict(undone.labels),
        stages=[StageSpec(name=row.name, timeout_seconds=row.timeout_seconds) for row in stages_of(tx, example)],
        rollback_id=rollback_id,
    )
    queue.overtaken(tx, undone, by=made.id)
    return made


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
    defaults: dict[str, Any] = {"remediates": None, "hotfix_reason": "", "retry_of": None, "rollback_id": None}
    _require_deployable(facts)
    deployment = Deployment(
        release_id=facts.release_id,
        service_id=facts.service_id,
        environment_id=facts.environment_id,
        status=DeploymentStatus.PENDING,
        kind=kind or facts.ordinary_kind,
        outcome=None,
        failure_reason="",
        production_impacted=False,
        blockers=[],
        revision=0,
        deployed_by=None,
        deployed_at=None,
        completed_at=None,
        rolled_back_by=None,
        look_again_at=None,
        created_by=tx.caller.user_id,
        created_at=_place_in_queue(tx, facts.service_id),
        **defaults | columns,
    )
    # Before anything else is locked: from here on neither the release nor the environment changes.
    tx.add(deployment)
    tx.add_all([new_stage(deployment.id, spec, order) for order, spec in enumerate(stages, start=1)])
    if supersede:
        _supersede(tx, deployment, facts.release_name)
    facts = facts_of(tx, [deployment.id])[deployment.id]
    blockers, _ = queue.decide(deployment, facts, tx.now)
    created = record(tx, deployment, EventType.CREATED, queue.sentence(blockers))
    requests.ask_for_required(tx, replace(facts.approvals.subject, revision=deployment.revision))
    tx.audit(action, deployment, stages=[spec.name for spec in stages])
    return created


def _require_deployable(facts: gates.Facts) -> None:
    """Refuse what will not be let go by waiting: a draft may be published, but someone held or gave this one up."""
    if facts.quarantined_at is not None or facts.release_status == ReleaseStatus.ABANDONED:
        state = ReleaseStatus.ABANDONED if facts.quarantined_at is None else "QUARANTINED"
        message = " ".join(blocker.message for blocker in gates.release(facts))
        raise wrong_state(facts.release_name, state, message)


def _place_in_queue(tx: Transaction, service_id: UUID) -> datetime:
    """Return the time, or just after the service's newest deployment: nobody gets before one that is there already.

    Times are taken when transactions begin, by clocks that may differ; queues go by who came, under the service's lock.
    """
    newest = store.newest_creation(tx, service_id)
    return tx.now if newest is None else max(tx.now, newest + timedelta(microseconds=1))


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
        due_at=None,
    )


def _supersede(tx: Transaction, by: Deployment, release_name: str) -> None:
    older = store.waiting_deployments(
        tx,
        *store.same_queue(by),
        Deployment.status == DeploymentStatus.PENDING,
        Deployment.kind != DeploymentKind.ROLLBACK,
        Deployment.id != by.id,
    )
    for deployment in older:
        cancel(tx, deployment, f"Superseded by a deployment of {release_name}.")
        tx.audit("deployment.cancel", deployment, reason="superseded", superseded_by=str(by.id))


def _require_remediable(tx: Transaction, remediated: UUID, service_id: UUID) -> None:
    if store.get_deployment_by_id(tx, remediated).service_id != service_id:
        raise InvalidInput(Violation("remediates", "must be a deployment of the same service"))
