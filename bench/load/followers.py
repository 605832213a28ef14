"""Followers of a log, by the hundred: they count lines in what comes, and note how old the first of them is."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.load import lines as log_lines
from bench.load.calls import GRACE
from bench.load.crew import LoadError
from bench.load.http1 import HttpConnection, request
from bench.load.http2 import Connection
from bench.load.loop import Loop


@dataclass(frozen=True)
class Delivered:
    """What followers got.

    Attributes:
        lines: Of all followers together, within the time.
        messages: Answers (gRPC) or reads with events in them (HTTP) with lines in them.
        served: Followers that got all that was expected.
        seconds: From the start to when the last line came.
        latencies: Seconds from sending to receiving the first line, the oldest, of each message.
        served_after: Seconds from the start to when each of those served was.
    """

    lines: int
    messages: int
    served: int
    seconds: float
    latencies: list[float]
    served_after: list[float]


@dataclass
class Followers:
    """Followers of one log.

    Attributes:
        address: host:port.
        count: How many.
        seconds: After which to stop.
        lines: What each is to get: when all have it, the job ends; None to stay to the end.
        path: Of the gRPC method, or of the stream of events.
        token: Bearer token.
        request: The gRPC request; None follows over HTTP.
        connections: That gRPC followers share; over HTTP each has its own.
        late: Connect only at the start, all at once.
        checked: Whether one of them looks into its lines, too: of one stream, they must be numbered from 1 on.
    """

    address: str
    count: int
    seconds: float
    path: str
    lines: int | None = None
    token: str = ""
    request: bytes | None = None
    connections: int = 4
    late: bool = False
    checked: bool = False
    _loop: Loop = field(init=False, repr=False)
    _got: list[int] = field(init=False, repr=False)
    _open: set[int] = field(init=False, repr=False)
    _sample: list[bytes] = field(init=False, repr=False)
    _problem: str = field(default="", init=False)
    _messages: int = field(default=0, init=False)
    _latencies: list[float] = field(init=False, repr=False)
    _served_at: list[float] = field(init=False, repr=False)
    _last_at: float = field(default=0.0, init=False)

    def prepare(self) -> None:
        """Connect, unless late, and wait until everyone has been answered."""
        self._loop = Loop()
        self._got = [0] * self.count
        self._open = set()
        self._sample = []
        self._latencies, self._served_at = [], []
        if not self.late:
            self._connect()
            if not self._loop.run(
                lambda: len(self._open) == self.count or bool(self._problem), time.monotonic() + GRACE
            ):
                raise LoadError(f"{self.count - len(self._open)} of {self.count} followers were not answered")
            self._raise()

    def run(self, start_at: float) -> Delivered:
        """Follow. Raises LoadError when a stream ends."""
        if self.late:
            self._connect()
        wanted = self.count
        self._loop.run(lambda: len(self._served_at) == wanted or bool(self._problem), start_at + self.seconds)
        self._check_sample()
        self._raise()
        return Delivered(
            sum(self._got),
            self._messages,
            len(self._served_at),
            max(self._last_at - start_at, 0.0),
            self._latencies,
            [at - start_at for at in self._served_at],
        )

    def _check_sample(self) -> None:
        numbers = log_lines.sequences(self._sample, grpc=self.request is not None)
        if numbers != list(range(1, len(numbers) + 1)):
            self._problem = self._problem or "a follower got other lines than were written, or in another order"

    def _connect(self) -> None:
        if self.request is None:
            for index in range(self.count):
                self._follow_http(index)
            return
        wires = [Connection(self.address, self.path, self.token) for _ in range(min(self.connections, self.count))]
        for index in range(self.count):
            wires[index % len(wires)].call(self.request, self._ended, self._taker(index))
        for wire in wires:
            self._loop.add(wire)

    def _follow_http(self, index: int) -> None:
        wire = HttpConnection(self.address)
        take = self._taker(index)

        def answered(status: int, body: bytes) -> None:
            self._open.add(index)
            if status != 200:
                self._ended(f"HTTP {status}: {body[:300].decode(errors='replace')}")

        wire.follow(request("GET", self.path, self.token), answered, take)
        self._loop.add(wire)

    def _taker(self, index: int) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            self._open.add(index)
            count = log_lines.count(data)
            if count:
                self._count(index, count, data)

        return take

    def _count(self, index: int, count: int, data: bytes) -> None:
        self._last_at = now = time.monotonic()
        self._messages += 1
        if self.checked and not index:
            self._sample.append(data)
        self._latencies.append(now - log_lines.sent_at(data))
        before, self._got[index] = self._got[index], self._got[index] + count
        if self.lines is not None and self._got[index] >= self.lines > before:
            self._served_at.append(now)
            if self._got[index] > self.lines:
                self._problem = f"a follower got {self._got[index]} lines; {self.lines} were written"

    def _ended(self, problem: str) -> None:
        self._problem = self._problem or problem or "the server ended a stream"

    def _raise(self) -> None:
        if self._problem:
            raise LoadError(self._problem)

    def close(self) -> None:
        """Leave."""
        self._loop.close()


@dataclass
class Frozen:
    """Followers that read one answer and then nothing any more, though their connections stay open.

    Attributes: as of `Followers`; each has a connection of its own.
    """

    address: str
    count: int
    seconds: float
    path: str
    token: str
    request: bytes
    _wires: list[Connection] = field(init=False, repr=False)

    def prepare(self) -> None:
        """Connect, and read the first answer."""
        loop = Loop()
        answered: set[int] = set()
        problems: list[str] = []
        self._wires = []
        for index in range(self.count):
            wire = Connection(self.address, self.path, self.token, wide=False)
            wire.call(self.request, problems.append, self._taker(index, answered))
            loop.add(wire)
            self._wires.append(wire)
        if not loop.run(lambda: len(answered) == self.count or bool(problems), time.monotonic() + GRACE) or problems:
            raise LoadError(problems[0] if problems else "frozen followers were not answered")

    def _taker(self, index: int, answered: set[int]) -> Callable[[bytes], None]:
        return lambda _: answered.add(index)

    def run(self, start_at: float) -> None:
        """Do nothing for a while."""
        time.sleep(max(start_at + self.seconds - time.monotonic(), 0.0))

    def close(self) -> None:
        """Leave."""
        for wire in self._wires:
            wire.close()
