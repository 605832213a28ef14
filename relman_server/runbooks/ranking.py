"""How well a runbook matches: one formula, in Python, so that both databases give the same order. Pure.

Each term of the query counts 10 in the title, 4 in a tag and up to 3 in the content: a title weighs over tags, and tags
over content. In the content it is the more the more often the term is there, with less for each time more, and less in
a long text (as BM25 has it). A title that the query says in full gets up to 1 more. A phrase counts as its words.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import Protocol
from uuid import UUID

from relman_server.runbooks.query import Beginning, Term

TITLE = 10.0
TAGS = 4.0
CONTENT = 3.0
COVERED = 1.0
_HALF = 3.0  # so many times in a text of the usual length count half of what is possible
_USUAL_LENGTH = 300
_LONGEST = 3000  # longer texts are treated as this long

OF_SERVICE = 10.0
OF_ENVIRONMENT = 5.0
FOR_ALL = 1.0
SYMPTOMS = 8.0


class Candidate(Protocol):
    """A row of model.Searchable."""

    title: str
    tags: str
    counts: str
    length: int


class Suspect(Protocol):
    """A candidate for a deployment: what it is about, and its stems."""

    service_id: UUID | None
    environment_id: UUID | None
    title: str
    stems: str


@dataclass(frozen=True)
class _Sign:
    """How a term of the query is found in what is stored for ranking.

    Attributes:
        text: What is in a title, or in tags, when the term is.
        weight: How many words it is.
        counts: What stands before the counts of its stems; of a beginning none are kept.
    """

    text: str
    weight: int
    counts: tuple[str, ...]


def ranks(candidates: Sequence[Candidate], wanted: Sequence[Term]) -> list[float]:
    """Return how well runbooks match that have every term; at least 0."""
    signs = [_sign(term) for term in wanted]
    return [_rank(candidate, signs) for candidate in candidates]


def _sign(term: Term) -> _Sign:
    if isinstance(term, Beginning):
        return _Sign(f" ={term.text}", 1, ())
    return _Sign(f" {' '.join(term.stems)} ", len(term.stems), tuple(f" {stem}=" for stem in term.stems))


def _rank(candidate: Candidate, signs: Sequence[_Sign]) -> float:
    total = 0.0
    in_title = 0
    title, tags, counts = candidate.title, candidate.tags, candidate.counts
    damping = _HALF * (0.4 + 0.6 * min(candidate.length, _LONGEST) / _USUAL_LENGTH)
    for sign in signs:
        titled, tagged = sign.text in title, sign.text in tags
        in_title += sign.weight * titled
        times = 0 if titled or tagged else 1  # at least
        if sign.counts:
            times = max(times, min([_count(counts, before) for before in sign.counts]))
        total += sign.weight * (TITLE * titled + TAGS * tagged + CONTENT * times / (times + damping))
    if in_title:
        total += COVERED * min(in_title / max(title.count(" ="), 1), 1.0)
    return round(total, 9)  # so that the order of additions does not decide


def _count(counts: str, before: str) -> int:
    start = counts.find(before)
    if start < 0:
        return 0
    start += len(before)
    return int(counts[start : counts.index(" ", start)])


def relief(
    candidates: Sequence[Suspect], service_id: UUID, environment_id: UUID, symptoms: Iterable[str]
) -> list[float]:
    """Return how much each of the candidates may help a deployment: the more the rarer what they have of its symptoms.

    Args:
        candidates: All of them: what is rare among them tells more.
        service_id: Of the deployment; a runbook about it counts 10, one about all services 1.
        environment_id: Likewise, 5 and 1.
        symptoms: Stems of what the deployment printed before it failed; together they count up to 8, in the title
            twice.
    """
    weights = _weights(candidates, symptoms)
    whole = sum(weights.values()) or 1.0
    return [
        _about(each.service_id, service_id, OF_SERVICE)
        + _about(each.environment_id, environment_id, OF_ENVIRONMENT)
        + SYMPTOMS
        * sum(
            weight * (2 if f" {stem} " in each.title else 1)
            for stem, weight in weights.items()
            if f" {stem} " in each.stems
        )
        / whole
        for each in candidates
    ]


def _weights(candidates: Sequence[Suspect], symptoms: Iterable[str]) -> dict[str, float]:
    found = {stem: sum(f" {stem} " in each.stems for each in candidates) for stem in symptoms}
    return {stem: log(1 + len(candidates) / count) for stem, count in found.items() if count}


def _about(found: UUID | None, wanted: UUID, weight: float) -> float:
    if found is None:
        return FOR_ALL
    return weight if found == wanted else 0.0


_SAID_BY_EVERY_LOG = """
call debug error exit fail fatal file info last line log recent statu stderr stdout step success trace traceback warn
"""
_NOT_TELLING = frozenset(_SAID_BY_EVERY_LOG.split())
_ALARM = re.compile(
    "error|fail|fatal|panic|exception|refused|denied|timed? ?out|cannot|unable|killed|exceeded", re.IGNORECASE
)
_OPAQUE = re.compile(r"\d+|[0-9a-f]{7,}|.{1,2}|.{30,}")
MAX_SYMPTOMS = 16


def symptoms_of(lines: Sequence[str], stems_of_line: Sequence[Sequence[str]]) -> list[str]:
    """Return the stems of log lines that may tell what went wrong, the most telling first; at most 16.

    What is said last, and what is said in a line that speaks of an error, tells more. Numbers, hashes and what every
    log says are left out.
    """
    weights: dict[str, float] = {}
    for number, (line, stems) in enumerate(zip(lines, stems_of_line, strict=True), start=1):
        alarming = 3.0 if _ALARM.search(line) else 1.0
        for stem in dict.fromkeys(stems):
            if stem not in _NOT_TELLING and not _OPAQUE.fullmatch(stem):
                weights[stem] = weights.get(stem, 0.0) + alarming * number / len(lines)
    return sorted(weights, key=lambda stem: (-weights[stem], stem))[:MAX_SYMPTOMS]
