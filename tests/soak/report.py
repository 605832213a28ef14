"""What a run comes to: counted, and printed."""

from collections import Counter
from dataclasses import dataclass, field

from tests.soak.holdings import Holdings

GROWTH = 150.0
"""KiB that a server may grow by for every 1,000 streams."""
ENOUGH = 5_000
"""Streams below which its growth says nothing: that many warm up pools and caches."""


@dataclass
class Report:
    """What came of a run.

    Attributes:
        command: The flags that make the same run.
        before: What the server held when it was warm, and nobody called.
        warm_up: How many streams there had been then.
        after: What it held at the end.
        cycles: Which streams were left when, and how often.
        on_the_way: What it held on the way, every 1,000 streams.
        complaints: Of the server's log, and how often.
        seconds: How long it took.
    """

    command: str
    before: Holdings
    warm_up: int
    after: Holdings
    cycles: Counter[str] = field(default_factory=Counter)
    on_the_way: list[Holdings] = field(default_factory=list)
    complaints: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """By how many KiB it grew for every 1,000 streams."""
        return (self.after.memory - self.before.memory) / ((self.cycles.total() - self.warm_up) / 1000)

    @property
    def judges_memory(self) -> bool:
        """Whether there were enough streams to tell."""
        return self.cycles.total() - self.warm_up >= ENOUGH

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        after, before = self.after, self.before
        leaks = {
            f"{after.streams} streams are open": after.streams,
            f"{after.calls} calls are under way": after.calls,
            f"{after.connections} connections of the database are in use": after.connections,
            f"{after.tasks - before.tasks} tasks are left": after.tasks > before.tasks,
            f"it grew by {self.growth:.0f} KiB for every 1,000": self.judges_memory and self.growth > GROWTH,
        }
        found = [what for what, is_so in leaks.items() if is_so]
        return found + [f"the log complains {count:,} times: {what}" for what, count in self.complaints.most_common()]

    @property
    def passed(self) -> bool:
        """Whether there was no fault."""
        return not self.faults

    def text(self) -> str:
        """Return all of it, for a person."""
        total = self.cycles.total()
        speed = f"{self.seconds:.0f} s, {total / max(self.seconds, 0.001):.0f} a second"
        lines = [
            f"python -m tests.soak {self.command}",
            f"  {total:,} streams opened and left in {speed}",
            *(f"  {count:8,}  {what}" for what, count in sorted(self.cycles.items())),
            "",
            f"  {'':26}{'before':>10}{'after':>10}",
            self._row("streams", self.before.streams, self.after.streams),
            self._row("calls under way", self.before.calls, self.after.calls),
            self._row("database connections used", self.before.connections, self.after.connections),
            self._row("tasks", self.before.tasks, self.after.tasks),
            self._row("memory, KiB", self.before.memory, self.after.memory),
            f"  before: after {self.warm_up:,} streams, to warm up; memory on the way, MiB:",
            f"    {', '.join(f'{held.memory / 1024:.1f}' for held in self.on_the_way)}",
            f"  growth for every 1,000 streams: {self.growth:.0f} KiB ({self._judged()})",
            *(f"  FAULT {fault}" for fault in self.faults),
            f"{'PASS' if self.passed else 'FAIL'}: {len(self.faults)} faults",
        ]
        return "\n".join(lines)

    def _judged(self) -> str:
        return f"at most {GROWTH:.0f}" if self.judges_memory else "too few to tell"

    def _row(self, what: str, before: float, after: float) -> str:
        return f"  {what:26}{before:>10,.0f}{after:>10,.0f}"
