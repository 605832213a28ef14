"""The metrics of a history in plain Python, read off their definitions one after the other, without a database."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

from tests.analytics.histories import Deployment, History

MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Asked:
    """Which deployments count."""

    services: Sequence[str]
    places: Sequence[str]
    start: datetime
    end: datetime
    zone: ZoneInfo

    def day(self, moment: datetime) -> date:
        """The day of a moment."""
        return moment.astimezone(self.zone).date()

    @property
    def days(self) -> list[date]:
        """Every day of the range."""
        first, last = self.day(self.start), self.day(self.end - MICROSECOND)
        return [first + DAY * number for number in range((last - first).days + 1)]

    def whole(self, day: date) -> bool:
        """Whether nothing of a day is outside the range."""
        begin = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        return begin >= self.start and begin + DAY <= self.end.astimezone(self.zone)


@dataclass(frozen=True)
class Number:
    """A metric, as far as it can be compared."""

    value: float | None
    sample_size: int
    band: str = ""
    excluded: int = 0
    basis: str = ""
    mean: float | None = None
    p90: float | None = None
    ids: tuple[str, ...] = ()
    oldest: datetime | None = None


class Reference:
    """The metrics of a history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._by_id = {each.id: each for each in history.deployments}

    # --- what deployments are

    def _ended(self, asked: Asked) -> list[Deployment]:
        return [each for each in self._ever(asked) if asked.start <= each.completed_at < asked.end]

    def _ever(self, asked: Asked) -> list[Deployment]:
        return [
            each
            for each in self.history.deployments
            if each.outcome and each.service in asked.services and each.place in asked.places
        ]

    def _base(self, asked: Asked) -> list[Deployment]:
        return [
            each
            for each in self._ended(asked)
            if each.kind in {"PLANNED", "HOTFIX"} and (each.outcome == "SUCCEEDED" or each.impacted)
        ]

    def _hotfixes(self, of: Deployment) -> Iterator[Deployment]:
        for each in self.history.deployments:
            names_it = each.kind == "HOTFIX" and each.remediates == of.id and each.place == of.place
            if names_it and each.outcome == "SUCCEEDED":
                yield each

    def is_failed(self, each: Deployment) -> bool:
        """Whether something speaks against a deployment."""
        return (
            each.rolled_back
            or (each.outcome == "FAILED" and each.impacted)
            or any(incident.deployment == each.id for incident in self.history.incidents)
            or any(True for _ in self._hotfixes(each))
        )

    def restored_at(self, failed: Deployment) -> datetime | None:
        """When users were well again."""
        ends = [incident.resolved_at for incident in self.history.incidents if incident.deployment == failed.id]
        if None in ends:
            return None
        if ends:
            return max(end for end in ends if end)
        remedies = [
            *self._hotfixes(failed),
            *(self._by_id[each.made] for each in self.history.rollbacks if each.undone == failed.id and each.succeeded),
        ]
        good = [each.completed_at for each in remedies if not self.is_failed(each)]
        if good:
            return min(good)
        following = [
            each.completed_at
            for each in self.history.deployments
            if (each.service, each.place, each.outcome) == (failed.service, failed.place, "SUCCEEDED")
            and each.completed_at > failed.completed_at
            and not self.is_failed(each)
        ]
        return min(following, default=None)

    # --- what is counted

    def frequency(self, asked: Asked) -> Number:
        """Successes a day."""
        successes = [each for each in self._base(asked) if each.outcome == "SUCCEEDED"]
        first = min((each.completed_at for each in self._ever(asked)), default=None)
        days = asked.days
        complete = [day for day in days if asked.whole(day)]
        if first is not None and asked.start < first < asked.end:
            days = [day for day in days if day >= asked.day(first)]
            complete = [day for day in days if asked.whole(day) or (day == days[0] and asked.whole(day + DAY))]
        on = [asked.day(each.completed_at) for each in successes]
        return Number(
            len(successes) / len(days), len(successes), self._frequency_band(complete, on), ids=self._ids(successes)
        )

    def _frequency_band(self, complete: list[date], on: list[date]) -> str:
        weeks = [len(set(week) & set(on)) for week in _groups(complete, lambda day: day.isocalendar()[:2], lambda _: 7)]
        months = [
            sum(on.count(day) for day in month)
            for month in _groups(complete, lambda day: (day.year, day.month), _days_of_month)
        ]
        if len(weeks) < 4:
            return ""
        if _median(weeks) >= 1:
            return "ELITE" if _median(weeks) >= 3 else "HIGH"
        if not months:
            return ""
        return "MEDIUM" if _median(months) >= 1 else "LOW"

    def deliveries(self, asked: Asked) -> list[tuple[Deployment, int | None, str]]:
        """The changes that arrived: with what, how old (None: from the future), and how that is known."""
        first: dict[tuple[str, str], tuple[datetime, UUID, Deployment, datetime, str]] = {}
        opening: dict[str, tuple[datetime, UUID]] = {}
        for each in self._ever(asked):
            if each.outcome != "SUCCEEDED":
                continue
            place = (each.completed_at, each.id)
            opening[each.service] = min(opening.get(each.service, place), place)
            for commit, committed_at, basis in self._changes(each):
                found = (*place, each, committed_at, basis)
                key = (each.service, commit)
                if key not in first or found[:2] < first[key][:2]:
                    first[key] = found
        return [
            (each, None if made > at else (at - made) // MICROSECOND, basis)
            for at, name, each, made, basis in first.values()
            if asked.start <= at < asked.end and (at, name) != opening[each.service]
        ]

    def _changes(self, by: Deployment) -> list[tuple[str, datetime, str]]:
        release = by.release
        timed = {change.commit: change.committed_at for change in release.changes if change.committed_at}
        if timed:
            return [(commit, made, "changes") for commit, made in timed.items()]
        said = [
            (change.commit, change.committed_at, "git_commit")
            for other in self.history.deployments
            if other.service == release.service and other.outcome == "SUCCEEDED"
            if (other.completed_at, other.id) < (by.completed_at, by.id)
            for change in other.release.changes
            if change.commit == release.git_commit and change.committed_at
        ]
        if said:
            return said[:1]
        return [(release.git_commit or str(release.id), release.created_at, "release")]

    def lead_time(self, asked: Asked) -> Number:
        """The median age of changes."""
        found = self.deliveries(asked)
        ages = [age for _, age, _ in found if age is not None]
        bases = sorted({basis for _, age, basis in found if age is not None})
        value = _quantile(ages, Fraction(1, 2))
        return Number(
            value,
            len(ages),
            _band(value, (86400, 7 * 86400, 30 * 86400)),
            len(found) - len(ages),
            basis="mixed" if len(bases) > 1 else "".join(bases),
            p90=_quantile(ages, Fraction(9, 10)),
            ids=self._ids({each.id: each for each, age, _ in found if age is not None}.values()),
        )

    def failure_rate(self, asked: Asked) -> Number:
        """The share of failures."""
        base = self._base(asked)
        failed = [each for each in base if self.is_failed(each)]
        if not base:
            return Number(None, 0)
        value = len(failed) / len(base)
        band = next(
            (name for name, limit in (("ELITE", 0.05), ("HIGH", 0.1), ("MEDIUM", 0.15)) if value <= limit), "LOW"
        )
        return Number(value, len(base), band, ids=self._ids(failed))

    def time_to_restore(self, asked: Asked) -> Number:
        """The median time to recover."""
        failed = [each for each in self._base(asked) if self.is_failed(each)]
        over = {each.id: self.restored_at(each) for each in failed}
        times = [
            max(0, (end - each.completed_at) // MICROSECOND) for each in failed if (end := over[each.id]) is not None
        ]
        value = _quantile(times, Fraction(1, 2))
        return Number(
            value,
            len(times),
            _band(value, (3600, 86400, 7 * 86400)),
            len(failed) - len(times),
            mean=sum(times) / len(times) / 1_000_000 if times else None,
            ids=self._ids(each for each in failed if over[each.id]),
            oldest=min((each.completed_at for each in failed if not over[each.id]), default=None),
        )

    def rework_rate(self, asked: Asked) -> Number:
        """The share of hotfixes and rollbacks."""
        successes = [each for each in self._ended(asked) if each.outcome == "SUCCEEDED" and each.kind != "REDEPLOY"]
        rework = [each for each in successes if each.kind != "PLANNED"]
        if not successes:
            return Number(None, 0)
        return Number(len(rework) / len(successes), len(successes), ids=self._ids(rework))

    def deployment_failure_rate(self, asked: Asked) -> Number:
        """The share of failures without an impact."""
        ended = self._ended(asked)
        failed = [each for each in ended if each.outcome == "FAILED" and not each.impacted]
        return Number(len(failed) / len(ended), len(ended), ids=self._ids(failed)) if ended else Number(None, 0)

    def unlinked(self, asked: Asked) -> int:
        """Incidents without a deployment."""
        return sum(
            incident.deployment is None
            and incident.service in asked.services
            and incident.place in asked.places
            and asked.start <= incident.detected_at < asked.end
            for incident in self.history.incidents
        )

    def trend(self, asked: Asked) -> list[tuple[str, int, int, float, float | None]]:
        """Every day: what it is called, deployments, failures, mean of a week, median age of changes."""
        base, found, rows = self._base(asked), self.deliveries(asked), []
        counts: list[int] = []
        for day in asked.days:
            mine = [each for each in base if asked.day(each.completed_at) == day]
            ages = [age for each, age, _ in found if age is not None and asked.day(each.completed_at) == day]
            counts.append(len(mine))
            mean = sum(counts[-7:]) / len(counts[-7:])
            failed = sum(self.is_failed(each) for each in mine)
            rows.append((day.isoformat(), len(mine), failed, mean, _quantile(ages, Fraction(1, 2))))
        return rows

    def _ids(self, deployments: Iterable[Deployment]) -> tuple[str, ...]:
        ordered = sorted(deployments, key=lambda each: (each.completed_at, each.id), reverse=True)
        return tuple(str(each.id) for each in ordered[:100])


def _groups(days: list[date], key: Callable[[date], object], size: Callable[[date], int]) -> Iterator[list[date]]:
    """The weeks or months of which every day is there."""
    found: dict[object, list[date]] = {}
    for day in days:
        found.setdefault(key(day), []).append(day)
    return (group for group in found.values() if len(group) == size(group[0]))


def _days_of_month(day: date) -> int:
    return ((day.replace(day=1) + DAY * 32).replace(day=1) - day.replace(day=1)).days


def _median(values: list[int]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _quantile(values: list[int], which: Fraction) -> float | None:
    """Between the two values around its place in proportion: of microseconds, in seconds."""
    if not values:
        return None
    ordered = sorted(values)
    place = float(which) * (len(ordered) - 1)
    low = ordered[int(place)]
    high = ordered[min(int(place) + 1, len(ordered) - 1)]
    return (low + (high - low) * (place - int(place))) / 1_000_000


def _band(value: float | None, limits: tuple[int, int, int]) -> str:
    if value is None:
        return ""
    return next((name for name, limit in zip(("ELITE", "HIGH", "MEDIUM"), limits, strict=True) if value < limit), "LOW")
