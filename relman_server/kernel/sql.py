"""Small pieces of SQL that all stores share."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, literal, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from relman_server.kernel.db.transaction import Reading, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.kernel.ids import parse_id


def contains(text: str, *columns: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Return the condition that one of the columns contains a text, in any case; the text is data, not a pattern."""
    # As it was typed, too: PostgreSQL's lower() knows only ASCII when the database has no locale.
    return or_(
        *(func.lower(column).contains(text.lower(), autoescape=True) for column in columns),
        *(column.contains(text, autoescape=True) for column in columns if not text.isascii()),
    )


def in_words(value: str) -> ColumnElement[str]:
    """Return a value that stands in the statement itself: partial indexes are used for nothing else."""
    return literal(value, literal_execute=True)


def referred(name: str, reference: str | None) -> dict[str, UUID | str]:
    """Return the parameter `NAME_id` or `NAME_name` that a reference is, or none without one."""
    if not reference:
        return {}
    row_id = parse_id(reference)
    return {f"{name}_name": reference} if row_id is None else {f"{name}_id": row_id}


def ids_of(
    tx: Transaction,
    model: Any,  # a Resource that has a unique `name`, which no type says
    references: Sequence[str],
    resource_type: str,
) -> list[UUID]:
    """As `known_ids`, and the rows stay until the end of the transaction."""
    return _known_ids(tx, model, references, resource_type, stay=True)


def known_ids(
    tx: Reading,
    model: Any,  # as above
    references: Sequence[str],
    resource_type: str,
) -> list[UUID]:
    """Return the ids of what ids and names refer to, in the order given, each once.

    Raises NotFound with every reference that names none.
    """
    return _known_ids(tx, model, references, resource_type, stay=False)


def _known_ids(tx: Reading, model: Any, references: Sequence[str], resource_type: str, *, stay: bool) -> list[UUID]:
    if not references:
        return []
    keys = [parse_id(reference) or reference for reference in references]
    statement = select(model.id, model.name).where(
        or_(
            model.id.in_([key for key in keys if isinstance(key, UUID)]),
            model.name.in_([key for key in keys if isinstance(key, str)]),
        )
    )
    rows = tx.rows(statement.with_for_update(read=True, key_share=True) if stay else statement)
    known = {row.name: row.id for row in rows} | {row.id: row.id for row in rows}
    unknown = [reference for reference, key in zip(references, keys, strict=True) if key not in known]
    if unknown:
        raise NotFound(resource_type, ", ".join(dict.fromkeys(unknown)))
    return list(dict.fromkeys(known[key] for key in keys))
