"""Which matches are ranked and how many there are, told from a list of all; and what databases read to find out."""

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, MetaData, Table, insert, select

from relman_client.v1 import runbook_pb2 as pb
from relman_server.kernel.db import Database, schema
from relman_server.kernel.db.engine import write_engine
from relman_server.kernel.db.transaction import Reading
from relman_server.runbooks import candidates, indexing, matching, places, ranking, search_store
from relman_server.runbooks import search as searching
from relman_server.runbooks.inputs import SearchRunbooks
from relman_server.runbooks.lookup import tsvector
from relman_server.runbooks.model import Searchable
from relman_server.runbooks.query import Beginning, Query, Term, Word, parse
from tests.conftest import MovableClock
from tests.factories import RunningServer, make_runbook
from tests.services.postgres import Postgres
from tests.statements import executed
from tests.upgrades import upgrade

WORDS = ["restart", "restarting", "kafka", "disk", "lag", "lagged", "pool", "café", "broker", "kubelet"]
CANDIDATES, COUNTED = 4, 9


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so few runbooks be many that a test can write them."""
    monkeypatch.setattr(searching, "CANDIDATES", CANDIDATES)
    monkeypatch.setattr(candidates, "COUNTED", COUNTED)
    monkeypatch.setattr(candidates, "RECENT", 5)
    monkeypatch.setattr(places, "FINEST", 0)
    monkeypatch.setattr(candidates, "COARSE", 0)


async def test_what_is_found_is_what_reading_all_of_them_finds(own_server: RunningServer, few: None) -> None:
    chosen = random.Random(7)
    library = [await _write(own_server, chosen) for _ in range(40)]
    for _ in range(12):  # and some of them change, so they are the newest
        changed = library.pop(chosen.randrange(len(library)))
        request = pb.UpdateRunbookRequest(runbook=changed.id, title=_text(chosen, 3), content=_text(chosen, 8))
        library.append(await own_server.admin.runbooks.UpdateRunbook(request))
    sizes = set()
    for query in (_query(chosen) for _ in range(120)):
        found = await own_server.admin.runbooks.SearchRunbooks(pb.SearchRunbooksRequest(query=query))
        expected, total = _read_all(library, parse(query))
        assert [result.runbook.id for result in found.results] == expected, query
        assert (found.total_size, found.total_is_exact) == (min(total, COUNTED), total <= COUNTED), query
        sizes.add(total)
    assert {0, 1, CANDIDATES, CANDIDATES + 1, COUNTED, COUNTED + 1} <= sizes


async def _write(server: RunningServer, chosen: random.Random) -> pb.Runbook:
    tags = ["tagged", "pool"][: chosen.randrange(3)]
    content = _text(chosen, chosen.choice((2, 6)))
    return await make_runbook(server.admin, title=_text(chosen, 2), content=content, tags=tags)


def _text(chosen: random.Random, size: int) -> str:
    """Return words, the first of WORDS more often than the last."""
    return " ".join(chosen.choices(WORDS, weights=range(len(WORDS), 0, -1), k=size))


def _query(chosen: random.Random) -> str:
    kinds = ("{0}", "{0} {1}", '"{0} {1}"', "{2}*", "{0} -{1}", '{0} -"{1} {0}"', '{0} "{1} {0}" -{2}*', "tagged {0}")
    one, other = chosen.choices(WORDS, k=2)
    return chosen.choice(kinds).format(one, other, one[: chosen.choice((1, 3, 4, 6))])


def _read_all(library: Sequence[pb.Runbook], query: Query) -> tuple[list[str], int]:
    """Return the ids of what is found, in order, and how many match."""
    known: dict[str, Any] = {each.id: _indexed(each) for each in reversed(library)}  # the newest first
    matching = [
        runbook_id
        for runbook_id, each in known.items()
        if all(_has(each, term) for term in query.wanted) and not any(_has(each, term) for term in query.unwanted)
    ]
    chosen = matching
    if len(matching) > CANDIDATES:
        stems = [stem for term in query.wanted if isinstance(term, Word) for stem in term.stems]
        likely = [each for sign in "^+" for each in matching if {sign + stem for stem in stems} & {*known[each].terms}]
        chosen = list(dict.fromkeys([*likely, *matching]))[:CANDIDATES]
    ranks = dict(zip(chosen, ranking.ranks([known[each] for each in chosen], query.wanted), strict=True))
    return sorted((each for each in known if each in ranks), key=lambda each: -ranks[each]), len(matching)


def _indexed(runbook: pb.Runbook) -> indexing.Indexed:
    return indexing.index(runbook.title, runbook.tags, runbook.content, None, None)


def _has(known: indexing.Indexed, term: Term) -> bool:
    if isinstance(term, Beginning):
        return any(each.startswith(f"={term.text}") for each in known.terms)
    return f" {' '.join(term.stems)} " in known.stems


async def test_of_a_word_that_all_have_postgresql_looks_only_at_the_newest(
    own_server: RunningServer, few: None
) -> None:
    if own_server.app.db.engine != "postgresql":
        pytest.skip("FTS5 reads the newest first")
    for number in range(30):
        await make_runbook(own_server.admin, title=f"{number}", content="kafka pool")
    seen: list[tuple[str, Any]] = []
    with executed(own_server.app.db, lambda statement, parameters: seen.append((statement, parameters))):
        found = await own_server.admin.runbooks.SearchRunbooks(pb.SearchRunbooksRequest(query="kafka pool"))
    assert [result.runbook.title for result in found.results] == ["29", "28", "27", "26"]
    assert (found.total_size, found.total_is_exact) == (COUNTED, False)
    # The settings, the newest, how many, what is shown; and a title and a tag, among the recent and everywhere.
    assert len(seen) == 8
    newest, count = (
        each for each in seen if "@@" in each[0] and "^kafka" not in str(each[1]) and "+k" not in str(each[1])
    )
    assert await own_server.app.db.snapshot(_read_by_index, *newest) == 6
    assert await own_server.app.db.snapshot(_read_by_index, *count) < 20


def _read_by_index(tx: Reading, statement: str, parameters: Any) -> int:
    """Return how many rows PostgreSQL's index of terms finds for a statement."""
    candidates.prepare(tx)
    connection = tx._execute.__self__  # type: ignore[attr-defined]  # the connection whose method it is
    plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN ANALYZE {statement}", parameters))
    (read,) = re.findall(r"Bitmap Index Scan on ix_runbook_search_document.*rows=(\d+)\.00 loops", plan)
    return int(read)


# --- what was there before


async def test_runbooks_of_an_older_release_are_found_by_their_beginnings_in_the_same_order(
    engine_name: str, postgres: Postgres, tmp_path: Any, clock: MovableClock
) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}" if engine_name == "sqlite" else postgres.url(postgres.create_database())
    engine = write_engine(url, 1)
    upgrade(engine, "0011")
    for place, title in ((3 << 50, "newest"), (1 << 50, "oldest"), (2 << 50, "between")):
        _insert_before(engine, place, title)
    schema.migrate(engine)
    db = Database(url, clock=clock, connections=1)
    try:
        found = await db.snapshot(searching.search_runbooks, SearchRunbooks(query="kaf* -zookeeper"))
        stored = await db.read(lambda tx: tx.rows(select(Searchable.place, Searchable.document).order_by("place")))
    finally:
        db.close()
        engine.dispose()
    assert [each.runbook.title for each in found.rows] == ["newest", "between", "oldest"]
    terms = indexing.index("newest", [], "Kafka", None, None).terms
    place, document = stored[-1].place, stored[-1].document
    with_places = search_store.document(engine_name, terms, place)
    assert sorted(document.split(" ")) == sorted(with_places.split(" "))
    if engine_name == "postgresql":
        assert [row.place for row in stored] == [1, 2, 3]


def _insert_before(engine: Engine, place: int, title: str) -> None:
    """Write a runbook as the older release did."""
    metadata = MetaData()
    runbook, search = (Table(name, metadata, autoload_with=engine) for name in ("runbook", "runbook_search"))
    row_id = uuid4() if engine.dialect.name == "postgresql" else uuid4().hex
    now = datetime(2026, 1, 1, tzinfo=UTC)
    known = indexing.index(title, [], "Kafka", None, None)
    terms = [term for term in known.terms if not (term.startswith("*") and len(term) == 4)]
    document = tsvector(terms) if engine.dialect.name == "postgresql" else " ".join(terms)
    texts = {"stems": known.stems, "title": known.title, "tags": known.tags, "counts": known.counts, "length": 1}
    fields: dict[str, Any] = {
        "id": row_id,
        "title": title,
        "content": "Kafka",
        "tags": [],
        "is_active": True,
        "version": 1,
    }
    with engine.begin() as connection:
        connection.execute(insert(runbook).values(**fields, created_at=now, updated_at=now, row_version=1))
        connection.execute(insert(search).values(place=place, runbook_id=row_id, document=document, **texts))
        if engine.dialect.name == "sqlite":
            connection.execute(insert(matching.INDEX).values(rowid=place, terms=document))
