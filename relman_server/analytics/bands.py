"""How values compare with other organisations: the cut-offs of the DORA reports of 2023."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from statistics import median

HOUR = 3600.0
DAY = 24 * HOUR
WEEKS_NEEDED = 4


class Band(StrEnum):
    """How a value compares, from the best."""

    ELITE = "ELITE"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


_BANDS = tuple(Band)[:-1]
LEAD_TIME = (DAY, 7 * DAY, 30 * DAY)
TIME_TO_RESTORE = (HOUR, DAY, 7 * DAY)
FAILURE_RATE = (0.05, 0.10, 0.15)


def below(value: float, limits: Sequence[float]) -> Band:
    """Return the band of a value by the first limit that it is below."""
    return next((band for band, limit in zip(_BANDS, limits, strict=True) if value < limit), Band.LOW)


def up_to(value: float, limits: Sequence[float]) -> Band:
    """Return the band of a value by the first limit that it does not exceed."""
    return next((band for band, limit in zip(_BANDS, limits, strict=True) if value <= limit), Band.LOW)


def of_frequency(days_of_weeks: Sequence[int], of_months: Iterable[int]) -> tuple[Band | None, str]:
    """Return the band of a frequency; without one, why there is none.

    Args:
        days_of_weeks: On how many days of each whole week something was deployed.
        of_months: How many deployments each whole month had.
    """
    if len(days_of_weeks) < WEEKS_NEEDED:
        return None, f"A band needs {WEEKS_NEEDED} whole weeks, and the range has {len(days_of_weeks)}."
    typical = median(days_of_weeks)
    if typical >= 1:
        return (Band.ELITE if typical >= 3 else Band.HIGH), ""
    months = list(of_months)
    if not months:
        return None, "Less than once a week: the band needs a whole month, and the range has none."
    return (Band.MEDIUM if median(months) >= 1 else Band.LOW), ""
