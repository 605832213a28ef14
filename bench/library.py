"""A large library of runbooks, built once for each database and kept under bench/data."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, column, insert, table, text

from bench import kept
from bench.kit import Kit
from bench.servers import Relman
from relman_server.kernel.db import schema
from relman_server.kernel.db.engine import write_engine
from relman_server.kernel.ids import new_id
from relman_server.runbooks import indexing, search_store
from relman_server.runbooks.model import Runbook, Searchable

FORMAT = 3
"""Of what is kept; raise it when the library or its tables change."""
WORDS = 200
_BATCH = 500
_SYLLABLES = [first + second for first in "bcdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er", "ol")]


def _vocabulary(size: int) -> list[str]:
    """Return words from the commonest to the rarest, always the same."""
    chosen = random.Random(1)  # noqa: S311 - a data set, not a secret
    words: dict[str, None] = {}
    while len(words) < size:
        words["".join(chosen.choices(_SYLLABLES, k=chosen.choice((2, 3, 3, 4))))] = None
    return list(words)


VOCABULARY = _vocabulary(30_000)


def servers(kit: Kit, size: int) -> AbstractContextManager[Mapping[str, Relman]]:
    """Serve the library over each database."""
    return kept.servers(kit, f"runbooks-{FORMAT}-{size}", lambda url: _fill(url, size))


def _fill(url: str, size: int) -> None:
    """Make the tables and fill them, as the server would one by one."""
    engine = write_engine(url, 1)
    schema.migrate(engine)
    is_postgres = engine.dialect.name == "postgresql"
    if is_postgres:
        _execute(engine, "DROP INDEX ix_runbook_search_document")
    for number, batch in enumerate(_batches(size)):
        _store(engine, 1 + number * _BATCH, batch)
    if is_postgres:
        _execute(engine, "SELECT setval('runbook_place', (SELECT max(place) FROM runbook_search))")
        _execute(engine, "SET LOCAL maintenance_work_mem = '256MB'", _GIN)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


_GIN = "CREATE INDEX ix_runbook_search_document ON runbook_search USING gin (document) WITH (fastupdate = off)"


def _execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        for statement in statements:
            connection.execute(text(statement))


def _batches(size: int) -> Iterator[Sequence[dict[str, Any]]]:
    rows = _runbooks(size)
    while batch := list(itertools.islice(rows, _BATCH)):
        yield batch


def _runbooks(size: int) -> Iterator[dict[str, Any]]:  # columns and their values
    """Make runbooks whose words are the rarer the further behind in the vocabulary, as 1 / rank."""
    chosen = random.Random(2)  # noqa: S311 - a data set, not a secret
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(VOCABULARY) + 1)))
    now = datetime.now(UTC)
    for _ in range(size):
        words = chosen.choices(VOCABULARY, cum_weights=weights, k=max(20, int(chosen.gauss(WORDS, WORDS / 3))))
        yield {
            "id": new_id(),
            "title": " ".join(chosen.choices(VOCABULARY, cum_weights=weights, k=5)),
            "content": ". ".join(" ".join(words[start : start + 8]) for start in range(0, len(words), 8)),
            "tags": chosen.sample(VOCABULARY[100:150], 2),
            "is_active": True,
            "version": 1,
            "created_at": now,
            "updated_at": now,
            "row_version": 1,
        }


_INDEX = table("runbook_index", column("rowid"), column("terms"))


def _store(engine: Engine, first: int, runbooks: Sequence[dict[str, Any]]) -> None:
    dialect = engine.dialect.name
    rows = [_searchable(runbook, place, dialect) for place, runbook in enumerate(runbooks, start=first)]
    with engine.begin() as connection:
        connection.execute(insert(Runbook), list(runbooks))
        connection.execute(insert(Searchable), rows)
        if dialect == "sqlite":
            terms = [{"rowid": row["place"], "terms": row["document"]} for row in rows]
            connection.execute(insert(_INDEX), terms)


def _searchable(runbook: Mapping[str, Any], place: int, dialect: str) -> dict[str, Any]:  # columns and their values
    found = indexing.index(runbook["title"], runbook["tags"], runbook["content"], None, None)
    return {
        "place": place,
        "runbook_id": runbook["id"],
        "document": search_store.document(dialect, found.terms, place),
        **{name: getattr(found, name) for name in ("stems", "title", "tags", "counts", "length")},
    }
