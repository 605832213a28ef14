"""What every table has in common: naming, aware times, JSON, versions."""

from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from sqlalchemy import JSON, DateTime, Dialect, MetaData, Text, Uuid, inspect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, declared_attr, mapped_column  # noqa: TID251 - see below
from sqlalchemy.types import TypeDecorator

from relman_server.kernel.ids import new_id


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC that stays aware on SQLite, which has no time zones; microseconds on both engines."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; a naive time is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times are aware here")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Read UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _json() -> JSON:
    """Return a new type each time: what `as_mutable` says of one holds for every column that shares it."""
    return JSON().with_variant(JSONB(), "postgresql")


# Mark a table unaudited (high volume, or no one's business) with
# `__table_args__ = {"info": UNAUDITED}`; the commit guard asks for an audit row from all others.
UNAUDITED = {"audited": False}
# Columns never shown in an audit row: `mapped_column(info=SENSITIVE)`.
SENSITIVE = {"sensitive": True}


Entity = TypeVar("Entity", bound="Base")


class Base(DeclarativeBase):
    """Every table of the database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {  # SQLAlchemy's own shape: anything it can read as a type
        UUID: Uuid(),
        datetime: UtcDateTime(),
        str: Text(),
        dict[str, str]: MutableDict.as_mutable(_json()),
        list[str]: MutableList.as_mutable(_json()),
        dict[str, Any]: _json(),
        list[dict[str, Any]]: _json(),
    }


class Resource(Base):
    """A row with an identity, a history of its own, and an etag: row_version counts the changes."""

    __abstract__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    row_version: Mapped[int]

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        """Refuse to overwrite a row that changed since it was read."""
        return {"version_id_col": cls.row_version}


def alias_of(entity: type[Entity]) -> type[Entity]:
    """Return an entity under another name, for statements that read its table twice. Make it once, with the module.

    SQLAlchemy fills the index of an alias when a column is first looked up in it. Of two threads that do so at the same
    moment, one may find it half filled, and takes the column of the table itself: its statement reads the wrong rows,
    and is kept. So a column is looked up here, before there are threads.
    """
    alias = aliased(entity)
    inspected = inspect(alias)
    inspected.selectable.corresponding_column(inspected.mapper.local_table.c[0])
    return alias


def etag(row_id: UUID | str, row_version: int) -> str:
    """Return the etag of a version of a row; opaque to callers."""
    return f"{row_version}-{str(row_id)[-8:]}"
