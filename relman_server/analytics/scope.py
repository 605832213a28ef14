"""Which deployments metrics are computed from, and in which groups: as parameters of statements, and as conditions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Subquery, Uuid, and_, bindparam, cast, null, select

from relman_server.analytics.calendar import Range
from relman_server.analytics.sql import day_of, day_parameters
from relman_server.catalog.model import Service
from relman_server.environments.model import Environment
from relman_server.kernel.db.model import UtcDateTime

Group = UUID | None
"""A service's or an environment's id, or None where everything is one group."""

SERVICES, ENVIRONMENTS = (bindparam(name, expanding=True, type_=Uuid()) for name in ("services", "environments"))
START, END = (bindparam(name, type_=UtcDateTime()) for name in ("start", "end"))


class Grouping(StrEnum):
    """What metrics are computed for, one by one."""

    NONE = "NONE"
    SERVICE = "SERVICE"
    ENVIRONMENT = "ENVIRONMENT"


@dataclass(frozen=True)
class Shape:
    """What statements about a scope look like; the rest of the scope is in their parameters.

    Statements take longer to make than to run, mostly; so each is made once for every shape.

    Attributes:
        all_services: Whether no services are named.
        places: How many environments there are.
        grouping: Groups.
        clock_changes: How often the clocks change within the range.
        engine: "sqlite" or "postgresql".
    """

    all_services: bool
    places: int
    grouping: Grouping
    clock_changes: int
    engine: str

    def has(self, rows: Any) -> ColumnElement[bool]:  # what has a service_id and an environment_id
        """Return the condition that a row is of these services and environments, whenever it was."""
        there: ColumnElement[bool] = rows.environment_id.in_(ENVIRONMENTS)
        return there if self.all_services else and_(there, rows.service_id.in_(SERVICES))

    def grouped(self, rows: Any) -> Any:  # as above; a labelled column
        """Return which group a row is in."""
        if self.grouping is Grouping.NONE:
            column: Any = cast(null(), Uuid)
        else:
            column = rows.service_id if self.grouping is Grouping.SERVICE else rows.environment_id
        return column.label("grouped")

    def all_groups(self) -> Subquery:
        """Select every group as `grouped`, where there are groups."""
        group, ids = (Service, SERVICES) if self.grouping is Grouping.SERVICE else (Environment, ENVIRONMENTS)
        return select(group.id.label("grouped")).where(group.id.in_(ids)).subquery("groups")

    @property
    def groups(self) -> list[str]:
        """The columns by which to group: none where everything is one group, so that nothing is sorted by it."""
        return [] if self.grouping is Grouping.NONE else ["grouped"]

    @property
    def by_place(self) -> bool:
        """Whether all that ended in an environment is of one group, so that it need not be looked at one by one.

        On PostgreSQL, which has the days as a table.
        """
        return self.all_services and self.grouping is not Grouping.SERVICE and self.engine == "postgresql"

    def day(self, moment: Any) -> Any:  # a column; a labelled one
        """Return the number of the day of a time, from 0."""
        return day_of(moment, self.engine, self.clock_changes).label("day")


@dataclass(frozen=True)
class Scope:
    """Which deployments count, and in which groups.

    Attributes:
        services: Ids; None means all.
        environments: Ids.
        range: By when deployments ended.
        engine: "sqlite" or "postgresql".
        grouping: Groups; each is computed as if nothing else was asked for.
    """

    services: Sequence[UUID] | None
    environments: Sequence[UUID]
    range: Range
    engine: str
    grouping: Grouping = Grouping.NONE

    @cached_property
    def shape(self) -> Shape:
        """What statements look like."""
        return Shape(
            self.services is None,
            len(self.environments),
            self.grouping,
            len(self.range.offsets) - 1,
            self.engine,
        )

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Values of the parameters of statements."""
        return {
            "services": self.services or [],
            "environments": self.environments,
            **{f"place_{number}": place.hex for number, place in enumerate(self.environments)},
            "start": self.range.start,
            "end": self.range.end,
            **day_parameters(self.range, self.engine),
        }

    def of(self, groups: Sequence[Any]) -> "Scope":  # Group
        """Return the part of it that is in some of its groups."""
        if self.grouping is Grouping.SERVICE:
            return replace(self, services=groups)
        return replace(self, environments=groups) if self.grouping is Grouping.ENVIRONMENT else self


def within(moment: Any) -> ColumnElement[bool]:  # a column
    """Return the condition that a time is in the range."""
    return and_(moment >= START, moment < END)
