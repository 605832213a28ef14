"""The newest deployments behind numbers: so that each can be explained, nobody reads all of them."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import Select, select

from relman_server.analytics.arrivals import ages
from relman_server.analytics.calendar import DAY
from relman_server.analytics.counts import COUNTED_BY_DAY, Counts
from relman_server.analytics.facts import Facts
from relman_server.analytics.scope import Group, Scope, Shape
from relman_server.analytics.sql import ids_in_order, newest
from relman_server.analytics.store import CONTRIBUTING
from relman_server.kernel.db.transaction import Reading


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
        counts: What was counted of each group.
    """

    def __init__(self, tx: Reading, scope: Scope, counts: Mapping[Group, Counts]) -> None:
        self._tx = tx
        self._scope = scope
        self._counts = counts

    def of(self, behind: Behind, count: str) -> Mapping[Group, list[str]]:
        """Return them by group; `count` is what tells how many there are on a day."""
        sizes = {group: getattr(each, count) for group, each in self._counts.items()}
        since = {group: self._since(group, count, size) for group, size in sizes.items() if size}
        return _contributing(self._tx, behind, self._scope, since) if since else {}

    def _since(self, group: Group, count: str, size: int) -> datetime:
        """Return a time since when there are enough in a group, as far as that was counted."""
        within, enough = self._scope.range, 2 * CONTRIBUTING
        if size < enough:
            return within.start
        place = 1 + COUNTED_BY_DAY.index(count)
        for each in self._counts[group].days:
            enough -= each[place]
            if enough <= 0:
                break
        return max(within.start, within.starts(within.first_day + DAY * each[0]))


@cache
def _behind(shape: Shape, behind: Behind) -> Select[Any]:
    """Select `grouped` and the `ids` of the newest deployments behind a number."""
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
    return select(newest(rows, CONTRIBUTING, of_each=bool(shape.groups)))


def _contributing(
    tx: Reading, behind: Behind, scope: Scope, since: Mapping[Group, datetime]
) -> Mapping[Group, list[str]]:
    """Return the newest deployments behind a number, by group.

    Args:
        tx: Where to read.
        behind: Which deployments.
        scope: Of which.
        since: Of the groups that have any, since when to look, if that is enough: rarely are all of them wanted.
    """
    found: dict[Group, list[str]] = {}
    recent = [group for group, start in since.items() if start > scope.range.start]
    if recent:
        found = _newest(tx, behind, scope.of(recent), min(since[group] for group in recent))
    others = [group for group in since if len(found.get(group, ())) < CONTRIBUTING]
    if others:
        found |= _newest(tx, behind, scope.of(others), scope.range.start)
    return found


def _newest(tx: Reading, behind: Behind, scope: Scope, since: datetime) -> dict[Group, list[str]]:
    rows = tx.rows(_behind(scope.shape, behind), scope.parameters | {"start": since})
    return {row.grouped: ids_in_order(row.ids) for row in rows}
