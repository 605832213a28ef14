"""Words: one way to take text apart and to bring words into one form, for what is searched and for what is asked.

Both databases are handed the result, so that neither's own idea of words and endings matters, and both give the same
answers.
"""

import re
import threading
import unicodedata
from functools import lru_cache

import Stemmer

LONGEST = 64
"""Characters of a word that count; what is longer is no word but data."""

# Chinese and Japanese put nothing between words: each character is one, and a text of several is found as a phrase.
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_ACCENTS = "\u0300-\u036f"
WORD = re.compile(rf"[{_IDEOGRAPHS}]|(?:[^\W_{_IDEOGRAPHS}][{_ACCENTS}]*)+")
ASCII_WORD = re.compile(r"[^\W_]+", re.ASCII)
"""Finds in a text of ASCII what WORD finds, five times as fast."""
_ACCENT = re.compile(rf"[{_ACCENTS}]")

# Words that tell nothing. Not among them are those that do in this field: down, off, out, over, up, no, not.
_STOP_WORDS = """
a an and are as at be been but by can do does for from had has have how i if in into is it its of on or our so than that
the their them then there these they this to was we were what when where which while who why will with you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

_local = threading.local()


def words_of(text: str) -> list[str]:
    """Return the words of a text in their order: lower case, without accents, each of at most LONGEST characters."""
    if text.isascii():
        return [word[:LONGEST] for word in ASCII_WORD.findall(text.lower())]
    return [word for raw in WORD.findall(text) for word in plain(raw)]


@lru_cache(65_536)
def stem_of(word: str) -> str:
    """Return a word without its English endings (Snowball's algorithm `english`); empty for a stop word."""
    if word in STOP_WORDS:
        return ""
    if not word.isascii() or not word.isalpha():
        return word
    stemmer = getattr(_local, "stemmer", None)
    if stemmer is None:  # one for each thread: they are not made to be shared
        stemmer = _local.stemmer = Stemmer.Stemmer("english", 0)
    stem: str = stemmer.stemWord(word)
    return stem


def stems_of(words: list[str]) -> list[str]:
    """Return the stems of words in their order, without stop words."""
    return [stem for stem in map(stem_of, words) if stem]


def plain(written: str) -> list[str]:
    """Return what `words_of` makes of what is written as one word, a match of WORD: mostly one."""
    return _plain(written[:LONGEST])


@lru_cache(65_536)
def _plain(written: str) -> list[str]:
    """Do so for a word that is not too long: of longer ones the cache would hold megabytes."""
    if written.isascii():
        return [written.lower()]
    apart = _ACCENT.sub("", unicodedata.normalize("NFKD", written.casefold()))
    return [word[:LONGEST] for word in WORD.findall(unicodedata.normalize("NFC", apart).casefold())]
