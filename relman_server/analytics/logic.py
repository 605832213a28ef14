"""How metrics are answered: for everything together, by service, by environment, and day by day."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TypeVar

from relman_server.analytics import store, summary
from relman_server.analytics.calendar import DAY, Range
from relman_server.analytics.contributing import Behind, Contributing
from relman_server.analytics.counts import Counts
from relman_server.analytics.inputs import PagedQuestion, Question
from relman_server.analytics.scope import Group, Grouping, Scope
from relman_server.analytics.store import Failures
from relman_server.analytics.summary import DEFINITION_VERSION, MICROSECONDS, Groups, Summary
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.kernel.paging import Listed

T = TypeVar("T")


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
    days, lead_times = tx.both(partial(store.trend, scope=scope), _prepared(store.daily_lead_times, scope))
    return SimpleNamespace(
        points=[_point(row, scope.range, lead_times.get(row.day)) for row in days],
        definition_version=DEFINITION_VERSION,
        start_date=scope.range.start,
        end_date=scope.range.end,
        time_zone=scope.range.zone.key,
    )


def _prepared(look: Callable[[Reading, Scope], T], scope: Scope) -> Callable[[Reading], T]:
    """Return a look that prepares what it is given: it may be another connection."""

    def prepared(tx: Reading) -> T:
        store.prepare(tx)
        return look(tx, scope)

    return prepared


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
    store.prepare(tx)
    services = store.service_ids(tx, asked.services) if asked.services else None
    return Scope(services, store.environment_ids(tx, asked.types), within, tx.engine)


def _groups(tx: Reading, scope: Scope, page: Listed) -> Groups:
    found = _summaries(tx, scope, [row.id for row in page.rows])
    rows = [
        SimpleNamespace(id=row.id, name=row.name, page_key=row.page_key, page_tie=row.page_tie, metrics=found[row.id])
        for row in page.rows
    ]
    return Groups(rows, page.next_page_token, page.token_after, scope.range)


def _ended(tx: Reading, scope: Scope) -> tuple[Mapping[Group, Counts], Mapping[Group, Failures]]:
    """Return what ended and what of it failed: to find both takes as long as to find how old changes were."""
    return store.counts(tx, scope), store.failures_of(tx, scope)


def _summaries(tx: Reading, scope: Scope, groups: Sequence[Group]) -> Mapping[Group, Summary]:
    """Return the metrics of every group."""
    if not groups:
        return {}
    nothing_ended = Counts()
    (counted, failures), lead = tx.both(partial(_ended, scope=scope), _prepared(store.lead_times, scope))
    counts = {group: counted.get(group, nothing_ended) for group in groups}
    first = store.first_deployments(tx, scope)
    unlinked = store.unlinked_incidents(tx, scope)
    ids = Contributing(tx, scope, counts)
    successes = ids.of(Behind.SUCCESSES, "successes")
    carriers = ids.of(Behind.CARRIERS, "ended")
    rework = ids.of(Behind.REWORK, "rework")
    broken = ids.of(Behind.PIPELINE_FAILURES, "pipeline_failures")
    nothing = Failures()
    return {
        group: Summary(
            deployment_frequency=summary.frequency(each, scope.range, first.get(group), successes.get(group, ())),
            lead_time_for_changes=summary.lead_time(lead.get(group), carriers.get(group, ())),
            change_failure_rate=summary.failure_rate(each.base, failures.get(group, nothing)),
            time_to_restore=summary.time_to_restore(failures.get(group, nothing), tx.now),
            rework_rate=summary.share(each.rework, each.releases, rework.get(group, ())),
            deployment_failure_rate=summary.share(each.pipeline_failures, each.ended, broken.get(group, ())),
            unlinked_incidents=unlinked.get(group, 0),
            definition_version=DEFINITION_VERSION,
            start_date=scope.range.start,
            end_date=scope.range.end,
        )
        for group, each in counts.items()
    }
