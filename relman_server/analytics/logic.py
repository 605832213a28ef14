"""How metrics are answered: for everything together, by service, by environment, and day by day."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from uuid import UUID

from relman_server.analytics import store, summary
from relman_server.analytics.calendar import DAY, Range
from relman_server.analytics.facts import Grouping, Scope
from relman_server.analytics.inputs import PagedQuestion, Question
from relman_server.analytics.store import Behind, Group
from relman_server.analytics.summary import DEFINITION_VERSION, MICROSECONDS, Counts, Groups, Summary
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.kernel.paging import Listed


def metrics_summary(tx: Reading, asked: Question) -> Summary:
    """Return the metrics of a range of time.

    Raises NotFound for unknown services, and InvalidInput for a range that is none.
    """
    return _summaries(tx, _scope(tx, asked), [None])[None]


def metrics_by_service(tx: Reading, asked: PagedQuestion) -> Groups:
    """Return the metrics of each service, by name; raises as `metrics_summary`."""
    scope = _scope(tx, asked)
    page = store.services_of(tx, scope, asked)
    ids = [row.id for row in page.rows]
    return _groups(tx, replace(scope, services=ids, grouping=Grouping.SERVICE), page)


def metrics_by_environment(tx: Reading, asked: PagedQuestion) -> Groups:
    """Return the metrics of each environment, by name; raises as `metrics_summary`."""
    scope = _scope(tx, asked)
    page = store.environments_of(tx, scope, asked)
    ids = [row.id for row in page.rows]
    return _groups(tx, replace(scope, environments=ids, grouping=Grouping.ENVIRONMENT), page)


def metrics_trends(tx: Reading, asked: Question) -> SimpleNamespace:
    """Return the days of a range, each with its counts, a rolling mean and the median lead time.

    Raises as `metrics_summary`.
    """
    scope = _scope(tx, asked)
    lead_times = store.daily_lead_times(tx, scope)
    return SimpleNamespace(
        points=[_point(row, scope.range, lead_times.get(row.day)) for row in store.trend(tx, scope)],
        definition_version=DEFINITION_VERSION,
        start_date=scope.range.start,
        end_date=scope.range.end,
        time_zone=scope.range.zone.key,
    )


def _point(row: Record, within: Range, lead_time: float | None) -> SimpleNamespace:
    return SimpleNamespace(
        date=(within.first_day + DAY * row.day).isoformat(),
        deployments=row.deployments,
        failures=row.failures,
        rolling_mean_7d=row.rolling_mean,
        lead_time_median=None if lead_time is None else lead_time / MICROSECONDS,
    )


def _scope(tx: Reading, asked: Question) -> Scope:
    within = asked.range(tx.now)
    store.make_room(tx)
    services = store.service_ids(tx, asked.services) if asked.services else None
    return Scope(services, store.environment_ids(tx, asked.types), within, tx.engine)


def _groups(tx: Reading, scope: Scope, page: Listed) -> Groups:
    found = _summaries(tx, scope, [row.id for row in page.rows])
    rows = [
        SimpleNamespace(id=row.id, name=row.name, page_key=row.page_key, page_tie=row.page_tie, metrics=found[row.id])
        for row in page.rows
    ]
    return Groups(rows, page.next_page_token, page.token_after, scope.range)


def _summaries(tx: Reading, scope: Scope, groups: Sequence[Group]) -> Mapping[Group, Summary]:
    """Return the metrics of every group."""
    counts: dict[Group, Counts] = {group: Counts() for group in groups}
    days = store.daily_counts(tx, scope) if groups else ()
    for row in days:
        counts[row.grouped].add(row)
    if not groups:
        return {}
    first = store.first_deployments(tx, scope)
    lead = store.lead_times(tx, scope)
    recovery = store.recovery_times(tx, scope)
    unlinked = store.unlinked_incidents(tx, scope)
    ids = _Contributing(tx, scope, days)
    successes = ids.of(Behind.SUCCESSES, "successes")
    carriers = ids.of(Behind.CARRIERS, "successes")
    failures = ids.of(Behind.FAILURES, "failures")
    recovered = ids.of(Behind.RECOVERED, "failures")
    rework = ids.of(Behind.REWORK, "rework")
    broken = ids.of(Behind.PIPELINE_FAILURES, "pipeline_failures")
    return {
        group: Summary(
            deployment_frequency=summary.frequency(each, scope.range, first.get(group), successes.get(group, ())),
            lead_time_for_changes=summary.lead_time(lead.get(group), carriers.get(group, ())),
            change_failure_rate=summary.failure_rate(each, failures.get(group, ())),
            time_to_restore=summary.time_to_restore(recovery.get(group), tx.now, recovered.get(group, ())),
            rework_rate=summary.share(each.rework, each.releases, rework.get(group, ())),
            deployment_failure_rate=summary.share(each.pipeline_failures, each.ended, broken.get(group, ())),
            unlinked_incidents=unlinked.get(group, 0),
            definition_version=DEFINITION_VERSION,
            start_date=scope.range.start,
            end_date=scope.range.end,
        )
        for group, each in counts.items()
    }


class _Contributing:
    """Finds the newest deployments behind numbers, and looks no further back than it must.

    Args:
        tx: Where to read.
        scope: Of which.
        days: What was counted, day by day.
    """

    def __init__(self, tx: Reading, scope: Scope, days: Sequence[Record]) -> None:
        self._tx = tx
        self._scope = scope
        self._days = sorted(days, key=lambda row: row.day, reverse=True)

    def of(self, behind: Behind, count: str) -> Mapping[Group, list[UUID]]:
        """Return them by group; `count` is what tells how many there are on a day."""
        if not any(getattr(row, count) for row in self._days):
            return {}
        return store.contributing(self._tx, behind, self._scope, self._since(count))

    def _since(self, count: str) -> datetime:
        """Return a time since when there are enough, as far as that was counted."""
        within = self._scope.range
        if self._scope.grouping is not Grouping.NONE:
            return within.start
        enough = 2 * store.CONTRIBUTING
        for row in self._days:
            enough -= getattr(row, count)
            if enough <= 0:
                return max(within.start, within.starts(within.first_day + DAY * row.day))
        return within.start
