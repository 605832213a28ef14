"""The rows of logs: chunks of lines, not lines."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import UNAUDITED, Base
from relman_server.kernel.ids import new_id


class LogHead(Base):
    """Where a deployment's log ends.

    Its row lock, held to the commit, puts chunks in order: a reader who has seen position N never finds anything new
    before it.

    Attributes:
        position: Of the newest chunk; 0 before the first.
        entry_count: Lines of the whole log.
        byte_size: Bytes of text of the whole log, for the quota.
        removed_position: Chunks up to this one were removed by retention.
    """

    __tablename__ = "log_head"
    __table_args__ = ({"info": UNAUDITED},)

    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    entry_count: Mapped[int] = mapped_column(BigInteger)
    byte_size: Mapped[int] = mapped_column(BigInteger)
    removed_position: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class LogExpiry(Base):
    """A log whose deployment has ended: retention removes it some time later, and this row with it.

    Attributes:
        ended_at: When the deployment ended.
    """

    __tablename__ = "log_expiry"
    __table_args__ = (Index("ix_log_expiry_ended_at", "ended_at"), {"info": UNAUDITED})

    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"), primary_key=True)
    ended_at: Mapped[datetime]


class LogStream(Base):
    """One writer's numbered sequence of lines."""

    __tablename__ = "log_stream"
    __table_args__ = (UniqueConstraint("deployment_id", "stream_name"), {"info": UNAUDITED})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"))
    stage_id: Mapped[UUID | None] = mapped_column(ForeignKey("pipeline_stage.id", ondelete="CASCADE"))
    stream_name: Mapped[str]
    committed_sequence: Mapped[int] = mapped_column(BigInteger)
    finished: Mapped[bool]
    byte_size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class LogChunk(Base):
    """Lines that were committed together: the unit of storage, of transport and of fan-out.

    Attributes:
        position: Place in the deployment's log, from 1.
        first_sequence, last_sequence: Within the stream.
        max_severity: Of its lines, as the contract's number, so that filters pass over chunks unread.
        first_time, last_time: Earliest and latest of its lines.
        payload: A serialized TailLogsResponse with `entries` and no cursor: a cursor appended to these bytes makes
            the answer that followers get.
    """

    __tablename__ = "log_chunk"
    __table_args__ = (
        Index("ix_log_chunk_stream", "stream_id", "first_sequence"),
        {"info": UNAUDITED},
    )

    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployment.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    stream_id: Mapped[UUID] = mapped_column(ForeignKey("log_stream.id", ondelete="CASCADE"))
    stage_id: Mapped[UUID | None]
    first_sequence: Mapped[int] = mapped_column(BigInteger)
    last_sequence: Mapped[int] = mapped_column(BigInteger)
    entry_count: Mapped[int]
    byte_size: Mapped[int]
    max_severity: Mapped[int]
    first_time: Mapped[datetime]
    last_time: Mapped[datetime]
    payload: Mapped[bytes]
