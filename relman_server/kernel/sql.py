"""Small pieces of SQL that all stores share."""

from sqlalchemy import ColumnElement, func, or_
from sqlalchemy.orm import InstrumentedAttribute


def contains(text: str, *columns: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Return the condition that one of the columns contains a text, in any case; the text is data, not a pattern."""
    # As it was typed, too: PostgreSQL's lower() knows only ASCII when the database has no locale.
    return or_(
        *(func.lower(column).contains(text.lower(), autoescape=True) for column in columns),
        *(column.contains(text, autoescape=True) for column in columns if not text.isascii()),
    )
