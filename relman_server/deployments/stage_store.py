"""Queries of stages."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, and_, select

from relman_server.catalog.model import Service
from relman_server.deployments.inputs import ListStages
from relman_server.deployments.model import UNFINISHED, Deployment, Stage
from relman_server.deployments.store import deployment_id, get_deployment
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import InvalidInput, NotFound, Violation
from relman_server.kernel.ids import parse_id
from relman_server.kernel.paging import Listed, Ordering, paginate
from relman_server.teams import store as teams

_STAGE_ORDERING = Ordering({"order": Stage.order}, default="order", tie=Stage.id)


def stages_of(tx: Reading, deployment: UUID) -> Sequence[Record]:
    """Return all stages of a deployment in their order."""
    return tx.rows(
        select(*Stage.__table__.columns).where(Stage.deployment_id == deployment).order_by(Stage.order, Stage.id)
    )


def stage_states(tx: Reading, deployment: UUID) -> Sequence[Record]:
    """Return id, deployment_id, name, order, status and started_at of a deployment's stages in their order."""
    columns = (Stage.id, Stage.deployment_id, Stage.name, Stage.order, Stage.status, Stage.started_at)
    return tx.rows(select(*columns).where(Stage.deployment_id == deployment).order_by(Stage.order))


def unfinished_stages(tx: Transaction, deployment: UUID) -> Sequence[Stage]:
    """Return the stages that have not ended, in their order, for changing; the deployment must be locked."""
    return tx.entities(
        select(Stage).where(Stage.deployment_id == deployment, Stage.status.in_(UNFINISHED)).order_by(Stage.order)
    )


def lock_stage(tx: Transaction, reference: str) -> Record:
    """Return `Deployment` and `Stage` for changing, service_name, owner_id and `caller_role`; raises NotFound."""
    role = teams.caller_role(tx.caller.user_id, Service.team_id)
    found = tx.row(
        select(Deployment, Stage, Service.name.label("service_name"), Service.owner_id, role)
        .join(Stage, Stage.deployment_id == Deployment.id)
        .join(Service, Service.id == Deployment.service_id)
        .where(_named_stage(reference))
        # The deployment first: whoever holds it may change its stages.
        .with_for_update(of=(Deployment, Stage), key_share=True)
    )
    if found is None:
        raise NotFound("stage", reference)
    return found


def get_stages(tx: Reading, reference: str) -> Sequence[Record]:
    """Return all stages of a deployment in their order; raises NotFound for an unknown deployment."""
    found = stages_of(tx, deployment_id(reference))
    if not found:
        get_deployment(tx, reference)
    return found


def list_stages(tx: Reading, wanted: ListStages) -> Listed:
    """Return a page of a deployment's stages; raises NotFound for an unknown deployment."""
    statement = select(*Stage.__table__.columns).where(Stage.deployment_id == deployment_id(wanted.deployment))
    if wanted.status:
        statement = statement.where(Stage.status == wanted.status)
    listed = paginate(tx, statement, _STAGE_ORDERING, wanted)
    if not listed.rows:
        get_deployment(tx, wanted.deployment)
    return listed


def _named_stage(reference: str) -> ColumnElement[bool]:
    stage_id = parse_id(reference)
    if stage_id is not None:
        return Stage.id == stage_id
    deployment, _, name = reference.partition("/")
    found = parse_id(deployment)
    if found is None or not name:
        raise InvalidInput(Violation("stage", "must be the id of a stage, or `deployment-id/stage-name`"))
    return and_(Stage.deployment_id == found, Stage.name == name)


def get_stage(tx: Reading, reference: str) -> Record:
    """Return a stage; raises NotFound."""
    found = tx.row(select(*Stage.__table__.columns).where(_named_stage(reference)))
    if found is None:
        raise NotFound("stage", reference)
    return found
