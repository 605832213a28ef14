"""The full-text index: PostgreSQL's GIN over a tsvector, SQLite's FTS5. It changes in the transaction of the runbook.

FTS5 keeps no texts here (`content=''`, `detail=none`): to take a runbook out of it, it is told the terms again, which
`runbook_search.document` keeps on SQLite.
"""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import delete, func, insert, select

from relman_server.kernel.db.transaction import Transaction
from relman_server.runbooks import indexing
from relman_server.runbooks.lookup import tsvector
from relman_server.runbooks.matching import INDEX
from relman_server.runbooks.model import PLACES, Runbook, Searchable
from relman_server.runbooks.places import blocks_of


def put(tx: Transaction, runbook: Runbook) -> None:
    """Bring what searches know of a runbook up to date: nothing when it is not in use."""
    remove(tx, runbook.id)
    if not runbook.is_active:
        return
    found = indexing.index(runbook.title, runbook.tags, runbook.content, runbook.service_id, runbook.environment_id)
    place = _next_place(tx)
    terms = document(tx.engine, found.terms, place)
    tx.execute(
        insert(Searchable).values(
            place=place,
            runbook_id=runbook.id,
            document=terms,
            stems=found.stems,
            title=found.title,
            tags=found.tags,
            counts=found.counts,
            length=found.length,
        )
    )
    if tx.engine == "sqlite":
        tx.execute(insert(INDEX).values(rowid=place, terms=terms))


def _next_place(tx: Transaction) -> int:
    """Return a place above all others. PostgreSQL's writers do not wait for each other, so one may be left out."""
    following = PLACES.next_value() if tx.engine == "postgresql" else func.coalesce(func.max(Searchable.place), 0) + 1
    place: int = tx.scalar(select(following))
    return place


def document(engine: str, terms: Iterable[str], place: int) -> str:
    """Return the terms of a runbook as the full-text index takes them."""
    return tsvector((*terms, *blocks_of(place))) if engine == "postgresql" else " ".join(terms)


def remove(tx: Transaction, runbook_id: UUID) -> None:
    """Let searches find a runbook no more."""
    if tx.engine == "sqlite":
        known = tx.row(select(Searchable.place, Searchable.document).where(Searchable.runbook_id == runbook_id))
        if known is not None:
            gone = {"runbook_index": "delete", "rowid": known.place, "terms": known.document}
            tx.execute(insert(INDEX).values(**gone))
    tx.execute(delete(Searchable).where(Searchable.runbook_id == runbook_id))
