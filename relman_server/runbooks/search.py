"""Searches: candidates from the full-text index, ranked by one formula.

A query of words that very many runbooks have would have all of them ranked. Of more than CANDIDATES, those are ranked
that have a word of it in their title, then those with one in a tag, then the others, the newest of each: what ranks
high is among them, and a search costs about the same whatever it is for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from relman_server.catalog import store as catalog
from relman_server.environments import store as environments
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.kernel.paging import Listed, cut_page
from relman_server.runbooks import ranking, store
from relman_server.runbooks.candidates import Chosen, Narrower, choose
from relman_server.runbooks.failure import Failure, failure_of
from relman_server.runbooks.indexing import about
from relman_server.runbooks.inputs import SearchRunbooks
from relman_server.runbooks.lookup import lookup_of
from relman_server.runbooks.query import Query, Term, Word, parse
from relman_server.runbooks.snippet import Snippets
from relman_server.runbooks.words import stems_of, words_of

CANDIDATES = 500
"""As many are ranked, and so many can be paged through."""
SUSPECTS = 300
"""The same, for a deployment: they are compared with more words."""
BATCH = store.AT_ONCE
BATCH_BYTES = 3_500_000


@dataclass(frozen=True)
class Found:
    """A runbook that matches: its row, how well, and its part that does; `number` is its place among all, from 1."""

    number: int
    rank: float
    runbook: Record | None = None
    snippet: str = ""


@dataclass(frozen=True)
class _Ranked:
    """What matches, the best first: places and ranks; and how many match in all, or at least."""

    best: Sequence[tuple[int, float]] = ()
    total: int = 0
    is_exact: bool = True
    terms: Sequence[Term] = ()


def search_runbooks(tx: Reading, wanted: SearchRunbooks) -> Listed:
    """Return a page of `Found`; raises NotFound for an unknown service, environment or deployment."""
    failure = failure_of(tx, wanted.deployment) if wanted.deployment else None
    facets = list(_facets(tx, wanted))
    query = parse(wanted.query)
    if failure is not None:
        ranked = _help_for(tx, wanted, query, facets, failure)
    elif query.says_something:
        ranked = _matches(tx, wanted, query, facets)
    else:  # nothing but stop words and signs
        ranked = _Ranked()
    found = [(number, *each) for number, each in enumerate(ranked.best, start=1)]
    page = cut_page(found, wanted, ranked.total, exact=ranked.is_exact)
    return replace(page, rows=_shown(tx, page.rows, ranked.terms))


def _facets(tx: Reading, wanted: SearchRunbooks) -> Iterable[tuple[str, ...]]:
    """Return of which terms a runbook must have one: what it is about, and its tags."""
    if wanted.service:
        yield about("s", None), about("s", catalog.get_service(tx, wanted.service).id)
    if wanted.environment:
        yield about("e", None), about("e", environments.environment_id(tx, wanted.environment))
    yield from ((f"@t{tag}",) for tag in wanted.tags)


def _matches(tx: Reading, wanted: SearchRunbooks, query: Query, facets: Sequence[tuple[str, ...]]) -> _Ranked:
    lookup = lookup_of(query, facets)
    stems = [stem for term in query.wanted if isinstance(term, Word) for stem in term.stems]
    spaced = [f" {stem} " for stem in stems]
    narrower = [
        Narrower(lookup.with_one_in("^", stems), lambda row: any(stem in row.title for stem in spaced)),
        Narrower(lookup.with_one_in("+", stems), lambda row: any(stem in row.tags for stem in spaced)),
    ]
    found = choose(tx, lookup, narrower if stems else (), CANDIDATES, compared=False, everything=wanted.exact_total)
    return _ranked(found, ranking.ranks(found.rows, query.wanted), query.wanted)


def _help_for(
    tx: Reading, wanted: SearchRunbooks, query: Query, facets: Sequence[tuple[str, ...]], failure: Failure
) -> _Ranked:
    """Rank what may help a deployment, among what matches the query, if there is one."""
    symptoms = ranking.symptoms_of(failure.lines, [stems_of(words_of(line)) for line in failure.lines])
    here = about("s", failure.service_id)
    lookup = lookup_of(query, facets)
    if not query.says_something:
        lookup = lookup.with_some([here, *symptoms])
    of_service = Narrower(lookup.with_some([here]), lambda row: row.service_id == failure.service_id)
    alike = Narrower(
        of_service.lookup.with_some(symptoms),
        lambda row: of_service.has_it(row) and any(f" {stem} " in row.stems for stem in symptoms),
    )
    there = Narrower(
        lookup.with_some([about("e", failure.environment_id)]),
        lambda row: row.environment_id == failure.environment_id,
    )
    narrower = [alike, of_service, there] if symptoms else [of_service, there]
    found = choose(tx, lookup, narrower, SUSPECTS, compared=True, everything=wanted.exact_total)
    ranks = ranking.relief(found.rows, failure.service_id, failure.environment_id, symptoms)
    if query.says_something:
        ranks = [sum(both) for both in zip(ranks, ranking.ranks(found.rows, query.wanted), strict=True)]
    return _ranked(found, ranks, query.wanted or [Word((stem,)) for stem in symptoms])


def _ranked(found: Chosen, ranks: Sequence[float], terms: Sequence[Term]) -> _Ranked:
    """Put the best first; of those that are as good, the one that changed last."""
    best = sorted(zip(ranks, (row.place for row in found.rows), strict=True), reverse=True)
    return _Ranked([(place, rank) for rank, place in best], found.total, found.is_exact, terms)


def _shown(tx: Reading, rows: Sequence[tuple[int, int, float]], terms: Sequence[Term]) -> list[Found]:
    """Return a page with its texts, as far as an answer may hold them; the rest has none and is cut off later."""
    found: list[Found] = []
    snippets = Snippets(terms)
    size = 0
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        runbooks = store.runbooks_at(tx, [place for _, place, _ in batch])
        for number, place, rank in batch:
            runbook = runbooks[place]
            size += len(runbook.content)
            found.append(Found(number, rank, runbook, snippets.of(runbook.title, runbook.content)))
        if size > BATCH_BYTES:
            return found + [Found(number, rank) for number, _, rank in rows[start + BATCH :]]
    return found
