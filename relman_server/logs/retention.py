"""What becomes of the logs of deployments that ended long ago: whole chunks are removed, oldest first, some at a time.

Positions stay, so cursors do: who reads where chunks were is told of the gap. A log of which everything was removed is
closed: its streams are finished.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, exists, func, insert, literal, select, update

from relman_server.deployments.history import DeploymentMoved
from relman_server.deployments.model import ENDED
from relman_server.kernel.db.model import UtcDateTime
from relman_server.kernel.db.transaction import Transaction
from relman_server.logs import append_store, store
from relman_server.logs.logic import LogGrew
from relman_server.logs.model import LogChunk, LogExpiry, LogHead, LogStream

AT_ONCE = 200
"""Chunks in one transaction."""

DUE = select(func.min(LogExpiry.ended_at))


def deployment_moved(tx: Transaction, moved: DeploymentMoved) -> None:
    """Note when the log of a deployment ended; it gets no streams any more, so who has none now never will."""
    if moved.deployment.status not in ENDED:
        return
    ended = select(LogHead.deployment_id, literal(tx.now, UtcDateTime())).where(
        LogHead.deployment_id == moved.deployment.id
    )
    known = exists().where(LogExpiry.deployment_id == moved.deployment.id)
    tx.execute(insert(LogExpiry).from_select(["deployment_id", "ended_at"], ended.where(~known)))


def remove_expired(tx: Transaction, retention: timedelta) -> bool:
    """Remove some chunks of the log whose deployment ended longest ago, and before the retention began.

    Returns whether there may be more to do.
    """
    deployment_id: UUID | None = tx.scalar(
        select(LogExpiry.deployment_id)
        .where(LogExpiry.ended_at <= tx.now - retention)
        .order_by(LogExpiry.ended_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if deployment_id is None:
        return False
    head = append_store.lock_head(tx, deployment_id)
    removed = _remove_chunks(tx, deployment_id, head.position)
    if removed == head.position:
        _close(tx, deployment_id)
    tx.emit(LogGrew(deployment_id, head.position + 1, ()))  # who reads it should know
    return True


def _remove_chunks(tx: Transaction, deployment_id: UUID, head: int) -> int:
    """Remove the oldest chunks; return the position up to which they are gone."""
    until = min(store.removed(tx, deployment_id) + AT_ONCE, head)
    gone = (LogChunk.deployment_id == deployment_id, LogChunk.position <= until)
    entries, size = func.sum(LogChunk.entry_count), func.sum(LogChunk.byte_size)
    lost = tx.row(select(func.coalesce(entries, 0).label("entries"), func.coalesce(size, 0).label("size")).where(*gone))
    assert lost is not None
    tx.execute(delete(LogChunk).where(*gone).execution_options(synchronize_session=False))
    tx.execute(
        update(LogHead)
        .where(LogHead.deployment_id == deployment_id)
        .values(
            removed_position=until,
            entry_count=LogHead.entry_count - int(lost.entries),
            byte_size=LogHead.byte_size - int(lost.size),
        )
        .execution_options(synchronize_session=False)
    )
    return until


def _close(tx: Transaction, deployment_id: UUID) -> None:
    of_log = update(LogStream).where(LogStream.deployment_id == deployment_id)
    tx.execute(of_log.values(finished=True, byte_size=0).execution_options(synchronize_session=False))
    expired = delete(LogExpiry).where(LogExpiry.deployment_id == deployment_id)
    tx.execute(expired.execution_options(synchronize_session=False))
