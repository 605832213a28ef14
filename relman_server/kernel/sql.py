"""Small pieces of SQL that all stores share."""

from sqlalchemy import ColumnElement, func, or_
from sqlalchemy.orm import InstrumentedAttribute


def contains(text: str, *columns: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Return the condition that one of the columns contains a text, in any case; the text is data, not a pattern."""
    return or_(*(func.lower(column).contains(text.lower(), autoescape=True) for column in columns))
