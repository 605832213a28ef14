"""Calls, one after the other on every connection: as fast as they are answered, or at a rate."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from bench.load.crew import LoadError
from bench.load.http1 import HttpConnection
from bench.load.http2 import Connection
from bench.load.loop import Loop

GRACE = 30.0
"""Seconds that the last answers may take."""


class Requests(Protocol):
    """What to ask; picklable."""

    def __call__(self, connection: int, number: int) -> bytes:
        """Return the request with this number, from 0, on a connection."""


@dataclass(frozen=True)
class Fixed:
    """The same requests again and again."""

    requests: list[bytes]

    def __call__(self, connection: int, number: int) -> bytes:
        """Return the next one; connections begin at different places."""
        return self.requests[(connection * 7919 + number) % len(self.requests)]


@dataclass(frozen=True)
class Answered:
    """What came of calls, of which every one succeeded.

    Attributes:
        calls: Answered within the time.
        all_calls: Those that were answered after it, too.
        latencies: Seconds of each.
    """

    calls: int
    all_calls: int
    latencies: list[float]


@dataclass
class Calls(ABC):
    """Calls over several connections.

    Attributes:
        address: host:port.
        requests: What to ask.
        connections: How many.
        seconds: After which no more are made.
        in_flight: Calls under way on each connection.
        rate: Calls a second on each connection; None for as many as are answered.
        at_most: Calls on each connection, with the one before the time.
    """

    address: str
    requests: Requests
    connections: int
    seconds: float
    in_flight: int = 1
    rate: float | None = None
    at_most: int | None = None
    _loop: Loop = field(init=False, repr=False)
    _wires: list[Any] = field(init=False, repr=False)  # connections of the subclass
    _numbers: list[int] = field(init=False, repr=False)
    _idle: list[int] = field(init=False, repr=False)
    _problem: str = field(default="", init=False)
    _answered: list[tuple[float, float]] = field(init=False, repr=False)

    @abstractmethod
    def _connect(self) -> Any: ...

    @abstractmethod
    def _ask(self, wire: Any, request: bytes, on_end: Callable[[str], None]) -> None: ...

    def prepare(self) -> None:
        """Connect, and make one call on each connection."""
        self._loop = Loop()
        self._answered = []
        self._wires = [self._connect() for _ in range(self.connections)]
        self._numbers = [0] * self.connections
        self._idle = [self.in_flight] * self.connections
        for index, wire in enumerate(self._wires):
            self._begin(index, until=0.0)
            self._loop.add(wire)
        self._finish(time.monotonic() + GRACE)
        self._answered.clear()

    def run(self, start_at: float) -> Answered:
        """Make the calls. Raises LoadError when one fails."""
        until = start_at + self.seconds
        if self.rate is None:
            for index, wire in enumerate(self._wires):
                for _ in range(self.in_flight):
                    if self._has_more(index):
                        self._begin(index, until)
                self._loop.send(wire)
        else:
            self._pace(start_at, until, 1 / self.rate)
        self._finish(until + GRACE)
        in_time = sum(at <= until for at, _ in self._answered)
        return Answered(in_time, len(self._answered), [took for _, took in self._answered])

    def _pace(self, start_at: float, until: float, interval: float) -> None:
        """Begin calls when they are due; those that are late, because others are under way, as soon as can be."""
        due = [start_at + interval * index / self.connections for index in range(self.connections)]
        while (now := time.monotonic()) < until and any(map(self._has_more, range(self.connections))):
            for index, wire in enumerate(self._wires):
                if due[index] <= now and self._idle[index] and self._has_more(index):
                    due[index] += interval
                    self._begin(index, until=0.0)
                    self._loop.send(wire)
            waits = [at - now for at, idle in zip(due, self._idle, strict=True) if idle]
            self._loop.turn(min([*waits, until - now, 0.1]))

    def _has_more(self, index: int) -> bool:
        return self.at_most is None or self._numbers[index] < self.at_most

    def _begin(self, index: int, until: float) -> None:
        begun = time.monotonic()

        def on_end(problem: str) -> None:
            self._idle[index] += 1
            self._problem = self._problem or problem
            now = time.monotonic()
            self._answered.append((now, now - begun))
            if now < until and not self._problem and self._has_more(index):
                self._begin(index, until)

        self._idle[index] -= 1
        number, self._numbers[index] = self._numbers[index], self._numbers[index] + 1
        self._ask(self._wires[index], self.requests(index, number), on_end)

    def _finish(self, deadline: float) -> None:
        ended = self._loop.run(lambda: sum(self._idle) == self.in_flight * self.connections, deadline)
        if self._problem:
            raise LoadError(self._problem)
        if not ended:
            raise LoadError("calls were not answered in time")

    def close(self) -> None:
        """Leave."""
        self._loop.close()


@dataclass
class GrpcCalls(Calls):
    """Unary calls of one method.

    Attributes:
        path: `/package.Service/Method`.
        token: Bearer token.
        answers: The least bytes of a whole and correct answer.
    """

    path: str = ""
    token: str = ""
    answers: int = 0

    def _connect(self) -> Connection:
        return Connection(self.address, self.path, self.token)

    def _ask(self, wire: Connection, request: bytes, on_end: Callable[[str], None]) -> None:
        sizes: list[int] = []

        def ended(problem: str) -> None:
            if not problem and sum(sizes) < self.answers:
                problem = f"{self.path} answered {sum(sizes)} bytes; at least {self.answers} were expected"
            on_end(problem)

        wire.call(request, ended, lambda message: sizes.append(len(message)))


@dataclass
class HttpCalls(Calls):
    """Requests over HTTP/1.1, of which one is under way on each connection.

    Attributes:
        statuses: Those that mean success.
        answers: The least bytes of a whole and correct body.
    """

    statuses: tuple[int, ...] = (200, 201)
    answers: int = 0

    def _connect(self) -> HttpConnection:
        assert self.in_flight == 1, "HTTP/1.1 answers one request at a time"
        return HttpConnection(self.address)

    def _ask(self, wire: HttpConnection, request: bytes, on_end: Callable[[str], None]) -> None:
        def answered(status: int, body: bytes) -> None:
            good = status in self.statuses and len(body) >= self.answers
            on_end("" if good else f"HTTP {status}: {body[:300].decode(errors='replace')}")

        wire.ask(request, answered)


@dataclass
class GrpcOnce:
    """One call, at the start."""

    address: str
    path: str
    request: bytes
    token: str = ""
    _loop: Loop = field(init=False, repr=False)
    _wire: Connection = field(init=False, repr=False)

    def prepare(self) -> None:
        """Connect."""
        self._loop = Loop()
        self._wire = Connection(self.address, self.path, self.token)
        self._loop.add(self._wire)

    def run(self, start_at: float) -> None:
        """Call. Raises LoadError when that fails."""
        problems: list[str] = []
        self._wire.call(self.request, problems.append)
        self._loop.send(self._wire)
        if not self._loop.run(lambda: bool(problems), start_at + GRACE) or problems[0]:
            raise LoadError(problems[0] if problems else "the call was not answered in time")

    def close(self) -> None:
        """Leave."""
        self._loop.close()
