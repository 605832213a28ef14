"""The rows of what pipelines measure, and of which change reached which environment when."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import UNAUDITED, Base, Resource


class DeploymentMetric(Resource):
    """A number that a pipeline measured in a deployment."""

    __tablename__ = "deployment_metric"
    __table_args__ = (
        UniqueConstraint("deployment_id", "metric_name"),
        Index(None, "created_at", "id"),
        Index(None, "metric_name", "created_at", "id"),
        Index(None, "metric_value", "id"),
    )

    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"))
    metric_name: Mapped[str]
    metric_value: Mapped[float]
    unit: Mapped[str]


class Basis(StrEnum):
    """What the age of a change is counted from."""

    CHANGES = "changes"
    GIT_COMMIT = "git_commit"
    RELEASE = "release"


class DeliveryRoute(Base):
    """Environments that changes had reached when they reached another one: few rows, for many changes go the same way.

    Attributes:
        id: Of these environments, whoever writes it down: see `deliveries.route_id`.
        places: Their ids, as 32 hexadecimal digits each, in order, with commas between them.
    """

    __tablename__ = "delivery_route"
    __table_args__ = ({"info": UNAUDITED},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    places: Mapped[str]


# What metrics look at of a change, so that they find it in an index.
_INCLUDED = ("committed_at", "basis", "deployment_id", "route_id", "is_opening")


class DeliveredChange(Base):
    """That a change of a service reached an environment: its first success there.

    It could be found from releases and deployments, but not for a million of them within a second.

    Attributes:
        change_id: Of the service's commit, whichever releases it is in: see `deliveries.change_id`.
        delivered_at: completed_at of the deployment.
        committed_at: When the change was made, as far as that is known: see `basis`.
        basis: What committed_at is.
        is_opening: Whether it came with the first success of the service there, with who knows how many others.
        route_id: Of the environments that it reached before; None when this is the first. Whether it is new to several
            environments is seen without a look at its other rows.
    """

    __tablename__ = "delivered_change"
    __table_args__ = (
        Index(None, "environment_id", "delivered_at", postgresql_include=_INCLUDED),
        Index(None, "service_id", "environment_id", "delivered_at", postgresql_include=_INCLUDED),
        Index(None, "deployment_id"),
        {"info": UNAUDITED},
    )

    change_id: Mapped[UUID] = mapped_column(primary_key=True)
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environment.id"), primary_key=True)
    service_id: Mapped[UUID] = mapped_column(ForeignKey("service.id"))
    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"))
    delivered_at: Mapped[datetime]
    committed_at: Mapped[datetime]
    basis: Mapped[str]
    is_opening: Mapped[bool]
    route_id: Mapped[UUID | None] = mapped_column(ForeignKey("delivery_route.id"))
