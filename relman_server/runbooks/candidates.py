"""Which of the runbooks that match are ranked: all of them, or the newest of those that may rank high.

Of a word that most runbooks have, PostgreSQL's GIN finds all, in no order, and to sort them is to read their rows. So
the newest are looked for among the RECENT that changed last first, then among more, and everywhere when that is not
enough: the answer is the same. FTS5 reads the newest first.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, literal_column, select

from relman_server.kernel.db.prepared import Prepared
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.kernel.paging import COUNTED
from relman_server.runbooks import matching, places
from relman_server.runbooks.lookup import Lookup
from relman_server.runbooks.model import Searchable

RECENT = 2_000
"""Places among which, on PostgreSQL, the newest are looked for first."""
COARSE = 12
"""Bits of the smallest block where matches are counted: a few places more do not matter, and a few blocks more do."""

# PostgreSQL does not know what it costs to read a tsvector that is stored apart from its row: for words that many have
# it would rather read all of them, with what would take longer to start than a search takes: workers, and a compiler.
# There is one good plan for whatever is looked for, so it need not be made anew each time.
_SETTINGS = {
    "enable_seqscan": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
_PREPARE = Prepared(
    lambda: select(
        func.min(Searchable.place).label("oldest"),
        func.max(Searchable.place).label("newest"),
        *(func.set_config(name, value, literal_column("true")).label(name) for name, value in _SETTINGS.items()),
    )
)


@dataclass(frozen=True)
class Chosen:
    """What is ranked of the matches.

    Attributes:
        rows: As of matching.newest.
        total: How many match in all, or at least.
        is_exact: Which of the two.
    """

    rows: Sequence[Record]
    total: int
    is_exact: bool


@dataclass(frozen=True)
class Narrower:
    """Some of what matches, which may rank high.

    Attributes:
        lookup: What they must have.
        has_it: Whether a row is one of them. It need not be exact: it tells how many there may be.
    """

    lookup: Lookup
    has_it: Callable[[Record], bool]


def choose(
    tx: Reading, lookup: Lookup, narrower: Iterable[Narrower], limit: int, *, compared: bool, everything: bool
) -> Chosen:
    """Return all that match or, of more than `limit`, the newest of each of the narrower ones, then of all.

    Args:
        tx: Where to read.
        lookup: What they must have.
        narrower: Those that may rank high, the most promising first.
        limit: How many to return at most.
        compared: Whether to return what ranking.Suspect says, too.
        everything: Whether to count all, rather than up to COUNTED.
    """
    most = None if everything else max(COUNTED, limit) + 1
    look = _Look(tx, compared=compared)
    found = look.newest(lookup, limit + 1, most)
    if len(found.rows) <= limit:
        return Chosen(found.rows, len(found.rows), is_exact=True)
    chosen: dict[int, Record] = {}
    for each in narrower:
        known = sum(map(each.has_it, found.rows))
        width = look.width(found.rows, known, limit)
        rows = look.newest(each.lookup, limit, width=width).rows
        chosen |= {row.place: row for row in rows if row.place not in chosen}
        if len(chosen) >= limit:
            break
    chosen |= {row.place: row for row in found.rows}
    total = found.total if found.total is not None else look.total(lookup, found.rows, most)
    is_exact = everything or total <= COUNTED
    return Chosen(list(chosen.values())[:limit], total if is_exact else COUNTED, is_exact)


@dataclass(frozen=True)
class _Newest:
    """Matches that changed last, newest first.

    Attributes:
        rows: As of matching.newest.
        total: How many match in all, as far as they were counted; None: that is not known.
    """

    rows: Sequence[Record]
    total: int | None


class _Look:
    """A look at the index.

    Args:
        tx: Where to read.
        compared: As of `choose`.
    """

    def __init__(self, tx: Reading, *, compared: bool) -> None:
        self._tx = tx
        self._compared = compared
        self._oldest, self._latest = prepare(tx)

    def newest(self, lookup: Lookup, limit: int, counted: int | None = 0, width: int | None = None) -> _Newest:
        """Return the newest matches.

        Args:
            lookup: What they must have.
            limit: How many at most.
            counted: How many to count where that is no work of its own; None: all.
            width: Among how many places to look first.
        """
        width = width or RECENT
        while self._tx.engine == "postgresql" and self._latest - width > self._oldest:
            rows = self._read(self._among(lookup, width, places.FINEST), limit, 0)
            if len(rows) == limit:
                return _Newest(rows, None)
            width = _estimate(width, len(rows), limit)
        rows = self._read(lookup, limit, matching.EVERYTHING if counted is None else counted)
        return _Newest(rows, rows[0].total if rows and counted != 0 else None)

    def total(self, lookup: Lookup, newest: Sequence[Record], most: int | None) -> int:
        """Return how many match, at most so many, when the newest of them are known."""
        if most is not None:
            enough = self.width(newest, len(newest), most)
            # Of the places of these each is looked at; without them, at best those that match.
            if self._latest - self.width(newest, len(newest), enough) > self._oldest:
                known = matching.count(self._tx, self._among(lookup, enough, COARSE), most)
                if known == most:
                    return most
        return matching.count(self._tx, lookup, most)

    def width(self, newest: Sequence[Record], found: int, wanted: int) -> int:
        """Return among how many places so many will be found that are like `found` of the newest."""
        return _estimate(self._latest - newest[-1].place, found, wanted)

    def _among(self, lookup: Lookup, width: int, finest: int) -> Lookup:
        """Return the lookup of those among so many places that changed last, or some more."""
        return lookup.with_some(places.blocks_since(self._latest - width, self._latest, finest))

    def _read(self, lookup: Lookup, limit: int, counted: int) -> Sequence[Record]:
        return matching.newest(self._tx, lookup, limit, compared=self._compared, counted=counted)


def _estimate(width: int, found: int, wanted: int) -> int:
    """Return among how many places so many will be found when among `width` so many were; rather too many."""
    return width * wanted * 5 // (4 * (found + 1)) + 1


def prepare(tx: Reading) -> tuple[int, int]:
    """Have PostgreSQL use the index of terms, for the rest of the snapshot; return the first place and the last.

    On SQLite, where nobody has to know them, they are 0.
    """
    if tx.engine == "sqlite":
        return 0, 0
    found = tx.row(_PREPARE, {})
    assert found is not None
    return found.oldest or 0, found.newest or 0
