"""Looking again: when a gate may have moved, the deployments that wait behind it are decided anew, at once.

Whoever locks several deployments does so from the oldest to the newest, so that no two wait for each other; and who
adds to a queue or leaves it locks the service before (`store.lock_deployment`, `facts.lock_facts`), so that nobody
looks at a queue that someone else is about to change.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, select

from relman_server.catalog.logic import ServiceChanged
from relman_server.deployments import gates, store
from relman_server.deployments.facts import facts_of
from relman_server.deployments.history import Happening, record_all
from relman_server.deployments.model import Deployment, DeploymentStatus, EventType
from relman_server.environments.logic import EnvironmentChanged
from relman_server.environments.model import Environment
from relman_server.kernel.db.transaction import Transaction
from relman_server.policies.logic import PoliciesChanged
from relman_server.releases.logic import ReleaseChanged


def decide(deployment: Deployment, facts: gates.Facts, now: datetime) -> tuple[list[gates.Blocker], bool]:
    """Set a waiting deployment's status and blockers to what the gates say; return them, and whether that is news."""
    blockers = gates.evaluate(facts, now)
    deployment.look_again_at = gates.changes_at(facts, blockers, now)
    stored = [blocker.stored() for blocker in blockers]
    status = DeploymentStatus.PENDING if blockers else DeploymentStatus.READY
    if deployment.status == status and deployment.blockers == stored:
        return blockers, False
    deployment.status = status
    deployment.blockers = stored
    return blockers, True


def look_again(tx: Transaction, deployments: Sequence[Deployment], *, after: Sequence[Happening] = ()) -> None:
    """Decide waiting deployments, which must be locked, anew; where the answer changed, an event says so.

    What happened before, and is the reason to look, is written with it: a row that a transaction updates a second time
    makes PostgreSQL look at its foreign keys once more, and wait for who changes an environment and waits for the row.
    """
    if not deployments:
        return
    facts = facts_of(tx, [deployment.id for deployment in deployments])
    news = list(after)
    for deployment in deployments:
        blockers, is_news = decide(deployment, facts[deployment.id], tx.now)
        if is_news:
            event = EventType.BLOCKED if blockers else EventType.READY
            news.append(Happening(deployment, event, sentence(blockers)))
    if news:
        record_all(tx, news)


def sentence(blockers: Sequence[gates.Blocker]) -> str:
    """Return what a person wants to know of the gates."""
    if not blockers:
        return "Every gate is open: it may start."
    return "It cannot start yet. " + " ".join(blocker.message for blocker in blockers)


def move_on(tx: Transaction, left: Deployment, *, was_in_progress: bool) -> None:
    """Look again at who waited for a deployment that left its queue: all, or those behind one that only waited."""
    conditions = [] if was_in_progress else [store.behind(left)]
    look_again(tx, store.waiting_deployments(tx, *store.same_queue(left), *conditions))


def overtaken(tx: Transaction, undone: Deployment, by: UUID) -> None:
    """Look again at the queue of a deployment that is rolled back: the rollback goes before all that wait."""
    look_again(tx, store.waiting_deployments(tx, *store.same_queue(undone), Deployment.id != by))


def promoted(tx: Transaction, ended: Deployment) -> None:
    """Look again at who waits for a release to succeed where it just did, to be promoted from there."""
    following = select(Environment.id).where(Environment.promotes_from == ended.environment_id)
    _all(tx, and_(Deployment.release_id == ended.release_id, Deployment.environment_id.in_(following)))


def release_changed(tx: Transaction, changed: ReleaseChanged) -> None:
    """Look again at the deployments of a release that was published, abandoned, held or let go."""
    _all(tx, Deployment.release_id == changed.release_id)


def service_changed(tx: Transaction, changed: ServiceChanged) -> None:
    """Look again at the deployments of a service that became active or inactive."""
    _all(tx, Deployment.service_id == changed.service_id)


def environment_changed(tx: Transaction, changed: EnvironmentChanged) -> None:
    """Look again at the deployments into an environment whose rules changed."""
    _all(tx, Deployment.environment_id == changed.environment_id)


def policies_changed(tx: Transaction, _: PoliciesChanged) -> None:
    """Look again at everything that waits: any of it may be frozen now, or free."""
    look_again(tx, store.waiting_deployments(tx))


def _all(tx: Transaction, condition: ColumnElement[bool]) -> None:
    look_again(tx, store.waiting_deployments(tx, condition))
