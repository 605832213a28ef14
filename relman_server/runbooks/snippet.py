"""The part of a runbook that a search found, with the words that match marked. Pure.

Words are compared as the search compares them, so what is marked is what was found.
"""

import html
import re
from collections import deque
from collections.abc import Iterable, Sequence

from relman_server.runbooks.query import Beginning, Term, Word
from relman_server.runbooks.words import ASCII_WORD, STOP_WORDS, WORD, plain, stem_of

MAX_CHARACTERS = 500
"""Of a snippet, besides its marks."""
_WINDOW = 240
_READ = 64 * 1024  # of a content; where so much has nothing to show, its beginning is shown
_ENOUGH = 200  # matches; the best place is among the first of them
_SPACES = re.compile(r"\s+")

_ANOTHER = (0, 0, "")  # a word that is in no phrase

Span = tuple[int, int, int]
"""From, to, and which of the terms."""


class Snippets:
    """Finds the best parts of runbooks for a search.

    Args:
        terms: What was looked for.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        self._beginnings = {term.text: number for number, term in enumerate(terms) if isinstance(term, Beginning)}
        self._phrases: dict[str, list[tuple[tuple[str, ...], int]]] = {}  # by their last stem
        for number, term in enumerate(terms):
            if isinstance(term, Word):
                self._phrases.setdefault(term.stems[-1], []).append((term.stems, number))
        self._longest = max((len(stems) for each in self._phrases.values() for stems, _ in each), default=1)
        stems = (stem for term in terms if isinstance(term, Word) for stem in term.stems)
        self._firsts = {text[0] for text in (*stems, *self._beginnings)}
        self._firsts |= {first.upper() for first in self._firsts}
        self._written = ASCII_WORD if self._longest > 1 else self._with_first()
        self._read: dict[str, list[tuple[str, list[int]]]] = {}  # by words as they are written

    def of(self, title: str, content: str) -> str:
        """Return the best part of a content or, when nothing of it matches, the title if that does."""
        marks = self._matches(content[:_READ])
        if not marks:
            titled = self._matches(title)
            if titled:
                return _marked(title, 0, len(title), titled)
        start, end = _window(content, marks)
        return _marked(content, start, end, marks)

    def _with_first(self) -> re.Pattern[str]:
        """Return what finds the words of ASCII that begin as terms do."""
        firsts = "".join(map(re.escape, sorted(self._firsts)))
        # What is before the word is looked at last: an expression that begins with a set is looked up twice as fast.
        return re.compile(rf"[{firsts}](?<![^\W_].)[^\W_]*" if firsts else "(?!)", re.ASCII)

    def _matches(self, text: str) -> list[Span]:
        """Return where terms are in a text, in order; of phrases each of the words."""
        found: list[Span] = []
        recent: deque[tuple[int, int, str]] = deque(maxlen=self._longest)
        for match in (self._written if text.isascii() else WORD).finditer(text):
            written = match[0]
            if written[0] not in self._firsts and written.isascii():  # a word and its stem begin alike
                if self._longest > 1 and written.lower() not in STOP_WORDS:
                    recent.append(_ANOTHER)
                continue
            read = self._read.get(written)
            for stem, begun in self._reading(written) if read is None else read:
                recent.append((*match.span(), stem))
                found += [(*match.span(), number) for number in begun]
                if stem in self._phrases:
                    found += _ending(list(recent), self._phrases[stem])
            if len(found) >= _ENOUGH:
                break
        return sorted(dict.fromkeys(found))

    def _reading(self, written: str) -> list[tuple[str, list[int]]]:
        """Return the stems of what is written as one word, mostly one, each with the beginnings that it has."""
        read = self._read[written] = [
            (stem, [number for begin, number in self._beginnings.items() if word.startswith(begin)])
            for word in plain(written)
            if (stem := stem_of(word))
        ]
        return read


def _ending(recent: Sequence[tuple[int, int, str]], phrases: Iterable[tuple[tuple[str, ...], int]]) -> list[Span]:
    """Return the words of those phrases that the last stems are."""
    return [
        (start, end, number)
        for stems, number in phrases
        if tuple(stem for *_, stem in recent[-len(stems) :]) == stems
        for start, end, _ in recent[-len(stems) :]
    ]


def _window(content: str, marks: Sequence[Span]) -> tuple[int, int]:
    """Return the part with the most different terms, then with the most matches, then the first."""
    if not marks:
        return 0, _back_to_space(content, 0, min(_WINDOW, len(content)))
    best, best_key = 0, (-1, -1)
    last = 0
    for first in range(len(marks)):
        while last < len(marks) and marks[last][1] <= marks[first][0] + _WINDOW * 3 // 4:
            last += 1
        key = (len({which for _, _, which in marks[first:last]}), last - first)
        if key > best_key:
            best, best_key = first, key
    start = max(0, marks[best][0] - _WINDOW // 4)
    if start:  # at a word's beginning
        space = _SPACES.search(content, start, marks[best][0])
        start = space.end() if space else marks[best][0]
    return start, max(_back_to_space(content, start, min(start + _WINDOW, len(content))), marks[best][0] + 1)


def _back_to_space(content: str, start: int, end: int) -> int:
    if end >= len(content):
        return end
    space = max(content.rfind(sign, start, end) for sign in " \n\t")
    return space if space > start else end


def _marked(text: str, start: int, end: int, marks: Sequence[Span]) -> str:
    parts: list[str] = []
    place, room = start, MAX_CHARACTERS - 2
    for first, last in _joined(marks, start, end):
        room = _add(parts, text[place:first], room)
        before = room
        marked: list[str] = []
        room = _add(marked, text[first:last], room)
        if room < before:
            parts.append(f"<mark>{''.join(marked)}</mark>")
        place = last
    _add(parts, text[place:end], room)
    shown = _SPACES.sub(" ", "".join(parts)).strip()
    return f"{'…' if start else ''}{shown}{'…' if end < len(text) else ''}"


def _joined(marks: Sequence[Span], start: int, end: int) -> list[tuple[int, int]]:
    """Return the parts to mark within a window, none of which reaches into another."""
    joined: list[tuple[int, int]] = []
    for first, last, _ in marks:
        if first >= start and last <= end and (not joined or first >= joined[-1][1]):
            joined.append((first, last))
    return joined


def _add(parts: list[str], text: str, room: int) -> int:
    """Add a text, escaped, or as much of it as there is room for; return the room that is left."""
    escaped = html.escape(text)
    if len(escaped) <= room:
        parts.append(escaped)
        return room - len(escaped)
    for character in text:
        one = html.escape(character)
        if len(one) > room:
            break
        parts.append(one)
        room -= len(one)
    return 0
