"""Looking terms up in a full-text index: one expression, for PostgreSQL's tsquery or SQLite's FTS5. Pure.

Terms come from indexing.py and query.py alone, so they hold no character that means something to either, and are quoted
all the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from relman_server.runbooks.indexing import EVERY, SHORT, pair
from relman_server.runbooks.query import Beginning, Query, Term, Word

_BEGINS = "="  # terms that begin so are looked up as beginnings


@dataclass(frozen=True)
class Lookup:
    """What a runbook must have to match.

    Attributes:
        every: All of these terms.
        some: Of each of these, one at least.
        none: None of these terms.
        phrases: Stems that follow each other, somewhere; the terms only say where they may.
        no_phrases: Stems that nowhere do.
    """

    every: tuple[str, ...] = ()
    some: tuple[tuple[str, ...], ...] = ()
    none: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    no_phrases: tuple[tuple[str, ...], ...] = ()

    def with_some(self, terms: Iterable[str]) -> "Lookup":
        """Return the lookup of those among them that have one of these terms, too."""
        return replace(self, some=(*self.some, tuple(terms)))

    def with_one_in(self, field: str, stems: Sequence[str]) -> "Lookup":
        """Return the lookup of those among them with one of these stems in the title (field "^") or a tag ("+")."""
        narrower = self.with_some(f"{field}{stem}" for stem in stems)
        # What is in a field is in the runbook: that need not be looked up, too.
        return replace(narrower, every=tuple(each for each in self.every if [each] != list(stems)))


def lookup_of(query: Query, facets: Iterable[tuple[str, ...]] = ()) -> Lookup:
    """Return the lookup of a query among the runbooks that have one term of each facet."""
    phrases = [term.stems for term in query.wanted if isinstance(term, Word) and len(term.stems) > 1]
    forbidden = [term.stems for term in query.unwanted if isinstance(term, Word) and len(term.stems) > 1]
    return Lookup(
        every=tuple(dict.fromkeys(name for term in query.wanted for name in _names(term))),
        some=tuple(facets),
        none=tuple(name for term in query.unwanted if not _is_phrase(term) for name in _names(term)),
        phrases=tuple(f" {' '.join(stems)} " for stems in phrases),
        no_phrases=tuple(forbidden),
    )


def lookup_of_phrase(stems: tuple[str, ...]) -> Lookup:
    """Return the lookup of a phrase alone."""
    return lookup_of(Query(wanted=(Word(stems),)))


def _is_phrase(term: Term) -> bool:
    return isinstance(term, Word) and len(term.stems) > 1


def _names(term: Term) -> list[str]:
    if isinstance(term, Beginning):
        short = len(term.text) <= SHORT and term.text.isascii()
        return [f"*{term.text}" if short else f"{_BEGINS}{term.text}"]
    return [*term.stems, *(pair(*two) for two in zip(term.stems, term.stems[1:], strict=False))]


def tsquery(lookup: Lookup) -> str:
    """Return the expression as PostgreSQL's tsquery reads it."""

    def one(term: str) -> str:
        return _quoted(term, "'") + (":*" if term.startswith(_BEGINS) else "")

    parts = [one(term) for term in lookup.every]
    parts += [f"({' | '.join(map(one, terms))})" for terms in lookup.some]
    return " & ".join([*(parts or [one(EVERY)]), *(f"!{one(term)}" for term in lookup.none)])


def fts5(lookup: Lookup) -> str:
    """Return the expression as SQLite's FTS5 reads it."""

    def one(term: str) -> str:
        return _quoted(term, '"') + ("*" if term.startswith(_BEGINS) else "")

    parts = [one(term) for term in lookup.every]
    parts += [f"({' OR '.join(map(one, terms))})" for terms in lookup.some]
    wanted = " AND ".join(parts or [one(EVERY)])
    return f"({wanted}) NOT ({' OR '.join(map(one, lookup.none))})" if lookup.none else wanted


def tsvector(terms: Iterable[str]) -> str:
    """Return terms as PostgreSQL's tsvector reads them."""
    return " ".join(_quoted(term, "'") for term in terms)


def _quoted(term: str, quote: str) -> str:
    return f"{quote}{term.replace(quote, quote * 2)}{quote}"
