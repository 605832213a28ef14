"""What a run comes to: counted, and printed."""

from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from tests.fuzz.calls import Answer
from tests.fuzz.operations import Operation

HEX = 400


@dataclass(frozen=True)
class Fault:
    """Something that must not be.

    Attributes:
        what: What it is.
        operation: What brought it about; None when that is not known.
    """

    what: str
    operation: Operation | None = None


@dataclass
class Report:
    """What came of the operations.

    Attributes:
        command: The flags that make the same run.
        faults: What must not be.
        notes: What else is worth knowing, for example why it stopped early.
        missing: What could not be prepared, and how often.
        warnings: Of the server's log, and how often.
        memory: Of the server, in MiB, at the start and after every round.
        seconds: How long it took.
    """

    command: str
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)
    seconds: float = 0.0
    _statuses: dict[str, Counter[str]] = field(default_factory=dict)
    _slowest: tuple[float, Operation] | None = None

    def count(self, operation: Operation, answer: Answer) -> None:
        """Count an operation."""
        self._statuses.setdefault(operation.rpc.name, Counter())[answer.status] += 1
        if self._slowest is None or answer.seconds > self._slowest[0]:
            self._slowest = answer.seconds, operation

    @property
    def operations(self) -> int:
        """How many there were."""
        return self.statuses.total()

    @property
    def statuses(self) -> Counter[str]:
        """How many ended how."""
        return sum(self._statuses.values(), Counter())

    @property
    def grows(self) -> bool:
        """Whether the server takes more and more memory: at the end clearly more than before, and before that, too.

        It grows in steps, with the pools of memory of its threads, and messages of 4 MiB make for peaks; so medians of
        the last three quarters of the run are compared. In a short run everything is warming up.
        """
        quarter = len(self.memory) // 4
        if quarter < 5:
            return False
        second, third, fourth = (median(self.memory[quarter * part : quarter * (part + 1)]) for part in (1, 2, 3))
        return fourth > 1.1 * third and fourth > 1.2 * second

    @property
    def passed(self) -> bool:
        """Whether there was no fault."""
        return not self.faults

    def progress(self, of: int) -> str:
        """Return one line about a run that goes on."""
        ok, memory = self._share(self.statuses["OK"]), self.memory[-1]
        return f"{self.operations:,} of {of:,}, {ok} OK, {memory:.0f} MiB, {len(self.faults)} faults"

    def _share(self, count: int) -> str:
        return f"{100 * count / max(self.operations, 1):.1f} %"

    def text(self) -> str:
        """Return all of it."""
        speed = f"{self.seconds:.0f} s, {self.operations / max(self.seconds, 0.001):.0f} a second"
        lines = [
            self.command,
            f"  {self.operations:,} operations on {len(self._statuses)} RPCs in {speed}",
            *(f"  {status:20} {count:8,}  {self._share(count):>7}" for status, count in self.statuses.most_common()),
            f"  never OK, though offered: {', '.join(self._never_ok()) or 'none'}",
        ]
        if self._slowest is not None:
            seconds, operation = self._slowest
            lines.append(f"  slowest: {operation.rpc.name}, {seconds:.2f} s (operation {operation.number})")
        if self.memory:
            on_the_way = ", ".join(f"{size:.0f}" for size in self.memory[:: max(len(self.memory) // 8, 1)])
            lines.append(f"  server's memory: {self.memory[0]:.0f} MiB at the start, {self.memory[-1]:.0f} at the end")
            lines.append(f"    on the way: {on_the_way}")
        lines += [f"  not prepared {count:,} times: {what}" for what, count in self.missing.most_common(20)]
        lines += [f"  log warns {count:,} times: {what}" for what, count in self.warnings.most_common(20)]
        lines += [f"  note: {note}" for note in self.notes]
        lines += [self._described(fault) for fault in self.faults]
        return "\n".join([*lines, f"{'PASS' if self.passed else 'FAIL'}: {len(self.faults)} faults"])

    def _never_ok(self) -> list[str]:
        return sorted(
            name
            for name, statuses in self._statuses.items()
            if not statuses["OK"] and not statuses["UNIMPLEMENTED"] and not statuses["LEFT"]
        )

    def _described(self, fault: Fault) -> str:
        if fault.operation is None:
            return f"  FAULT {fault.what}"
        return (
            f"  FAULT {fault.operation.rpc.name}: {fault.what}\n"
            f"    {described(fault.operation)}\n"
            f"    again: python -m tests.fuzz {self.command} --only {fault.operation.number}"
        )


def described(operation: Operation, room: int = 400) -> str:
    """Return what an operation sends; of each request so many hexadecimal digits."""
    sent = " ".join(_cut(request.hex(), room) or "(empty)" for request in operation.requests) or "(none)"
    return f"operation {operation.number}, {operation.content}, as {operation.caller}: {sent}"


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[:room]}... ({len(text) // 2:,} bytes)"
