"""What everyone was told, and what that must come to: no server, no clock.

All that is checked is numbered: lines of a stream and events of a deployment from 1 without gaps by the contract, the
lines of a whole log by the order in which the database has them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Findings:
    """How often something went wrong; all of it must be zero.

    Attributes:
        lost: Promised, and never there.
        repeated: There more than once.
        out_of_order: There after what should have come later.
        gaps: How often what came next was not the next.
        invented: There, although nobody wrote it so.
    """

    lost: int = 0
    repeated: int = 0
    out_of_order: int = 0
    gaps: int = 0
    invented: int = 0

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(
            self.lost + other.lost,
            self.repeated + other.repeated,
            self.out_of_order + other.out_of_order,
            self.gaps + other.gaps,
            self.invented + other.invented,
        )

    @property
    def total(self) -> int:
        """All of them."""
        return self.lost + self.repeated + self.out_of_order + self.gaps + self.invented


def compare(seen: Iterable[int], promised: int, written: int | None = None) -> Findings:
    """Compare what came with 1, 2, 3 and so on.

    Args:
        seen: In the order in which it came; 0 stands for what nobody wrote.
        promised: The last that must be there.
        written: The last that may be there; by default the same.
    """
    may_be = promised if written is None else written
    known: set[int] = set()
    highest = repeated = late = gaps = invented = 0
    for number in seen:
        if not 0 < number <= may_be:
            invented += 1
        elif number in known:
            repeated += 1
        else:
            known.add(number)
            late += number < highest
            gaps += number > highest + 1
            highest = max(highest, number)
    lost = sum(number not in known for number in range(1, promised + 1))
    return Findings(lost, repeated, late, gaps, invented)


class Line(NamedTuple):
    """A line of a log.

    Attributes:
        stream: Name of its stream.
        number: Its sequence; 0 when its text is that of another line.
    """

    stream: str
    number: int


def text_of(stream: str, number: int) -> str:
    """Return what the line of a stream with this number says; lines are of different lengths."""
    return f"{stream} {number} {'.' * (number * 7 % 90)}"


def read_line(text: str, sequence: int, stream: str | None = None) -> Line:
    """Return the line that came, by its text; `stream` is where it was said to be, if that was said."""
    written_to, _, rest = text.partition(" ")
    is_true = text == text_of(written_to, sequence) and stream in (None, written_to)
    return Line(written_to if rest else "", sequence if is_true else 0)


@dataclass
class LogHistory:
    """The history of one deployment's log.

    Attributes:
        written: Lines given to the writer of a stream.
        acknowledged: Lines of a stream of which the writer was told that they are on disk.
        stored: What the database has in the end, however it was asked.
        seen: What each follower saw.
        gaps_told: How often a follower was told of lines that are gone.
    """

    written: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    stored: dict[str, Sequence[Line]] = field(default_factory=dict)
    seen: dict[str, list[Line]] = field(default_factory=dict)
    gaps_told: int = 0

    def on_disk(self) -> Findings:
        """Return what is wrong with what the database has: each stream as it was written, however it is read."""
        found = Findings()
        for lines in self.stored.values():
            for stream in self.written.keys() | {line.stream for line in lines}:
                numbers = [line.number for line in lines if line.stream == stream]
                found += compare(numbers, self.acknowledged.get(stream, 0), self.written.get(stream, 0))
        return found

    def followed(self) -> Findings:
        """Return what is wrong with what followers saw: all that the database has, in its order."""
        found = Findings(gaps=self.gaps_told)
        stored = next(iter(self.stored.values()), ())
        places = {line: place for place, line in enumerate(stored, 1)}
        for lines in self.seen.values():
            found += compare((places.get(line, 0) for line in lines), len(places))
        return found


@dataclass
class EventHistory:
    """The history of one deployment.

    Attributes:
        recorded: Revisions of its events in the database.
        seen: Revisions of the events that each watcher saw.
    """

    recorded: Sequence[int] = ()
    seen: dict[str, list[int]] = field(default_factory=dict)

    def findings(self) -> Findings:
        """Return what is wrong with what is recorded, and with what watchers saw of it."""
        found = compare(self.recorded, len(self.recorded))
        for revisions in self.seen.values():
            found += compare(revisions, len(self.recorded))
        return found


@dataclass
class ChangeHistory:
    """The history of changes, each of which has a name that its effect bears.

    Attributes:
        asked: Names of all that were asked for.
        answered: Names of those that were acknowledged, and the id that the answer had.
        found: Names and ids of all effects that there are in the end.
    """

    asked: set[str] = field(default_factory=set)
    answered: dict[str, str] = field(default_factory=dict)
    found: list[tuple[str, str]] = field(default_factory=list)

    def findings(self) -> Findings:
        """Return what is wrong: what is acknowledged is there once, and nothing is there twice."""
        by_name: dict[str, list[str]] = {}
        for name, identity in self.found:
            by_name.setdefault(name, []).append(identity)
        return Findings(
            lost=sum(identity not in by_name.get(name, ()) for name, identity in self.answered.items()),
            repeated=sum(len(ids) - 1 for ids in by_name.values()),
            invented=len(by_name.keys() - self.asked),
        )


def summed(findings: Iterable[Findings]) -> Findings:
    """Return all of them in one."""
    return sum(findings, Findings())
