"""From what was counted to metrics: values, bands, what was left out, and why there is nothing to say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from relman_server.analytics import bands
from relman_server.analytics.bands import Band
from relman_server.analytics.calendar import Range
from relman_server.analytics.counts import Counts
from relman_server.analytics.store import BASES, Failures
from relman_server.kernel.db.transaction import Record

DEFINITION_VERSION = 1
MICROSECONDS = 1_000_000

NO_DEPLOYMENTS = "Nothing was deployed there in the range."
NO_CHANGES = "No change arrived there in the range, apart from those of a service's first deployment."
NO_FAILURES = "No deployment of the range failed there."
ALL_OPEN = "None of the failures is over yet."
ALL_LATER = "Every change was committed after it was deployed: the clocks of the commits are wrong."
NO_BANDS = "There are no bands for it."


@dataclass(frozen=True)
class Metric:
    """One number; fields as in the contract's Metric."""

    value: float | None
    unit: str
    sample_size: int
    band: Band | None = None
    excluded: int = 0
    reason: str = ""
    basis: str = ""
    mean: float | None = None
    p90: float | None = None
    contributing_deployment_ids: Sequence[str] = ()
    open_failures: int = 0
    oldest_open_age: timedelta | None = None


@dataclass(frozen=True)
class Summary:
    """The metrics of a group; fields as in the contract's MetricsSummary."""

    deployment_frequency: Metric
    lead_time_for_changes: Metric
    change_failure_rate: Metric
    time_to_restore: Metric
    rework_rate: Metric
    deployment_failure_rate: Metric
    unlinked_incidents: int
    definition_version: int
    start_date: datetime
    end_date: datetime


@dataclass(frozen=True)
class Groups:
    """A page of groups with their metrics.

    Attributes:
        rows: Each with `id`, `name` and `metrics`.
        next_page_token: Token of the next page; empty on the last.
        token_after: Returns the token of a page that would begin after a row.
        range: In force.
    """

    rows: Sequence[Any]
    next_page_token: str
    token_after: Callable[[Any], str]
    range: Range


def frequency(counts: Counts, within: Range, first: datetime | None, ids: Sequence[str]) -> Metric:
    """Return the successes of a day.

    Args:
        counts: What ended.
        within: The range.
        first: When the first deployment ever ended; days before it do not count.
        ids: Newest successes.
    """
    whole = within.since(first)
    on = counts.successes_on
    weeks = [sum(day in on for day in week) for week in whole.numbered_weeks]
    months = (sum(on.get(day, 0) for day in month) for month in whole.numbered_months)
    band, reason = bands.of_frequency(weeks, months)
    return Metric(
        value=counts.successes / whole.days,
        unit="per_day",
        sample_size=counts.successes,
        band=band,
        reason=reason,
        contributing_deployment_ids=ids,
    )


def lead_time(found: Record | None, ids: Sequence[str]) -> Metric:
    """Return the median age of changes, of what `store.lead_times` found."""
    if found is None or not found.size:
        excluded = found.excluded if found else 0
        reason = ALL_LATER if excluded else NO_CHANGES
        return Metric(None, "seconds", 0, excluded=excluded, reason=reason)
    value = found.p50 / MICROSECONDS
    return Metric(
        value=value,
        unit="seconds",
        sample_size=found.size,
        band=bands.below(value, bands.LEAD_TIME),
        excluded=found.excluded,
        basis=_basis(found),
        p90=found.p90 / MICROSECONDS,
        contributing_deployment_ids=ids,
    )


def _basis(found: Record) -> str:
    there = [basis for number, basis in enumerate(BASES) if found.bases & 2**number]
    return there[0] if len(there) == 1 else "mixed"


def failure_rate(base: int, failures: Failures) -> Metric:
    """Return the share of failures of what reached the environment."""
    if not base:
        return Metric(None, "ratio", 0, reason=NO_DEPLOYMENTS)
    value = failures.size / base
    band = bands.up_to(value, bands.FAILURE_RATE)
    return Metric(value, "ratio", base, band=band, contributing_deployment_ids=failures.failed)


def time_to_restore(failures: Failures, now: datetime) -> Metric:
    """Return the median time from failure to recovery."""
    found = failures.times
    if found is None:
        return Metric(None, "seconds", 0, reason=NO_FAILURES)
    value = found.p50 / MICROSECONDS if found.size else None
    return Metric(
        value=value,
        unit="seconds",
        sample_size=found.size,
        band=None if value is None else bands.below(value, bands.TIME_TO_RESTORE),
        excluded=found.excluded,
        reason=ALL_OPEN if value is None else "",
        mean=int(found.total) / found.size / MICROSECONDS if found.size else None,
        contributing_deployment_ids=failures.recovered,
        open_failures=found.excluded,
        oldest_open_age=now - found.oldest if found.oldest else None,
    )


def share(part: int, whole: int, ids: Sequence[str]) -> Metric:
    """Return a share that has no bands."""
    if not whole:
        return Metric(None, "ratio", 0, reason=NO_DEPLOYMENTS)
    return Metric(part / whole, "ratio", whole, reason=NO_BANDS, contributing_deployment_ids=ids)
