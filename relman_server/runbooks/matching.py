"""What is asked of the full-text index, each kind of question built and compiled once.

Questions differ in what is returned, and in how many phrases a runbook must have or must not; all else is parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, Text, bindparam, column, func, literal, select, table
from sqlalchemy.dialects.postgresql import TSQUERY

from relman_server.kernel.db.prepared import Prepared
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.runbooks.lookup import Lookup, fts5, lookup_of_phrase, tsquery
from relman_server.runbooks.model import Runbook, Searchable

INDEX = table("runbook_index", column("rowid"), column("terms"), column("runbook_index"))
"""SQLite's."""
EVERYTHING = -1
"""Of what is counted on SQLite."""
_STEMS_READ = 20_000
"""Characters of a runbook's stems that are compared with what a deployment printed."""
_KEPT = 64
"""Questions that are kept; nearly all have no phrase or one."""

_RANKED: tuple[Any, ...] = (Searchable.title, Searchable.tags, Searchable.counts, Searchable.length)
_COMPARED: tuple[Any, ...] = (
    *_RANKED,
    func.substr(Searchable.stems, 1, _STEMS_READ).label("stems"),
    Runbook.service_id,
    Runbook.environment_id,
)


@dataclass(frozen=True)
class _Question:
    """What makes one statement differ from another.

    Attributes:
        engine: For which it is.
        phrases: How many a runbook must have.
        no_phrases: How many it must not.
        compared: Whether what ranking.Suspect says is returned, too.
        counted: Whether matches are counted while the newest are found.
    """

    engine: str
    phrases: int
    no_phrases: int
    compared: bool = False
    counted: bool = False


def newest(tx: Reading, lookup: Lookup, limit: int, *, compared: bool, counted: int = 0) -> Sequence[Record]:
    """Return the matches that changed last, newest first.

    Each has its `place`, what ranking.Candidate says and, where they are counted, in `total` how many match in all.

    Args:
        tx: Where to read.
        lookup: What they must have.
        limit: How many at most.
        compared: Whether to return what ranking.Suspect says, too.
        counted: How many to count at most (on PostgreSQL, which finds them all to sort them: at least); 0: none,
            EVERYTHING: all. It takes FTS5 as long to find what has a word that begins in some way as to find the newest
            of these.
    """
    question = _question(tx, lookup, compared=compared, counted=counted != 0)
    bounds = {"most": limit, "counted": counted} if question.counted and tx.engine == "sqlite" else {"most": limit}
    return tx.rows(_newest(question), _parameters(tx.engine, lookup) | bounds)


def count(tx: Reading, lookup: Lookup, limit: int | None) -> int:
    """Return how many runbooks match; at most `limit`."""
    parameters = _parameters(tx.engine, lookup) | {"most": limit}
    return int(tx.scalar(_count(_question(tx, lookup)), parameters))


def _question(tx: Reading, lookup: Lookup, *, compared: bool = False, counted: bool = False) -> _Question:
    return _Question(tx.engine, len(lookup.phrases), len(lookup.no_phrases), compared, counted)


@lru_cache(_KEPT)
def _newest(question: _Question) -> Prepared:
    columns = _COMPARED if question.compared else _RANKED
    return Prepared(lambda: (_on_sqlite if question.engine == "sqlite" else _on_postgresql)(question, columns))


def _on_postgresql(question: _Question, columns: Sequence[Any]) -> Select[Any]:
    # The order is not that of an index, or the limit would tempt PostgreSQL to read in it, and with it the tsvector of
    # every runbook on the way.
    order = (Searchable.place + 0).desc()
    found = _matching(question).order_by(order).limit(bindparam("most", type_=Integer))
    if question.counted:
        found = found.add_columns(func.count().over().label("total"))
    if not question.compared:  # the columns are in the row that has to be read for its place
        return found.add_columns(*columns)
    return _joined(found, columns).order_by(order)


def _on_sqlite(question: _Question, columns: Sequence[Any]) -> Select[Any]:
    first = _matching(question).order_by(_place("sqlite").desc())  # FTS5 reads in this order
    if question.counted:
        matching = first.limit(bindparam("counted", type_=Integer)).cte("matching")
        total = select(func.count()).select_from(matching).scalar_subquery().label("total")
        first = select(matching.c.place, total).order_by(matching.c.place.desc())
    return _joined(first.limit(bindparam("most", type_=Integer)), columns).order_by(Searchable.place.desc())


def _joined(found: Select[Any], columns: Sequence[Any]) -> Select[Any]:
    """Select such columns of what was found by its `place`."""
    first = found.subquery()
    others = [each for each in first.columns if each.name != "place"]
    statement = select(Searchable.place, *others, *columns).join(first, first.c.place == Searchable.place)
    return statement.join(Runbook, Runbook.id == Searchable.runbook_id) if columns is _COMPARED else statement


@lru_cache(_KEPT)
def _count(question: _Question) -> Prepared:
    def build() -> Select[Any]:
        matches = _matching(question).with_only_columns(literal(1), maintain_column_froms=True)
        first = matches.limit(bindparam("most", type_=Integer)).subquery()
        return select(func.count().label("total")).select_from(first)

    return Prepared(build)


def _matching(question: _Question) -> Select[Any]:
    """Select the `place` of each runbook that matches."""
    place = _place(question.engine)
    statement = _having(question.engine, question.phrases)
    for number in range(question.no_phrases):
        with_it = _having(question.engine, 1, f"no_{number}_").subquery()
        statement = statement.where(place.not_in(select(with_it.c.place)))
    return statement


def _having(engine: str, phrases: int, name: str = "") -> Select[Any]:
    """Select the `place` of each runbook with the terms and phrases of parameters whose names begin so."""
    statement = select(_place(engine).label("place"))
    if engine == "postgresql":
        terms = bindparam(f"{name}query", type_=TSQUERY())
        statement = statement.where(Searchable.document.bool_op("@@")(terms))
    else:
        terms = bindparam(f"{name}query", type_=Text())
        statement = statement.where(INDEX.c.runbook_index.bool_op("MATCH")(terms))
    if phrases and engine == "sqlite":
        statement = statement.join(Searchable, Searchable.place == INDEX.c.rowid)
    position = func.strpos if engine == "postgresql" else func.instr
    said = (bindparam(f"{name}phrase_{number}", type_=Text()) for number in range(phrases))
    return statement.where(*(position(Searchable.stems, phrase) > 0 for phrase in said))


def _place(engine: str) -> ColumnElement[int]:
    return Searchable.place if engine == "postgresql" else INDEX.c.rowid  # type: ignore[return-value]  # a column of either


def _parameters(engine: str, lookup: Lookup) -> dict[str, Any]:  # of different types
    parameters = _said(engine, lookup)
    for number, stems in enumerate(lookup.no_phrases):
        parameters |= _said(engine, lookup_of_phrase(stems), f"no_{number}_")
    return parameters


def _said(engine: str, lookup: Lookup, name: str = "") -> dict[str, str]:
    phrases = {f"{name}phrase_{number}": phrase for number, phrase in enumerate(lookup.phrases)}
    return phrases | {f"{name}query": tsquery(lookup) if engine == "postgresql" else fts5(lookup)}
