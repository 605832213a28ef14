"""The rows of teams and their members."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import Base, Resource


class TeamRole(StrEnum):
    """What a member may do in a team."""

    MAINTAINER = "MAINTAINER"
    MEMBER = "MEMBER"


class Team(Resource):
    """People who own services together."""

    __tablename__ = "team"
    __table_args__ = (Index(None, "created_at", "id"),)

    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]
    slack_channel: Mapped[str]


class TeamMember(Base):
    """A user in a team."""

    __tablename__ = "team_member"
    __table_args__ = (Index(None, "user_id"),)

    team_id: Mapped[UUID] = mapped_column(ForeignKey("team.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str]
    created_at: Mapped[datetime]
