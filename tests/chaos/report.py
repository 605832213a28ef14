"""What a run comes to: counted, and printed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.chaos.history import Findings, summed


@dataclass(frozen=True)
class Recovery:
    """How long it took after a fault, in seconds.

    Attributes:
        fault: What it was.
        acknowledged: Until each writer had a line acknowledged that was written after it.
        delivered: Until each follower saw such a line.
    """

    fault: str
    acknowledged: float
    delivered: float


@dataclass(frozen=True)
class Checked:
    """What was checked.

    Attributes:
        what: What it is.
        promised: How many there must be.
        told: How often they were read, over all who did.
        findings: What is wrong with them.
    """

    what: str
    promised: int
    told: int
    findings: Findings


@dataclass
class Report:
    """What came of a run.

    Attributes:
        command: The flags that let the same things fail.
        setting: Where it ran, and who took part.
        checked: What was checked.
        recoveries: After every fault.
        starts: Seconds that servers took to serve again, from when they were started.
        given_up: Seconds after which a frozen follower was given up; None when there was none.
        indeterminate: Answers that left open what happened, and how often.
        complaints: Of the servers' logs, and how often.
        faults: What else must not be.
        kills: How many servers were killed with -9.
        seconds: How long it took.
    """

    command: str
    setting: str
    checked: list[Checked] = field(default_factory=list)
    recoveries: Sequence[Recovery] = ()
    starts: Sequence[float] = ()
    given_up: float | None = None
    indeterminate: Counter[str] = field(default_factory=Counter)
    complaints: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    kills: int = 0
    seconds: float = 0.0

    @property
    def findings(self) -> Findings:
        """All that is wrong."""
        return summed(checked.findings for checked in self.checked)

    @property
    def passed(self) -> bool:
        """Whether every zero is one, something was checked, and everyone was served to the end."""
        is_told = bool(self.checked) and all(checked.promised and checked.told for checked in self.checked)
        return is_told and not self.findings.total and not self.faults and not self.complaints

    def text(self) -> str:
        """Return all of it, for a person."""
        found = self.findings
        zeros = (
            f"{found.lost} lost, {found.repeated} repeated, {found.out_of_order} out of order, {found.gaps} gaps,"
            f" {found.invented} invented"
        )
        lines = [
            f"python -m tests.chaos {self.command}",
            f"  {self.setting}",
            f"  {self.kills} kills and {len(self.recoveries)} faults in {self.seconds:.0f} s",
            "",
            *_table(_CHECKED, [_row(checked) for checked in self.checked]),
            "",
            *_table(_RECOVERED, self._recovered()),
            "",
            *self._started(),
            f"  answers that left open what happened, until they were repeated: {self.indeterminate.total():,}",
            *(f"  {count:12,}  {what}" for what, count in self.indeterminate.most_common()),
            *(f"  the servers' logs complain {count:,} times: {what}" for what, count in self.complaints.most_common()),
            *(f"  FAULT {fault}" for fault in self.faults),
        ]
        return "\n".join([*lines, f"{'PASS' if self.passed else 'FAIL'}: {zeros}"])

    def _started(self) -> list[str]:
        lines = []
        if self.starts:
            middle, longest = _spread(self.starts)
            lines.append(f"  of which starting a server takes (p50, max): {middle}, {longest}")
        if self.given_up is not None:
            lines.append(f"  a frozen follower was given up after {self.given_up:.1f} s")
        return lines

    def _recovered(self) -> list[tuple[str, ...]]:
        names = Counter(recovery.fault for recovery in self.recoveries)
        rows: list[tuple[str, ...]] = []
        for name, count in names.most_common():
            of_it = [recovery for recovery in self.recoveries if recovery.fault == name]
            acknowledged = [recovery.acknowledged for recovery in of_it]
            delivered = [recovery.delivered for recovery in of_it]
            rows.append((name, f"{count}", *_spread(acknowledged), *_spread(delivered)))
        return rows


_CHECKED = ("", "there must be", "were read", "lost", "repeated", "out of order", "gaps", "invented")
_RECOVERED = ("seconds until all were served again", "times", "acknowledged p50", "max", "delivered p50", "max")


def _row(checked: Checked) -> tuple[str, ...]:
    found = checked.findings
    counts = (
        checked.promised,
        checked.told,
        found.lost,
        found.repeated,
        found.out_of_order,
        found.gaps,
        found.invented,
    )
    return (checked.what, *(f"{count:,}" for count in counts))


def _spread(seconds: Sequence[float]) -> tuple[str, str]:
    return f"{median(seconds):.2f}", f"{max(seconds):.2f}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return lines, the first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [_aligned(row, widths) for row in (head, *rows)]


def _aligned(row: tuple[str, ...], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    return "  ".join(["", first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])
