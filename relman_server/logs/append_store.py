"""Queries of what is appended to logs: many logs and streams in one statement each."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, and_, bindparam, insert, select, update

from relman_server.catalog.model import Service
from relman_server.deployments.model import Deployment
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.logs.model import LogChunk, LogHead, LogStream
from relman_server.teams.model import TeamMember

_HEAD = cast("Table", LogHead.__table__)
_STREAM = cast("Table", LogStream.__table__)
_LOCK_HEADS = (
    select(_HEAD.c.deployment_id, _HEAD.c.position, _HEAD.c.entry_count, _HEAD.c.byte_size)
    .where(_HEAD.c.deployment_id.in_(bindparam("deployments", expanding=True)))
    .order_by(_HEAD.c.deployment_id)
    .with_for_update()
)
_STREAMS_AND_MEMBERS = (
    select(
        *(_STREAM.c.id, _STREAM.c.deployment_id, _STREAM.c.stage_id),
        *(_STREAM.c.committed_sequence, _STREAM.c.finished, _STREAM.c.byte_size),
        *(Service.owner_id, Service.name.label("service_name")),
        *(TeamMember.user_id.label("member_id"), TeamMember.role),
    )
    .select_from(_STREAM)
    .join(Deployment, Deployment.id == _STREAM.c.deployment_id)
    .join(Service, Service.id == Deployment.service_id)
    .outerjoin(
        TeamMember,
        and_(TeamMember.team_id == Service.team_id, TeamMember.user_id.in_(bindparam("callers", expanding=True))),
    )
    .where(_STREAM.c.id.in_(bindparam("streams", expanding=True)))
)
_ADD_CHUNKS = insert(cast("Table", LogChunk.__table__))
_UPDATE_HEAD = update(_HEAD).where(_HEAD.c.deployment_id == bindparam("deployment"))
_UPDATE_STREAM = update(_STREAM).where(_STREAM.c.id == bindparam("stream"))


def lock_heads(tx: Transaction, deployment_ids: Collection[UUID]) -> Sequence[Record]:
    """Return deployment_id, `position`, `entry_count` and `byte_size` of logs, locked in the order of their ids.

    The locks last until the end of the transaction, and stand for all streams of the logs, too: whoever writes to one
    holds them. In one order, so that no two who lock several wait for each other.
    """
    return tx.rows(_LOCK_HEADS, {"deployments": deployment_ids})


def lock_head(tx: Transaction, deployment_id: UUID) -> Record:
    """As `lock_heads`, of one log; raises NotFound."""
    found = lock_heads(tx, [deployment_id])
    if not found:
        raise NotFound("deployment", str(deployment_id))
    return found[0]


def streams_and_members(tx: Transaction, stream_ids: Collection[UUID], callers: Collection[UUID]) -> Sequence[Record]:
    """Return streams whose logs are locked, with what says who may write to them, in one statement.

    The columns: id, deployment_id, stage_id, committed_sequence, finished and byte_size; owner_id and service_name; and
    of each caller who is in the service's team a row with member_id and role, of none a row without.
    """
    return tx.rows(_STREAMS_AND_MEMBERS, {"streams": stream_ids, "callers": callers})


def add_chunks(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert chunks of logs that are locked: columns by name."""
    tx.execute(_ADD_CHUNKS, rows)


def update_heads(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store where logs that are locked end: `deployment`, and columns by name."""
    tx.execute(_UPDATE_HEAD, rows)


def update_streams(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store how far streams are: `stream`, and columns by name."""
    tx.execute(_UPDATE_STREAM, rows)
