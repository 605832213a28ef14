"""What callers may say about deploy policies; every bound is here."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from relman_server.kernel.inputs import Change, Input, Name, OptionalReference, Page, Query, Reference, TimeZone
from relman_server.policies.model import DayOfWeek

_TIME_OF_DAY = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


def _start(text: str) -> str:
    if not _TIME_OF_DAY.fullmatch(text):
        raise ValueError('must be a time of day from "00:00" to "23:59"')
    return text


def _end(text: str) -> str:
    if text != "24:00" and not _TIME_OF_DAY.fullmatch(text):
        raise ValueError('must be a time of day from "00:00" to "24:00"')
    return text


def _in_order(days: list[DayOfWeek]) -> list[DayOfWeek]:
    return [day for day in DayOfWeek if day in days]


class WeeklyWindow(Input):
    """A freeze that comes back every week."""

    days: Annotated[list[DayOfWeek], Field(min_length=1), AfterValidator(_in_order)]
    start: Annotated[str, AfterValidator(_start)]
    end: Annotated[str, AfterValidator(_end)]
    time_zone: TimeZone = "UTC"


class OneTimeWindow(Input):
    """A freeze that comes once."""

    start: datetime
    end: datetime

    @field_validator("end")
    @classmethod
    def _after_start(cls, end: datetime, said: ValidationInfo) -> datetime:
        if "start" in said.data and end <= said.data["start"]:
            raise ValueError("must be after start")
        return end


Description = Annotated[str, StringConstraints(max_length=2000)]
References = Annotated[list[Reference], Field(max_length=500)]
WeeklyWindows = Annotated[list[WeeklyWindow], Field(max_length=50)]
OneTimeWindows = Annotated[list[OneTimeWindow], Field(max_length=50)]


class NewPolicy(Input):
    """When nothing may be deployed, and to what that applies."""

    name: Name
    description: Description = ""
    services: References = []
    environments: References = []
    weekly_windows: WeeklyWindows = []
    one_time_windows: OneTimeWindows = []
    is_active: bool = True


class PolicyChange(Change):
    """What to change of a policy."""

    deploy_policy: Reference
    name: Name = ""
    description: Description = ""
    services: References = []
    environments: References = []
    weekly_windows: WeeklyWindows = []
    one_time_windows: OneTimeWindows = []
    is_active: bool = False


class ListPolicies(Page):
    """Which policies to list."""

    ordered_by = ("name", "created_at")

    service: OptionalReference = None
    environment: OptionalReference = None
    is_active: bool | None = None
    query: Query = ""
