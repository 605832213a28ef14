"""The history of a deployment: every change writes an event, in the same transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from relman_server.deployments import store
from relman_server.deployments.model import Deployment, DeploymentEvent, EventType, Stage
from relman_server.kernel.db.audit import plain
from relman_server.kernel.db.model import etag
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import RelmanError


@dataclass(frozen=True)
class DeploymentChanged:
    """A deployment has a new event, or was deleted."""

    deployment_id: UUID


@dataclass(frozen=True)
class DeploymentDeleted:
    """A deployment is gone, and with it whatever belonged to it alone; its queue is locked."""

    deployment: Deployment


@dataclass(frozen=True)
class DeploymentMoved:
    """A deployment was started, or ended; its row is locked, with its queue unless it was started."""

    deployment: Deployment


@dataclass(frozen=True)
class Happening:
    """What an event will say.

    Attributes:
        deployment: Whose history it is; its row must be locked.
        event_type: What happened.
        message: A sentence for a person.
        stage: The stage concerned, if any.
    """

    deployment: Deployment
    event_type: EventType
    message: str
    stage: Stage | None = None


def topic(deployment_id: UUID) -> str:
    """Return the topic under which those who watch a deployment are woken."""
    return f"deployment:{deployment_id}"


def record(
    tx: Transaction,
    deployment: Deployment,
    event_type: EventType,
    message: str,
    stage: Stage | None = None,
    *,
    conflict: RelmanError | None = None,
) -> Record:
    """Write the next event of a deployment, whose row must be locked, and return the deployment as it is now.

    Raises `conflict` when what was changed of it breaks a constraint.
    """
    return record_all(tx, [Happening(deployment, event_type, message, stage)], conflict=conflict)[deployment.id]


def record_all(
    tx: Transaction, happenings: Sequence[Happening], *, conflict: RelmanError | None = None
) -> Mapping[UUID, Record]:
    """Write the next events of deployments, whose rows must be locked, and return the deployments as they are now.

    Revisions have no gaps, and a watcher that has seen one never finds anything new before it: the number is taken
    under the deployment's row lock, held to the commit. However many there are, they are read and written at once.
    """
    revisions = [_next_revision(happening.deployment) for happening in happenings]
    tx.flush(conflict=conflict)
    rows = store.deployments_by_id(tx, {happening.deployment.id for happening in happenings})
    identity = tx.call.identity
    tx.add_all(
        [
            DeploymentEvent(
                deployment_id=happening.deployment.id,
                revision=revision,
                type=happening.event_type,
                deployment=_snapshot({**rows[happening.deployment.id]._mapping, "revision": revision}),
                stage=_stage_snapshot(happening.stage) if happening.stage else None,
                actor_id=identity.user_id if identity else None,
                time=tx.now,
                message=happening.message,
            )
            for happening, revision in zip(happenings, revisions, strict=True)
        ]
    )
    for deployment_id in rows:
        tx.emit(DeploymentChanged(deployment_id))
    return rows


def _next_revision(deployment: Deployment) -> int:
    deployment.revision += 1
    return deployment.revision


def _stage_snapshot(stage: Stage) -> dict[str, Any]:  # columns by name, as JSON
    """Leave the earlier attempts out: each has events of its own, and the history must not hold them once a report."""
    columns = (column.name for column in Stage.__table__.columns if column.name != "earlier_attempts")
    return _snapshot({name: getattr(stage, name) for name in columns})


def _snapshot(row: Mapping[str, Any]) -> dict[str, Any]:  # columns by name, as JSON
    found = {name: plain(value) for name, value in row.items()}
    found["etag"] = etag(found["id"], found["row_version"])
    return found
