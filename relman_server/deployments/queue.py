"""Looking again: when a gate may have moved, the deployments that wait behind it are decided anew, at once."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement

from relman_server.catalog.logic import ServiceChanged
from relman_server.deployments import gates, store
from relman_server.deployments.facts import facts_of
from relman_server.deployments.history import record
from relman_server.deployments.model import Deployment, DeploymentStatus, EventType
from relman_server.environments.logic import EnvironmentChanged
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.releases.logic import ReleaseChanged


def look_again(tx: Transaction, deployment: Deployment) -> tuple[list[gates.Blocker], Record | None]:
    """Decide a waiting deployment anew; when the answer changed, write it down as an event.

    Returns the closed gates, and the deployment as it is now when it changed.
    """
    blockers = gates.evaluate(facts_of(tx, deployment.id), tx.now)
    stored = [blocker.stored() for blocker in blockers]
    status = DeploymentStatus.PENDING if blockers else DeploymentStatus.READY
    if deployment.status == status and deployment.blockers == stored:
        return blockers, None
    deployment.status = status
    deployment.blockers = stored
    event = EventType.BLOCKED if blockers else EventType.READY
    return blockers, record(tx, deployment, event, sentence(blockers))


def sentence(blockers: Sequence[gates.Blocker]) -> str:
    """Return what a person wants to know of the gates."""
    if not blockers:
        return "Every gate is open: it may start."
    return "Waiting: " + " ".join(blocker.message for blocker in blockers)


def move_on(tx: Transaction, service_id: UUID, environment_id: UUID) -> None:
    """Look again at the queue of a service in an environment, since its head left."""
    _all(tx, Deployment.service_id == service_id, Deployment.environment_id == environment_id)


def release_changed(tx: Transaction, changed: ReleaseChanged) -> None:
    """Look again at the deployments of a release that was published, abandoned, held or let go."""
    _all(tx, Deployment.release_id == changed.release_id)


def service_changed(tx: Transaction, changed: ServiceChanged) -> None:
    """Look again at the deployments of a service that became active or inactive."""
    _all(tx, Deployment.service_id == changed.service_id)


def environment_changed(tx: Transaction, changed: EnvironmentChanged) -> None:
    """Look again at the deployments into an environment whose rules changed."""
    _all(tx, Deployment.environment_id == changed.environment_id)


def _all(tx: Transaction, *conditions: ColumnElement[bool]) -> None:
    for deployment in store.waiting_deployments(tx, *conditions):
        look_again(tx, deployment)
