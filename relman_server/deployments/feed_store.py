"""Queries of the events of all deployments as one feed, in the order in which they were committed."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Integer, Text, Uuid, cast, func, literal, select, true, tuple_, update

from relman_server.deployments.model import DeploymentEvent, EventFeed, TransactionNumber
from relman_server.kernel.db.transaction import Reading, Record, Transaction


class FeedPlace(NamedTuple):
    """A place in the feed: right after this event. Places compare as they follow each other.

    Attributes:
        committed_in: Number of the transaction that wrote it.
    """

    committed_in: int
    deployment_id: UUID
    revision: int


BEFORE_ALL = FeedPlace(-1, UUID(int=0), 0)


def place_of(event: Record) -> FeedPlace:
    """Return the place right after an event."""
    return FeedPlace(event.committed_in, event.deployment_id, event.revision)


def keep_order(tx: Transaction, deployment_id: UUID) -> None:
    """Before the events of a deployment are deleted on SQLite: keep their numbers from being given out again."""
    newest = select(func.max(DeploymentEvent.committed_in)).where(DeploymentEvent.deployment_id == deployment_id)
    if tx.engine == "sqlite":
        last = func.max(EventFeed.last_transaction, func.coalesce(newest.scalar_subquery(), 0))
        tx.execute(update(EventFeed).values(last_transaction=last).execution_options(synchronize_session=False))


def _number(snapshot_bound: Any) -> ColumnElement[int]:  # of pg_snapshot_*, which SQLAlchemy does not know
    return cast(cast(snapshot_bound, Text), BigInteger)


_SNAPSHOT = func.pg_current_snapshot()
_NEXT = {
    "sqlite": TransactionNumber(),
    "postgresql": _number(func.pg_snapshot_xmax(_SNAPSHOT)),
}
_IS_SETTLED: dict[str, ColumnElement[bool]] = {
    "sqlite": true(),
    # Transactions do not commit in the order of their numbers: one that still runs may have a lower one.
    "postgresql": DeploymentEvent.committed_in < _number(func.pg_snapshot_xmin(_SNAPSHOT)),
}
_PLACE = tuple_(DeploymentEvent.committed_in, DeploymentEvent.deployment_id, DeploymentEvent.revision)


def feed_end(tx: Reading) -> Record:
    """Return the `id` of the feed, and `next_transaction`: a number that no transaction with events has had yet."""
    row = tx.row(select(EventFeed.id, _NEXT[tx.engine].label("next_transaction")))
    assert row is not None
    return row


def events_since(tx: Reading, place: FeedPlace, limit: int) -> Sequence[Record]:
    """Return events after a place, and of each whether it `is_settled`: nothing can come before it any more."""
    since = tuple_(
        literal(place.committed_in, BigInteger), literal(place.deployment_id, Uuid), literal(place.revision, Integer)
    )
    return tx.rows(
        select(*DeploymentEvent.__table__.columns, _IS_SETTLED[tx.engine].label("is_settled"))
        .where(since < _PLACE)
        .order_by(DeploymentEvent.committed_in, DeploymentEvent.deployment_id, DeploymentEvent.revision)
        .limit(limit)
    )


def last_place(tx: Reading) -> FeedPlace:
    """Return the place after the last event that is settled."""
    row = tx.row(
        select(DeploymentEvent.committed_in, DeploymentEvent.deployment_id, DeploymentEvent.revision)
        .where(_IS_SETTLED[tx.engine])
        .order_by(
            DeploymentEvent.committed_in.desc(), DeploymentEvent.deployment_id.desc(), DeploymentEvent.revision.desc()
        )
        .limit(1)
    )
    return place_of(row) if row else BEFORE_ALL
