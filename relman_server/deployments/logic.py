"""Rules of deployments: their state machine, and what all its steps have in common.

PENDING (a gate is closed) and READY (none is) change into each other as gates do, and wait; a start makes IN_PROGRESS,
which ends SUCCEEDED or FAILED. Whatever has not ended can be CANCELLED. What has ended is history: it stays as it is.
`creation.py`, `starting.py` and `ending.py` have the steps, `stages.py` what happens in between, `overdue.py` what the
server ends by itself.
"""

from dataclasses import replace
from typing import Any

from relman_server.approvals import requests
from relman_server.catalog import logic as catalog
from relman_server.deployments import feed_store, gates, queue, store
from relman_server.deployments.facts import facts_if_created, facts_of
from relman_server.deployments.history import DeploymentChanged, DeploymentDeleted, Happening, record_all
from relman_server.deployments.inputs import DeploymentChange, Question
from relman_server.deployments.model import ENDED, WAITING, Deployment, DeploymentKind, EventType
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import FailedPrecondition, InvalidInput, Violation, wrong_state


def update_deployment(tx: Transaction, change: DeploymentChange) -> Record:
    """Change labels and kind before the start, and the impact at any time.

    A deployment that is no HOTFIX any more remediates nothing. Setting everything to what it is changes nothing.

    Raises NotFound, PermissionDenied, Aborted for a stale etag, and FailedPrecondition for what may not change now.
    """
    wanted = change.wanted()
    early = sorted(wanted.keys() & {"labels", "kind"})
    if early:
        store.hold_surroundings(tx, store.deployment_id(change.deployment))
    _, deployment = lock(tx, change.deployment, change.etag)
    if early and deployment.status not in WAITING:
        fields = " and ".join(early)
        raise wrong(deployment, f"{fields} may change only before the start; this deployment is {deployment.status}.")
    if "kind" in wanted:
        wanted |= _kind(tx, deployment, wanted["kind"])
    changed = sorted(name for name, value in wanted.items() if getattr(deployment, name) != value)
    for name in changed:
        setattr(deployment, name, wanted[name])
    updated = Happening(deployment, EventType.UPDATED, f"Changed: {', '.join(changed)}.")
    if {"labels", "kind"} & set(changed):  # approvals were of something else, and a hotfix has another way to go
        queue.look_again(tx, [deployment], after=[updated, *_void_approvals(tx, deployment)])
    elif changed:
        record_all(tx, [updated])
    tx.audit("deployment.update", deployment)
    return store.get_deployment_by_id(tx, deployment.id)


def _void_approvals(tx: Transaction, deployment: Deployment) -> list[Happening]:
    subject = facts_of(tx, [deployment.id])[deployment.id].approvals.subject
    voided = requests.void(tx, replace(subject, revision=deployment.revision + 1))
    what = "1 approval counts" if voided == 1 else f"{voided} approvals count"
    message = f"{what} no longer: it was changed since."
    return [Happening(deployment, EventType.APPROVAL, message)] if voided else []


def _kind(tx: Reading, deployment: Deployment, said: DeploymentKind | None) -> dict[str, Any]:  # columns
    if said is None:
        raise InvalidInput(Violation("kind", "must be PLANNED or HOTFIX"))
    if deployment.kind == DeploymentKind.ROLLBACK:
        raise wrong(deployment, "The kind of a rollback's deployment cannot be changed.")
    if said is DeploymentKind.HOTFIX:
        return {"kind": said}
    facts = facts_of(tx, [deployment.id])[deployment.id]
    return {"kind": facts.ordinary_kind, "remediates": None, "hotfix_reason": ""}


def delete_deployment(tx: Transaction, reference: str, etag: str) -> None:
    """Delete a deployment that has ended, with its stages, events and logs.

    Raises NotFound, Aborted for a stale etag, and FailedPrecondition for one that has not ended.
    """
    # With its queue: what the service's other deployments were the first to bring may change with it.
    _, deployment = lock(tx, reference, etag, with_queue=True)
    if deployment.status not in ENDED:
        raise wrong(deployment, f"Only a deployment that has ended may be deleted; this one is {deployment.status}.")
    used = wrong_state(
        str(deployment.id), deployment.status, "A rollback or an incident speaks of it, and would lose its meaning."
    )
    feed_store.keep_order(tx, deployment.id)
    tx.delete(deployment, conflict=used)
    tx.audit("deployment.delete", deployment)
    tx.emit(DeploymentChanged(deployment.id))  # who still watches it should know
    tx.emit(DeploymentDeleted(deployment))


def check_deployment(tx: Reading, question: Question) -> list[gates.Blocker]:
    """Return every closed gate of a deployment, or of one that would be made now; raises NotFound."""
    if question.deployment is None:
        assert question.release is not None
        assert question.environment is not None
        return gates.evaluate(facts_if_created(tx, question.release, question.environment), tx.now)
    deployment = store.get_deployment(tx, question.deployment)
    if deployment.status not in WAITING:
        raise wrong(deployment, f"Only a waiting deployment may be started; this one is {deployment.status}.")
    return gates.evaluate(facts_of(tx, [deployment.id])[deployment.id], tx.now)


def lock(tx: Transaction, reference: str, etag: str = "", *, with_queue: bool = False) -> tuple[Record, Deployment]:
    """Return a deployment for changing, with the row it was found in; `with_queue` as for `store.lock_deployment`.

    Raises NotFound, PermissionDenied for someone outside the service's team, and Aborted for a stale etag.
    """
    found = store.lock_deployment(tx, store.deployment_id(reference), with_queue=with_queue)
    catalog.require_team(tx.caller, found)
    deployment: Deployment = found.Deployment
    tx.match_etag(deployment, etag)
    return found, deployment


def wrong(deployment: Any, message: str) -> FailedPrecondition:  # a Deployment, or a row with its columns
    """Return the refusal of what the state of a deployment forbids."""
    return wrong_state(str(deployment.id), deployment.status, message)
