"""The full-text index: PostgreSQL's GIN over a tsvector, SQLite's FTS5. It changes in the transaction of the runbook.

FTS5 keeps no texts here (`content=''`, `detail=none`): to take a runbook out of it, it is told the terms again, which
`runbook_search.document` keeps on SQLite.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
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
Newest = Callable[..., Sequence[Record]]
"""`newest` or `newest_suspects`."""

RECENT = 3_000
"""Runbooks among which, on PostgreSQL, the newest are looked for first."""
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


# PostgreSQL does not know what it costs to read a tsvector that is stored apart from its row: for words that many have
# it would rather read all of them. So only what indexes say is put together, and no row is read that need not be. To
# start workers would take longer than a search.
_SETTINGS = {
    "enable_seqscan": "off",
    "enable_indexscan": "off",
    "seq_page_cost": "100",
    "random_page_cost": "100",
    "max_parallel_workers_per_gather": "0",
}


def prepare(tx: Reading) -> int | None:
    """Have the index of terms used, for the rest of the snapshot; return the place of the oldest of the RECENT.

    Of a word that most runbooks have, GIN gives all, in no order, and to sort them by place is to read their rows: the
    newest are found among the recent in a fifth of the time. FTS5 reads the newest first anyway. None: do not try.
    """
    if tx.engine == "sqlite":
        return None
    recent = select(Searchable.place).order_by(Searchable.place.desc()).offset(RECENT).limit(1).scalar_subquery()
    settings = (func.set_config(name, value, literal_column("true")) for name, value in _SETTINGS.items())
    place: int | None = tx.scalar(select(recent, *settings))
    return place


def candidates(
    tx: Reading, lookup: Lookup, newest: Newest, limit: int, counted: int | None
) -> tuple[Sequence[Record], int]:
    """Return the newest that match, and how many do.

    Args:
        tx: Where to read.
        lookup: What they must have.
        newest: What to return of them: `newest` or `newest_suspects`.
        limit: How many to return at most.
        counted: How many to count at most; None: all.
    """
    since = prepare(tx)
    if tx.engine == "sqlite":
        rows = newest(tx, lookup, limit, counted)
        return rows, rows[0].total if rows else 0
    rows = newest(tx, replace(lookup, since=since), limit) if since is not None else ()
    if len(rows) < limit:
        rows = newest(tx, lookup, limit)
    return rows, len(rows) if len(rows) < limit else _count(tx, lookup, counted)


def newest(tx: Reading, lookup: Lookup, limit: int, counted: int | None = 0) -> Sequence[Record]:
    """Return the candidates that changed last, newest first: `place`, and what ranking.Candidate says.

    Args:
        tx: Where to read.
        lookup: What they must have.
        limit: How many at most.
        counted: On SQLite, how many to count, too, at most (None: all), as `total` in every row: it takes FTS5 as long
            to find what has a word that begins in some way as to find the newest of these.
    """
    columns: list[Any] = [Searchable.title, Searchable.tags, Searchable.counts, Searchable.length]  # of different types
    matching = _matching(tx.engine, lookup)
    if tx.engine == "sqlite":
        return _newest(tx, _first(matching, limit, counted), columns)
    # The columns are in the row that has to be read for its place.
    return tx.rows(matching.with_only_columns(Searchable.place, *columns).order_by(_order(tx.engine)).limit(limit))


def newest_suspects(tx: Reading, lookup: Lookup, limit: int, counted: int | None = 0) -> Sequence[Record]:
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
    matching = _matching(tx.engine, lookup)
    if tx.engine == "sqlite":
        return _newest(tx, _first(matching, limit, counted), columns, with_runbook=True)
    return _newest(tx, matching.order_by(_order(tx.engine)).limit(limit), columns, with_runbook=True)


def _first(matching: Select[Any], limit: int, counted: int | None) -> Select[Any]:
    """Select the newest on SQLite, `place` and, where any are to be counted, the `total`."""
    in_order = matching.order_by(_order("sqlite"))
    if counted == 0:
        return in_order.limit(limit)
    all_ = in_order.limit(counted).cte("matching")
    total = select(func.count()).select_from(all_).scalar_subquery().label("total")
    return select(all_.c.place, total).order_by(all_.c.place.desc()).limit(limit)


def _newest(tx: Reading, first: Select[Any], columns: list[Any], *, with_runbook: bool = False) -> Sequence[Record]:
    found = first.subquery()
    others = [column for column in found.columns if column.name != "place"]
    statement = select(Searchable.place, *others, *columns).join(found, found.c.place == Searchable.place)
    if with_runbook:
        statement = statement.join(Runbook, Runbook.id == Searchable.runbook_id)
    return tx.rows(statement.order_by(Searchable.place.desc()))


def _count(tx: Reading, lookup: Lookup, limit: int | None) -> int:
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
    if lookup.since is not None:
        statement = statement.where(_place(engine) >= lookup.since)
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
