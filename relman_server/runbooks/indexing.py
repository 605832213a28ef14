"""What a search knows of a runbook: its terms. Pure.

A full-text index is a map from terms to runbooks, so everything that has to be quick is a term, told apart by its first
character, which no word has:

- `lag` the stem of a word, wherever it is; `^lag` in the title; `+lag` in a tag
- `=lagging` a word as it is written, for beginnings of four characters and more; `*l`, `*la` and `*lag` for shorter
  ones: so many words have these that looking them up one by one would take long
- `~9f3c` two stems that follow each other, as a hash: few runbooks have it, so few are looked at for a phrase
- `@` every runbook; `@s` and `@s` with an id: about all services, or one; `@e` likewise; `@t` with the name of a tag
- `@p` with a block of places (places.py): on PostgreSQL, which needs it to find the newest
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID
from zlib import crc32

from relman_server.runbooks.words import STOP_WORDS, stems_of, words_of

MAX_WORDS = 20_000
MAX_BYTES = 250_000
"""Of a content, as many words as these are searched: PostgreSQL's tsvector holds 1 MiB of terms."""
COUNTED = 300
"""Words of a content whose counts are kept: those that are there most often, more than once."""
SHORT = 3
"""Beginnings up to this length are terms of their own."""

EVERY = "@"
BETWEEN = "|"
"""Stands between texts that are no neighbours, so that no phrase reaches over it."""


@dataclass(frozen=True)
class Indexed:
    """What is stored of a runbook for searches; see model.Searchable."""

    terms: tuple[str, ...]
    stems: str
    title: str
    tags: str
    counts: str
    length: int


def index(
    title: str, tags: Sequence[str], content: str, service_id: UUID | None, environment_id: UUID | None
) -> Indexed:
    """Return what searches know of a runbook."""
    titled = words_of(title)
    tagged = [words_of(tag) for tag in tags]
    written = _bounded(words_of(content))
    title_stems, content_stems = stems_of(titled), stems_of(written)
    tag_stems = [stems_of(each) for each in tagged]
    texts = [title_stems, *tag_stems, content_stems]
    words = {*titled, *written, *(word for each in tagged for word in each)} - STOP_WORDS
    terms = {
        EVERY,
        about("s", service_id),
        about("e", environment_id),
        *(f"@t{tag}" for tag in tags),
        *(stem for stems in texts for stem in stems),
        *(f"^{stem}" for stem in title_stems),
        *(f"+{stem}" for stems in tag_stems for stem in stems),
        *(f"={word}" for word in words),
        *(f"*{word[:size]}" for word in words if word.isascii() for size in range(1, SHORT + 1)),
        *(pair(*two) for stems in texts for two in pairwise(stems)),
    }
    return Indexed(
        terms=tuple(sorted(terms)),
        stems=BETWEEN.join(_spaced(stems) for stems in texts),
        title=_spaced([*title_stems, *(f"={word}" for word in titled)]),
        tags=BETWEEN.join(_spaced([*stems_of(words), *(f"={word}" for word in words)]) for words in tagged),
        counts=_counts(content_stems, {*title_stems, *(stem for stems in tag_stems for stem in stems)}),
        length=len(content_stems),
    )


def about(what: str, resource_id: UUID | None) -> str:
    """Return the term of runbooks about a service (what is "s") or environment ("e"); None: about all."""
    return f"@{what}{resource_id.hex if resource_id else ''}"


def pair(first: str, second: str) -> str:
    """Return the term of two stems that follow each other. Others may have the same: who has it may have the pair."""
    return f"~{crc32(f'{first} {second}'.encode()) & 0xFFFF:04x}"


def _spaced(words: Iterable[str]) -> str:
    """Return words with a space on both sides of each, so that ` word ` is in the text when the word is."""
    return f" {' '.join(words)} "


def _counts(stems: Sequence[str], elsewhere: set[str]) -> str:
    """Return the counts of words that are there more than once; of those in the title and tags also when it is once.

    So a word without a count is there once when it is nowhere else, and else not at all.
    """
    counts = Counter(stems)
    kept = {stem: count for stem, count in counts.most_common(COUNTED) if count > 1}
    kept |= {stem: counts[stem] for stem in sorted(elsewhere) if stem in counts}
    return _spaced(f"{stem}={count}" for stem, count in kept.items())


def _bounded(words: list[str]) -> list[str]:
    size = 0
    for number, word in enumerate(words[:MAX_WORDS]):
        size += len(word.encode())
        if size > MAX_BYTES:
            return words[:number]
    return words[:MAX_WORDS]
