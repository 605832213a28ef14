"""What callers may say about metrics; every bound is here."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator, model_validator

from relman_server.analytics.calendar import Range
from relman_server.environments.model import EnvironmentType
from relman_server.kernel.errors import InvalidInput, Violation
from relman_server.kernel.inputs import (
    Between,
    Id,
    Input,
    Line,
    OptionalId,
    OptionalReference,
    Page,
    PageToken,
    Reference,
    TimeZone,
    at,
)

MAX_DAYS = 3660
MAX_METRICS = 1000
MAX_GROUPS = 100
DEFAULT_SPAN = timedelta(days=30)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9998, 12, 31, tzinfo=UTC)

_METRIC_NAME = re.compile(r"[A-Za-z0-9_.\-/]{1,100}\Z")


def _metric_name(text: str) -> str:
    if not _METRIC_NAME.match(text):
        raise ValueError('must be 1 to 100 letters, digits, "_", ".", "-" and "/"')
    return text


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _wrong_with(start: datetime, end: datetime) -> list[Violation]:
    if start >= end:
        return [Violation("end_date", "must be after start_date; unset it means now")]
    if end - start > timedelta(days=MAX_DAYS):
        return [Violation("end_date", f"must be at most {MAX_DAYS:,} days after start_date; unset it means now")]
    return []


class Question(Input):
    """Of which deployments to compute metrics."""

    services: Annotated[list[Reference], Field(max_length=500)] = []
    environment_types: list[EnvironmentType] = []
    start_date: datetime | None = None
    end_date: datetime | None = None
    time_zone: TimeZone = "UTC"

    @field_validator("start_date", "end_date")
    @classmethod
    def _can_be_reckoned_with(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and not EARLIEST <= moment <= LATEST:
            raise ValueError("must be in the years 1970 to 9998")
        return moment

    @model_validator(mode="after")
    def _is_a_range(self) -> "Question":
        if self.start_date is not None and self.end_date is not None:
            for wrong in _wrong_with(self.start_date, self.end_date):
                raise at(wrong.field, wrong.description)
        return self

    def range(self, now: datetime) -> Range:
        """Return the range in force; raises InvalidInput when it is none."""
        end = self.end_date or now
        start = self.start_date or max(end - DEFAULT_SPAN, EARLIEST)
        if wrong := _wrong_with(start, end):
            raise InvalidInput(*wrong)
        return Range(start, end, ZoneInfo(self.time_zone))

    @property
    def types(self) -> tuple[EnvironmentType, ...]:
        """Types of the environments that count."""
        return tuple(dict.fromkeys(self.environment_types)) or (EnvironmentType.PRODUCTION,)


class PagedQuestion(Question):
    """Of which deployments to compute metrics, group by group."""

    page_size: Annotated[int, Field(ge=0)] = 0
    page_token: PageToken = ""

    @property
    def page(self) -> "Groups":
        """Which page of the groups."""
        return Groups(page_size=min(self.page_size or MAX_GROUPS, MAX_GROUPS), page_token=self.page_token)


class Groups(Page):
    """A page of services or environments."""

    ordered_by = ("name",)


class RecordedMetric(Input):
    """A number that a pipeline measured."""

    metric_name: Annotated[str, AfterValidator(_metric_name)]
    metric_value: Annotated[float, AfterValidator(_finite)] = 0.0
    unit: Annotated[Line, StringConstraints(max_length=32)] = ""


class Recording(Input):
    """What a pipeline measured in a deployment."""

    deployment: Id
    metrics: Annotated[list[RecordedMetric], Field(min_length=1, max_length=MAX_METRICS)]

    @field_validator("metrics")
    @classmethod
    def _each_once(cls, metrics: list[RecordedMetric], _: ValidationInfo) -> list[RecordedMetric]:
        names = [metric.metric_name for metric in metrics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"must have different names; {', '.join(twice[:5])} comes more than once")
        return metrics


class ListMetrics(Page, Between):
    """Which recorded numbers to list."""

    ordered_by = ("created_at", "metric_name", "metric_value")

    deployment: OptionalId = None
    metric_name: Annotated[str, StringConstraints(max_length=100)] = ""
    service: OptionalReference = None
    environment: OptionalReference = None
    release: OptionalReference = None
    with_percentiles: bool = False
