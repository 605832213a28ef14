"""What came of deployments, as conditions, and how many there were of each kind.

The words are those of the definitions (docs/adr/0019-metrics.md). Most deployments are planned and went well. Those are
counted by the thousand and looked at no further; an index of the others is all that is read to know them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, Subquery, and_, cast, func, not_, or_, select, true

from relman_server.analytics.scope import ENVIRONMENTS, Shape, within
from relman_server.analytics.sql import days, once
from relman_server.deployments.model import Deployment, DeploymentKind, DeploymentStatus, Outcome
from relman_server.environments.model import Environment
from relman_server.kernel.sql import in_words

COUNTS = ("base", "successes", "releases", "rework", "ended", "pipeline_failures")


@dataclass(frozen=True)
class Facts:
    """What came of the deployments of a scope that ended with an outcome, as conditions on Deployment.

    Attributes:
        shape: Of the scope.
    """

    shape: Shape

    @property
    def ended(self) -> ColumnElement[bool]:
        """It ended in the range, with an outcome."""
        return and_(Deployment.outcome.is_not(None), within(Deployment.completed_at), self.shape.has(Deployment))

    @property
    def is_unusual(self) -> ColumnElement[bool]:
        """It was not planned, or did not go well, then or later; word for word what `ix_deployment_unusual` has."""
        return or_(
            Deployment.outcome != in_words(Outcome.SUCCEEDED),
            Deployment.status == in_words(DeploymentStatus.ROLLED_BACK),
            Deployment.kind != in_words(DeploymentKind.PLANNED),
            Deployment.blamed,
        )

    @property
    def succeeded(self) -> ColumnElement[bool]:
        """Its outcome is SUCCEEDED, whatever happened to it later."""
        return Deployment.outcome == Outcome.SUCCEEDED

    @property
    def stayed(self) -> ColumnElement[bool]:
        """It succeeded, and was not rolled back."""
        return and_(self.succeeded, Deployment.status != DeploymentStatus.ROLLED_BACK)

    @property
    def is_base(self) -> ColumnElement[bool]:
        """It reached the environment, and was no rollback and no repetition."""
        return and_(or_(self.succeeded, Deployment.production_impacted), self.is_new)

    @property
    def is_new(self) -> ColumnElement[bool]:
        """It was no rollback and no repetition."""
        return Deployment.kind.not_in((DeploymentKind.ROLLBACK, DeploymentKind.REDEPLOY))

    @property
    def is_failure(self) -> ColumnElement[bool]:
        """It reached the environment and was not well there, which is unusual."""
        return and_(self.is_unusual, self.is_base, or_(not_(self.stayed), Deployment.blamed))

    @property
    def is_release_of_any_kind(self) -> ColumnElement[bool]:
        """It succeeded, and was no repetition."""
        return and_(self.succeeded, Deployment.kind != DeploymentKind.REDEPLOY)

    @property
    def is_rework(self) -> ColumnElement[bool]:
        """It succeeded in repairing or undoing something, which is unusual."""
        repairs = Deployment.kind.in_((DeploymentKind.HOTFIX, DeploymentKind.ROLLBACK))
        return and_(self.is_unusual, self.succeeded, repairs)

    @property
    def is_pipeline_failure(self) -> ColumnElement[bool]:
        """It failed before it had an impact, which is unusual."""
        return and_(self.is_unusual, not_(self.succeeded), not_(Deployment.production_impacted))

    @property
    def grouped(self) -> Any:  # a labelled column
        """Which group it is in."""
        return self.shape.grouped(Deployment)

    def select(self, condition: ColumnElement[bool]) -> Select[Any]:
        """Select `grouped`, `id` and when they ended, `at`, of the deployments for which a condition holds."""
        columns = (self.grouped, Deployment.id, Deployment.completed_at.label("at"))
        return select(*columns).where(self.ended, condition)

    def daily(self) -> Subquery:
        """Select COUNTS by `grouped` and `day`: all as if they were usual, and by how much the others change that."""
        every = func.count()
        usual = ("base", "successes", "releases", "ended")
        others = {
            "base": self.is_base,
            "successes": and_(self.is_base, self.succeeded),
            "releases": self.is_release_of_any_kind,
            "rework": self.is_rework,
            "pipeline_failures": self.is_pipeline_failure,
        }
        changes = {
            name: every.filter(condition) - (every if name in usual else 0) for name, condition in others.items()
        }
        by_place = self.shape.by_place
        all_ = self._counted_by_place(usual) if by_place else self._counted(dict.fromkeys(usual, every))
        both = all_.union_all(self._counted(changes).where(self.is_unusual)).subquery()
        sums = (cast(func.sum(both.c[name]), BigInteger).label(name) for name in COUNTS)
        return select(both.c.grouped, both.c.day, *sums).group_by(both.c.grouped, both.c.day).subquery("counts")

    def _counted(self, counts: dict[str, Any]) -> Select[Any]:  # aggregates
        columns = (cast(counts.get(name, 0), BigInteger).label(name) for name in COUNTS)
        found: Select[Any] = select(self.grouped, self.shape.day(Deployment.completed_at), *columns)
        return found.where(self.ended).group_by("grouped", "day")

    def _counted_by_place(self, names: Sequence[str]) -> Select[Any]:
        """As `_counted` of all: of each place and day one look into an index, which finds no day and sorts nothing."""
        day = days()
        ended = (
            select(func.count())
            .where(
                Deployment.environment_id == Environment.id,
                Deployment.outcome.is_not(None),
                Deployment.completed_at >= day.c.beginning,
                Deployment.completed_at < day.c.until,
            )
            .correlate(Environment, day)
            .scalar_subquery()
        )
        places = select(Environment.id.label("environment_id"), day.c.number.label("day"), ended.label("size"))
        found = once(places.join(day, true()).where(Environment.id.in_(ENVIRONMENTS)), "ended").c
        columns = (cast(found.size if name in names else 0, BigInteger).label(name) for name in COUNTS)
        return select(self.shape.grouped(found), found.day, *columns).where(found.size > 0)
