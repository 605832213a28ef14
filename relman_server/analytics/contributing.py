"""The newest deployments behind numbers: so that each can be explained, nobody reads all of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select

from relman_server.analytics.arrivals import ages
from relman_server.analytics.calendar import DAY
from relman_server.analytics.facts import Facts
from relman_server.analytics.scope import Group, Scope, Shape
from relman_server.analytics.sql import newest
from relman_server.analytics.store import CONTRIBUTING
from relman_server.analytics.summary import Counts
from relman_server.kernel.db.transaction import Reading, Record


class Behind(StrEnum):
    """Which deployments are behind a number."""

    SUCCESSES = "SUCCESSES"
    CARRIERS = "CARRIERS"
    REWORK = "REWORK"
    PIPELINE_FAILURES = "PIPELINE_FAILURES"


class Contributing:
    """Finds the newest deployments behind numbers, and looks no further back than it must.

    Args:
        tx: Where to read.
        scope: Of which.
        days: What was counted, day by day, of each group.
        counts: The sums of that.
    """

    def __init__(
        self, tx: Reading, scope: Scope, days: Mapping[Group, Sequence[Record]], counts: Mapping[Group, Counts]
    ) -> None:
        self._tx = tx
        self._scope = scope
        self._days = days
        self._counts = counts

    def of(self, behind: Behind, count: str) -> Mapping[Group, list[UUID]]:
        """Return them by group; `count` is what tells how many there are on a day."""
        sizes = {group: getattr(each, count) for group, each in self._counts.items()}
        since = {group: self._since(group, count, size) for group, size in sizes.items() if size}
        return _contributing(self._tx, behind, self._scope, since) if since else {}

    def _since(self, group: Group, count: str, size: int) -> datetime:
        """Return a time since when there are enough in a group, as far as that was counted."""
        within, enough = self._scope.range, 2 * CONTRIBUTING
        if size < enough:
            return within.start
        for row in sorted(self._days[group], key=attrgetter("day"), reverse=True):
            enough -= getattr(row, count)
            if enough <= 0:
                break
        return max(within.start, within.starts(within.first_day + DAY * row.day))


@cache
def _behind(shape: Shape, behind: Behind) -> Select[Any]:
    """Select `grouped`, `id` and `number` of the newest deployments behind a number."""
    if behind is Behind.CARRIERS:
        found = ages(shape)
        rows = select(found.c.grouped, found.c.id, found.c.at).where(found.c.value.is_not(None)).distinct()
    else:
        facts = Facts(shape)
        condition = {
            Behind.SUCCESSES: facts.is_base & facts.succeeded,
            Behind.REWORK: facts.is_rework,
            Behind.PIPELINE_FAILURES: facts.is_pipeline_failure,
        }[behind]
        rows = facts.select(condition)
    found = newest(rows, CONTRIBUTING, of_each=bool(shape.groups))
    return select(found).order_by(found.c.number)


def _contributing(
    tx: Reading, behind: Behind, scope: Scope, since: Mapping[Group, datetime]
) -> Mapping[Group, list[UUID]]:
    """Return the newest deployments behind a number, by group.

    Args:
        tx: Where to read.
        behind: Which deployments.
        scope: Of which.
        since: Of the groups that have any, since when to look, if that is enough: rarely are all of them wanted.
    """
    found: dict[Group, list[UUID]] = {}
    recent = [group for group, start in since.items() if start > scope.range.start]
    if recent:
        found = _newest(tx, behind, scope.of(recent), min(since[group] for group in recent))
    others = [group for group in since if len(found.get(group, ())) < CONTRIBUTING]
    if others:
        found |= _newest(tx, behind, scope.of(others), scope.range.start)
    return found


def _newest(tx: Reading, behind: Behind, scope: Scope, since: datetime) -> dict[Group, list[UUID]]:
    found: dict[Group, list[UUID]] = {}
    for row in tx.rows(_behind(scope.shape, behind), scope.parameters | {"start": since}):
        found.setdefault(row.grouped, []).append(row.id)
    return found
