"""The history of a deployment: every change writes an event, in the same transaction."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from relman_server.deployments import store
from relman_server.deployments.model import Deployment, DeploymentEvent, EventType, Stage
from relman_server.kernel.db.audit import plain
from relman_server.kernel.db.model import etag
from relman_server.kernel.db.transaction import Record, Transaction


@dataclass(frozen=True)
class DeploymentChanged:
    """A deployment has a new event."""

    deployment_id: UUID


def topic(deployment_id: UUID) -> str:
    """Return the topic under which those who watch a deployment are woken."""
    return f"deployment:{deployment_id}"


def record(
    tx: Transaction, deployment: Deployment, event_type: EventType, message: str, stage: Stage | None = None
) -> Record:
    """Write the next event of a deployment, whose row must be locked, and return the deployment as it is now.

    Revisions have no gaps, and a watcher that has seen one never finds anything new before it: the number is taken
    under the deployment's row lock, held to the commit.
    """
    deployment.revision += 1
    tx.flush()
    row = store.get_deployment_by_id(tx, deployment.id)
    identity = tx.call.identity
    tx.add(
        DeploymentEvent(
            deployment_id=deployment.id,
            revision=deployment.revision,
            type=event_type,
            deployment=_snapshot(row._mapping),
            stage=_snapshot({column.name: getattr(stage, column.name) for column in Stage.__table__.columns})
            if stage
            else None,
            actor_id=identity.user_id if identity else None,
            time=tx.now,
            message=message,
        )
    )
    tx.emit(DeploymentChanged(deployment.id))
    return row


def _snapshot(row: Any) -> dict[str, Any]:  # columns by name, as JSON
    found = {name: plain(value) for name, value in row.items()}
    found["etag"] = etag(found["id"], found["row_version"])
    return found
