"""Queries of logs."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    exists,
    false,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite

from relman_server.catalog.model import Service
from relman_server.deployments.model import Deployment, Stage
from relman_server.kernel.db.model import UtcDateTime
from relman_server.kernel.db.prepared import Prepared
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import InvalidInput, NotFound, Violation
from relman_server.kernel.ids import new_id, parse_id
from relman_server.logs.inputs import DEFAULT_STREAM
from relman_server.logs.model import LogHead, LogStream
from relman_server.teams import store as teams

ABANDONED_AFTER = timedelta(minutes=1)
"""How long a stream of a deployment that has ended may be silent before nobody waits for its end any more."""


def writable(tx: Reading, deployment_id: UUID, stage: str | None, stream_name: str | None) -> Record:
    """Return what writing to a stream depends on, in one statement.

    Its columns: `status` of the deployment; `service_name`, `owner_id` and `caller_role` of its service; `stage_id`
    and `stage_name`; and of the stream, when it exists, `stream_id`, `stream_stage_id`, `committed_sequence` and
    `finished`. Raises NotFound and InvalidInput as `_require_stage` does.
    """
    how, parameters = _stage_parameters(stage, deployment_id)
    parameters |= {"deployment": deployment_id, "caller": tx.caller.user_id}
    if stream_name:
        parameters["stream_name"] = stream_name
    row = tx.row(_writable(how, named=bool(stream_name)), parameters)
    return _require_stage(row, deployment_id, stage)


def readable(tx: Reading, deployment_id: UUID, stage: str | None) -> Record:
    """Return the `state` of a log and the `stage_id` that a reference means.

    Raises NotFound and InvalidInput as `_require_stage` does.
    """
    how, parameters = _stage_parameters(stage, deployment_id)
    parameters |= {"deployment": deployment_id, "silent_since": tx.now - ABANDONED_AFTER}
    return _require_stage(tx.row(_readable(how), parameters), deployment_id, stage)


def states(tx: Reading, deployment_ids: Collection[UUID]) -> Sequence[Record]:
    """Return the logs of deployments that exist, in one statement.

    Columns: `id` and `status` of the deployment, `position` of the newest chunk, the position up to which chunks were
    `removed`, `entry_count`, and whether a stream `is_open`. One that nobody finished, nor wrote to for ABANDONED_AFTER
    once the deployment had ended, is open no more: its writer is gone, and nobody should follow it for good.
    """
    return tx.rows(_states(), {"deployments": list(deployment_ids), "silent_since": tx.now - ABANDONED_AFTER})


def removed(tx: Reading, deployment_id: UUID) -> int:
    """Return the position up to which chunks of a log were removed; raises NotFound when the deployment was deleted."""
    position: int | None = tx.scalar(_REMOVED, {"deployment": deployment_id})
    if position is None:
        raise NotFound("deployment", str(deployment_id))
    return position


_REMOVED = select(LogHead.removed_position).where(LogHead.deployment_id == bindparam("deployment"))

# How a stage is referred to, and the condition that it is the one.
_STAGE_IS: dict[str, ColumnElement[bool]] = {
    "not": false(),
    "by id": Stage.id == bindparam("stage"),
    "by name": and_(Stage.deployment_id == bindparam("stage_owner"), Stage.name == bindparam("stage_name")),
}
_STAGE = (
    Stage.id.label("stage_id"),
    Stage.name.label("stage_name"),
    Stage.deployment_id.label("stage_deployment_id"),
)


def _stage_parameters(reference: str | None, deployment_id: UUID) -> tuple[str, dict[str, Any]]:
    """Return how a stage is referred to (id, `deployment-id/stage-name` or name), and the parameters of that."""
    if reference is None:
        return "not", {}
    stage_id = parse_id(reference)
    if stage_id is not None:
        return "by id", {"stage": stage_id}
    owner, slash, name = reference.rpartition("/")
    return "by name", {"stage_owner": parse_id(owner) if slash else deployment_id, "stage_name": name}


@cache
def _writable(stage: str, *, named: bool) -> Prepared:
    name = bindparam("stream_name") if named else func.coalesce(Stage.name, DEFAULT_STREAM)
    columns: list[Any] = [  # of different types
        Deployment.status,
        Service.name.label("service_name"),
        Service.owner_id,
        teams.caller_role(bindparam("caller"), Service.team_id),
        *_STAGE,
        LogStream.id.label("stream_id"),
        LogStream.stage_id.label("stream_stage_id"),
        LogStream.committed_sequence,
        LogStream.finished,
    ]
    statement = (
        select(*columns)
        .select_from(Deployment)
        .join(Service, Service.id == Deployment.service_id)
        .outerjoin(Stage, _STAGE_IS[stage])
        .outerjoin(LogStream, and_(LogStream.deployment_id == Deployment.id, LogStream.stream_name == name))
        .where(Deployment.id == bindparam("deployment"))
    )
    return Prepared(lambda: statement)


@cache
def _readable(stage: str) -> Prepared:
    of_deployment = Deployment.id == bindparam("deployment")
    statement = _state().add_columns(*_STAGE).outerjoin(Stage, _STAGE_IS[stage]).where(of_deployment)
    return Prepared(lambda: statement)


@cache
def _states() -> Select[Any]:
    return _state().where(Deployment.id.in_(bindparam("deployments", expanding=True)))


def _state() -> Select[Any]:
    silent_since = bindparam("silent_since", type_=UtcDateTime())
    unfinished = exists().where(
        LogStream.deployment_id == Deployment.id,
        LogStream.finished.is_(False),
        # NULL, so unknown, while the deployment has not ended.
        or_(func.coalesce(Deployment.completed_at > silent_since, true()), LogStream.updated_at > silent_since),
    )
    columns: list[Any] = [  # of different types
        Deployment.id,
        Deployment.status,
        func.coalesce(LogHead.position, 0).label("position"),
        func.coalesce(LogHead.removed_position, 0).label("removed"),
        func.coalesce(LogHead.entry_count, 0).label("entry_count"),
        unfinished.label("is_open"),
    ]
    return select(*columns).select_from(Deployment).outerjoin(LogHead, LogHead.deployment_id == Deployment.id)


def _require_stage(row: Record | None, deployment_id: UUID, stage: str | None) -> Record:
    """Return the row of a deployment and a stage that was asked for.

    Raises NotFound when one of them does not exist, and InvalidInput for a stage of another deployment.
    """
    if row is None:
        raise NotFound("deployment", str(deployment_id))
    if stage is not None and row.stage_id is None:
        raise NotFound("stage", stage)
    if stage is not None and row.stage_deployment_id != deployment_id:
        raise InvalidInput(Violation("stage", "must be a stage of the same deployment"))
    return row


def get_stream(tx: Reading, deployment_id: UUID, stream_name: str) -> Record:
    """Return a stream; raises NotFound."""
    row = tx.row(
        select(LogStream.__table__)
        .select_from(Deployment)
        .outerjoin(LogStream, and_(LogStream.deployment_id == Deployment.id, LogStream.stream_name == stream_name))
        .where(Deployment.id == deployment_id)
    )
    if row is None:
        raise NotFound("deployment", str(deployment_id))
    if row.id is None:
        raise NotFound("log stream", stream_name)
    return row


def lock_status(tx: Transaction, deployment_id: UUID) -> str:
    """Return the status of a deployment, which stays until the end of the transaction; raises NotFound."""
    status: str | None = tx.scalar(
        select(Deployment.status).where(Deployment.id == deployment_id).with_for_update(read=True)
    )
    if status is None:
        raise NotFound("deployment", str(deployment_id))
    return status


def add_stream(
    tx: Transaction, deployment_id: UUID, stage_id: UUID | None, stream_name: str, *, finished: bool = False
) -> bool:
    """Create a stream, and the deployment's log when it is the first; return whether it did not exist before.

    Of several that do so at once, one creates it and the others wait for its commit.
    """
    add = sqlite.insert if tx.engine == "sqlite" else postgresql.insert
    tx.execute(
        add(LogHead)
        .values(deployment_id=deployment_id, position=0, entry_count=0, byte_size=0)
        .on_conflict_do_nothing()
    )
    added = tx.scalar(
        add(LogStream)
        .values(
            id=new_id(),
            deployment_id=deployment_id,
            stage_id=stage_id,
            stream_name=stream_name,
            committed_sequence=0,
            finished=finished,
            byte_size=0,
            created_at=tx.now,
            updated_at=tx.now,
        )
        .on_conflict_do_nothing()
        .returning(LogStream.id)
    )
    return added is not None
