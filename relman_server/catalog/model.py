"""The row of a service."""

from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import Resource


class Service(Resource):
    """A microservice that is released and deployed."""

    __tablename__ = "service"
    __table_args__ = (Index(None, "created_at", "id"), Index(None, "team_id", "name"))

    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]
    repository_url: Mapped[str]
    team_id: Mapped[UUID | None] = mapped_column(ForeignKey("team.id"))
    slack_channel: Mapped[str]
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    is_active: Mapped[bool]
