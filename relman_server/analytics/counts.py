"""What was counted of a group: sums, and what of it has to be known day by day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from relman_server.analytics.facts import COUNTS
from relman_server.kernel.db.transaction import Record

COUNTED_BY_DAY = ("successes", "ended", "rework", "pipeline_failures")


@dataclass(frozen=True)
class Counts:
    """What ended in the range.

    Attributes:
        base: How many reached the environment.
        successes: How many of these succeeded.
        releases: Successes of any kind but repetitions.
        rework: Repairs and rollbacks among these.
        ended: All that have an outcome.
        pipeline_failures: How many of these failed before they had an impact.
        days: Of each day on which anything ended its number, from 0, and COUNTED_BY_DAY; the last day first.
        successes_on: By number of the day.
    """

    base: int = 0
    successes: int = 0
    releases: int = 0
    rework: int = 0
    ended: int = 0
    pipeline_failures: int = 0
    days: Sequence[tuple[int, ...]] = ()
    successes_on: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Record) -> "Counts":
        """Return those of a row of `store.counts`, where the numbers of a day have spaces and days commas between."""
        days = sorted((tuple(map(int, day.split())) for day in row.days.split(",")), reverse=True)
        successes = {day: succeeded for day, succeeded, *_ in days if succeeded}
        return cls(**{name: getattr(row, name) for name in COUNTS}, days=days, successes_on=successes)
