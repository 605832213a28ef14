"""The full-text index: PostgreSQL's GIN over a tsvector, SQLite's FTS5. It changes in the transaction of the runbook.

FTS5 keeps no texts here (`content=''`, `detail=none`): to take a runbook out of it, it is told the terms again, which
`runbook_search.document` keeps on SQLite.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import TSQUERY

from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.ids import new_id
from relman_server.runbooks import indexing
from relman_server.runbooks.lookup import Lookup, fts5, lookup_of_phrase, tsquery, tsvector
from relman_server.runbooks.model import Runbook, Searchable

_INDEX = table("runbook_index", column("rowid"), column("terms"), column("runbook_index"))
_STEMS_READ = 20_000
"""Characters of a runbook's stems that are compared with what a deployment printed."""


def put(tx: Transaction, runbook: Runbook) -> None:
    """Bring what searches know of a runbook up to date: nothing when it is not in use."""
    remove(tx, runbook.id)
    if not runbook.is_active:
        return
    found = indexing.index(runbook.title, runbook.tags, runbook.content, runbook.service_id, runbook.environment_id)
    document = tsvector(found.terms) if tx.engine == "postgresql" else " ".join(found.terms)
    # Of an id that sorts by time as much as an integer holds: rises with every change, whoever makes it.
    place = new_id().int >> 64
    tx.execute(
        insert(Searchable).values(
            place=place,
            runbook_id=runbook.id,
            document=document,
            stems=found.stems,
            title=found.title,
            tags=found.tags,
            counts=found.counts,
            length=found.length,
        )
    )
    if tx.engine == "sqlite":
        tx.execute(insert(_INDEX).values(rowid=place, terms=document))


def remove(tx: Transaction, runbook_id: UUID) -> None:
    """Let searches find a runbook no more."""
    if tx.engine == "sqlite":
        known = tx.row(select(Searchable.place, Searchable.document).where(Searchable.runbook_id == runbook_id))
        if known is not None:
            gone = {"runbook_index": "delete", "rowid": known.place, "terms": known.document}
            tx.execute(insert(_INDEX).values(**gone))
    tx.execute(delete(Searchable).where(Searchable.runbook_id == runbook_id))


def prepare(tx: Reading) -> None:
    """Have the index used, for the rest of the snapshot.

    PostgreSQL does not know what reading a tsvector costs that is stored apart from its row: for words that many have
    it would rather read all of them.
    """
    if tx.engine == "postgresql":
        tx.scalar(select(func.set_config("enable_seqscan", "off", literal_column("true"))))


def newest(tx: Reading, lookup: Lookup, limit: int) -> Sequence[Record]:
    """Return the candidates that changed last, newest first: `place`, and what ranking.Candidate says."""
    columns: list[Any] = [Searchable.title, Searchable.tags, Searchable.counts, Searchable.length]  # of different types
    return _newest(tx, lookup, limit, columns)


def newest_suspects(tx: Reading, lookup: Lookup, limit: int) -> Sequence[Record]:
    """As `newest`, with what ranking.Suspect says."""
    columns: list[Any] = [
        Searchable.title,
        Searchable.tags,
        Searchable.counts,
        Searchable.length,
        func.substr(Searchable.stems, 1, _STEMS_READ).label("stems"),
        Runbook.service_id,
        Runbook.environment_id,
    ]
    return _newest(tx, lookup, limit, columns, with_runbook=True)


def _newest(
    tx: Reading, lookup: Lookup, limit: int, columns: list[Any], *, with_runbook: bool = False
) -> Sequence[Record]:
    found = _matching(tx.engine, lookup).order_by(_order(tx.engine)).limit(limit).subquery()
    statement = select(Searchable.place, *columns).join(found, found.c.place == Searchable.place)
    if with_runbook:
        statement = statement.join(Runbook, Runbook.id == Searchable.runbook_id)
    return tx.rows(statement.order_by(Searchable.place.desc()))


def count(tx: Reading, lookup: Lookup, limit: int | None) -> int:
    """Return how many runbooks match; at most `limit`."""
    matches = _matching(tx.engine, lookup).with_only_columns(literal(1), maintain_column_froms=True)
    return int(tx.scalar(select(func.count()).select_from(matches.limit(limit).subquery())))


def _order(engine: str) -> ColumnElement[int]:
    """Return the order of the newest first. FTS5 reads in it.

    PostgreSQL must not, though the limit tempts it to: it would read the tsvector of every runbook on the way. No index
    has the order of an expression.
    """
    return (Searchable.place + 0).desc() if engine == "postgresql" else _place(engine).desc()


def _place(engine: str) -> ColumnElement[int]:
    return Searchable.place if engine == "postgresql" else _INDEX.c.rowid  # type: ignore[return-value]  # a column of either


def _matching(engine: str, lookup: Lookup) -> Select[Any]:
    """Select the `place` of each runbook that matches."""
    statement = select(_place(engine).label("place")).where(_condition(engine, lookup))
    if lookup.phrases:
        if engine == "sqlite":
            statement = statement.join(Searchable, Searchable.place == _INDEX.c.rowid)
        statement = statement.where(*(Searchable.stems.contains(phrase, autoescape=True) for phrase in lookup.phrases))
    for stems in lookup.no_phrases:
        with_it = _matching(engine, lookup_of_phrase(stems)).subquery()
        statement = statement.where(_place(engine).not_in(select(with_it.c.place)))
    return statement


def _condition(engine: str, lookup: Lookup) -> ColumnElement[bool]:
    if engine == "postgresql":
        return Searchable.document.bool_op("@@")(literal(tsquery(lookup), TSQUERY()))
    return _INDEX.c.runbook_index.bool_op("MATCH")(literal(fts5(lookup), Text()))
