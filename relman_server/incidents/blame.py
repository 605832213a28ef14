"""Which deployments an incident or a hotfix speaks against.

That is found from incidents and hotfixes, and kept with the deployment: metrics ask it of a million of them.
"""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, or_, select, update

from relman_server.deployments.history import DeploymentDeleted, DeploymentMoved
from relman_server.deployments.model import Deployment, DeploymentKind, Outcome
from relman_server.incidents.model import Incident
from relman_server.kernel.db.model import alias_of
from relman_server.kernel.db.transaction import Transaction
from relman_server.kernel.sql import in_words

_hotfix = alias_of(Deployment)


def is_repair(hotfix: Any) -> ColumnElement[bool]:  # Deployment or an alias of it
    """Return the condition that a hotfix succeeded in repairing what it was made for."""
    return and_(
        hotfix.kind == in_words(DeploymentKind.HOTFIX),
        hotfix.remediates.is_not(None),
        hotfix.outcome == Outcome.SUCCEEDED,
    )


def _is_blamed() -> ColumnElement[bool]:
    """Return the condition that an incident was linked to a deployment, or a hotfix repaired it where it is."""
    caused = exists().where(Incident.deployment_id == Deployment.id)
    repaired = exists().where(
        _hotfix.remediates == Deployment.id, _hotfix.environment_id == Deployment.environment_id, is_repair(_hotfix)
    )
    return or_(caused, repaired)


def judge(tx: Transaction, deployment_ids: Collection[UUID]) -> None:
    """Find out anew whether anything speaks against deployments; to whoever reads them they have not changed."""
    _judge(tx, Deployment.id.in_(deployment_ids))


def judge_service(tx: Transaction, service_id: UUID) -> None:
    """As `judge`, of all deployments of a service."""
    _judge(tx, Deployment.service_id == service_id)


def _judge(tx: Transaction, which: ColumnElement[bool]) -> None:
    # Locked first: what was linked, or repaired, by whoever had them before is seen by the statement after this one.
    tx.rows(select(Deployment.id).where(which).order_by(Deployment.id).with_for_update(key_share=True))
    found = _is_blamed()
    changed = update(Deployment).where(which, Deployment.blamed != found).values(blamed=found)
    tx.execute(changed.execution_options(synchronize_session=False))


def deployment_moved(tx: Transaction, moved: DeploymentMoved) -> None:
    """Blame what a hotfix has just repaired."""
    _judge_repaired(tx, moved.deployment)


def deployment_deleted(tx: Transaction, deleted: DeploymentDeleted) -> None:
    """Blame no longer what a hotfix repaired that is gone, unless something else speaks against it."""
    _judge_repaired(tx, deleted.deployment)


def _judge_repaired(tx: Transaction, hotfix: Deployment) -> None:
    if hotfix.kind == DeploymentKind.HOTFIX and hotfix.outcome == Outcome.SUCCEEDED and hotfix.remediates is not None:
        judge(tx, [hotfix.remediates])
