"""What someone types into a search, read. Pure: knows neither database nor contract.

The language: words in any form, "several words" as a phrase, wor* as a beginning, -word to leave out. It is data and
cannot be wrong: quotes that do not end do so at the end, everything that is neither a word nor one of these signs in
its place separates words, and AND, OR or NEAR are words.
"""

import re
from dataclasses import dataclass

from relman_server.runbooks.words import stem_of, words_of

_PART = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')


@dataclass(frozen=True)
class Word:
    """Stems that follow each other: one of a single word, more of a phrase."""

    stems: tuple[str, ...]


@dataclass(frozen=True)
class Beginning:
    """How a word begins."""

    text: str


Term = Word | Beginning


@dataclass(frozen=True)
class Query:
    """What is looked for.

    Attributes:
        wanted: All of these must be there.
        unwanted: None of these may.
    """

    wanted: tuple[Term, ...] = ()
    unwanted: tuple[Term, ...] = ()

    @property
    def says_something(self) -> bool:
        """Whether it says what is looked for; the words of which it consists may all tell nothing."""
        return bool(self.wanted or self.unwanted)


def parse(text: str) -> Query:
    """Read a query; each term counts once."""
    wanted: dict[Term, None] = {}
    unwanted: dict[Term, None] = {}
    for minus, phrase, plain in _PART.findall(text):
        # Of "--force" the minus is part of the word, as people copy it from a command.
        into = unwanted if minus and not plain.startswith("-") else wanted
        into.update(dict.fromkeys(_terms(phrase or plain, quoted=not plain)))
    return Query(tuple(wanted), tuple(unwanted))


def _terms(text: str, *, quoted: bool) -> list[Term]:
    """Return the terms of what stands between spaces or quotes: "kube-proxy" is the phrase of its two words."""
    words = words_of(text)
    if not quoted and text.endswith("*") and words:
        *before, last = words
        return [*_word(before), Beginning(last)]
    return _word(words)


def _word(words: list[str]) -> list[Term]:
    stems = tuple(stem for stem in map(stem_of, words) if stem)
    return [Word(stems)] if stems else []
