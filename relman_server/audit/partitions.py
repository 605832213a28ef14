"""Partitions of the audit log on PostgreSQL: one for each month, made before it begins, dropped when it was pruned.

A row of a month without a partition goes into the default one, so no insert ever fails for want of a partition, and
stays there: months that have begun get none any more.
"""

from datetime import UTC, datetime

from sqlalchemy import column, delete, func, insert, select, table, text, update

from relman_server.kernel.db.audit import AuditChain, AuditEntry
from relman_server.kernel.db.transaction import Transaction

AHEAD = 2
"""Months after the present one that have a partition."""
FEW = 10_000
"""Rows that may be moved out of a month that is dropped: those that were sealed with rows of the next month."""

DUE = select(AuditChain.partitions_due)


def prepare(tx: Transaction) -> bool:
    """Make the partitions of this month and of those ahead, where there are none; nothing more is due until the next.

    A month that has rows in the default partition already stays there.
    """
    there = _partitions(tx)
    this = _month(tx.now)
    for month in range(this, this + AHEAD + 1):
        if _name(month) not in there and not _is_in_default(tx, month):
            _create(tx, month)
    tx.execute(update(AuditChain).values(partitions_due=_begin(this + 1)).execution_options(synchronize_session=False))
    return False


def drop_pruned(tx: Transaction) -> bool:
    """Drop a month whose rows were pruned, all but a few that are moved; return whether there may be another."""
    for name in sorted(_partitions(tx)):
        if name >= _name(_month(tx.now)):
            return False
        if _is_pruned(tx, name):
            _drop(tx, name)
            return True
    return False


def _partitions(tx: Transaction) -> set[str]:
    """Return the names of the months' partitions."""
    children = text(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = 'audit_log'::regclass AND relname <> 'audit_log_default'"
    )
    return {row.relname for row in tx.rows(children)}


def _is_in_default(tx: Transaction, month: int) -> bool:
    rows = table("audit_log_default", column("created_at"))
    begin, end = _begin(month), _begin(month + 1)
    found = select(rows.c.created_at).where(rows.c.created_at >= begin, rows.c.created_at < end).limit(1)
    return tx.scalar(found) is not None


def _create(tx: Transaction, month: int) -> None:
    """Attach rather than create as a partition: writers go on meanwhile."""
    name = _name(month)
    tx.execute(text(f"CREATE TABLE {name} (LIKE audit_log INCLUDING ALL)"))
    tx.execute(text(f"CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON {name} EXECUTE FUNCTION audit_is_immutable()"))
    tx.execute(
        text(
            f"ALTER TABLE audit_log ATTACH PARTITION {name}"
            f" FOR VALUES FROM ('{_begin(month).isoformat()}') TO ('{_begin(month + 1).isoformat()}')"
        )
    )


def _is_pruned(tx: Transaction, name: str) -> bool:
    rows = table(name, column("position"))
    pruned = select(AuditChain.pruned_position).scalar_subquery()
    left = select(rows.c.position).where(rows.c.position > pruned).limit(FEW + 1).subquery()
    gone = select(rows.c.position).where(rows.c.position <= pruned).limit(1)
    return int(tx.scalar(select(func.count()).select_from(left))) <= FEW and tx.scalar(gone) is not None


def _drop(tx: Transaction, name: str) -> None:
    """Rows that stay go into the default partition, which takes them as soon as the month has none of its own."""
    names = [each.name for each in AuditEntry.__table__.columns]
    rows = table(name, *(column(each) for each in names))
    pruned = select(AuditChain.pruned_position).scalar_subquery()
    tx.execute(text(f"ALTER TABLE audit_log DETACH PARTITION {name}"))
    tx.execute(
        insert(AuditEntry.__table__).from_select(  # type: ignore[arg-type]  # it is a table, and typed as less
            names, select(*rows.columns).where(rows.c.position > pruned), include_defaults=False
        )
    )
    tx.execute(text(f"DROP TABLE {name}"))


def delete_pruned(tx: Transaction, limit: int = 5000) -> bool:
    """Delete some rows that were pruned; return whether there may be more. For both engines."""
    pruned = select(AuditChain.pruned_position).scalar_subquery()
    some = select(AuditEntry.position).where(AuditEntry.position <= pruned).order_by(AuditEntry.position).limit(limit)
    until = tx.scalar(select(func.max(some.subquery().c.position)))
    if until is None:
        return False
    tx.execute(delete(AuditEntry).where(AuditEntry.position <= until).execution_options(synchronize_session=False))
    return True


def _month(moment: datetime) -> int:
    return moment.year * 12 + moment.month - 1


def _begin(month: int) -> datetime:
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)


def _name(month: int) -> str:
    return f"audit_log_{month // 12:04}_{month % 12 + 1:02}"
