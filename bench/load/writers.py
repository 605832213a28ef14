"""Writers of logs: WriteLogs, with some appends under way that are not acknowledged yet."""

import time
from collections import deque
from dataclasses import dataclass, field

from bench.load.calls import GRACE
from bench.load.crew import LoadError
from bench.load.http2 import Call, Connection
from bench.load.lines import GrpcLines, grpc_lines
from bench.load.loop import Loop
from relman_client.v1.log_pb2 import WriteLogsRequest, WriteLogsResponse

PATH = "/relman.v1.DeploymentLogService/WriteLogs"


@dataclass(frozen=True)
class Written:
    """What came of writing: every line that was sent was acknowledged, in the end.

    Attributes:
        lines: Acknowledged within the time.
        all_lines: Those acknowledged after it, too.
        latencies: Seconds from sending each append to its acknowledgement.
    """

    lines: int
    all_lines: int
    latencies: list[float]


class _Writer:
    """One stream."""

    def __init__(self, job: "Writers", deployment: str, lines: GrpcLines) -> None:
        self.wire = Connection(job.address, PATH, job.token)
        self._job = job
        self._lines = lines
        self._sent: deque[float] = deque()
        self.appends = 0
        self.acknowledged = -1  # the first answer says where to begin
        self.latencies: list[tuple[float, float]] = []
        self.problem = ""
        self._call: Call = self.wire.call(lines.open(deployment, job.stream), self._ended, self._answered, more=True)

    def _answered(self, message: bytes) -> None:
        now = time.monotonic()
        committed = WriteLogsResponse.FromString(message).committed_sequence // self._lines.lines
        for _ in range(committed - max(self.acknowledged, 0)):
            begun = self._sent.popleft()
            self.latencies.append((now, now - begun))
        self.acknowledged = committed

    def _ended(self, problem: str) -> None:
        self.problem = problem

    @property
    def ended(self) -> bool:
        return self._call.done

    @property
    def unacknowledged(self) -> int:
        return self.appends - self.acknowledged

    def write(self) -> None:
        self._sent.append(time.monotonic())
        self.wire.send(self._call, self._lines.write(self.appends))
        self.appends += 1

    def finish(self) -> None:
        """Say where the stream ends: the server refuses when it has less, or more."""
        last = WriteLogsRequest(finish=WriteLogsRequest.Finish(last_sequence=self.appends * self._lines.lines))
        self.wire.send(self._call, last.SerializeToString(), last=True)


@dataclass
class Writers:
    """Writers, each of a stream of its own on a connection of its own.

    Attributes:
        address: host:port.
        token: Bearer token.
        deployments: Whose log each writes to.
        seconds: After which nothing more is written.
        lines: In each append.
        window: Appends of each writer that may be unacknowledged.
        appends: How many each makes at most; None for as many as there is time for.
        rate: Appends a second of each; None for as many as are acknowledged.
        stream: Name of the streams.
    """

    address: str
    token: str
    deployments: list[str]
    seconds: float
    lines: int = 100
    window: int = 16
    appends: int | None = None
    rate: float | None = None
    stream: str = "main"
    _loop: Loop = field(init=False, repr=False)
    _writers: list[_Writer] = field(init=False, repr=False)

    def prepare(self) -> None:
        """Open the streams."""
        self._loop = Loop()
        lines = grpc_lines(self.lines)
        self._writers = [_Writer(self, deployment, lines) for deployment in self.deployments]
        for writer in self._writers:
            self._loop.add(writer.wire)
        self._run(lambda: all(writer.acknowledged == 0 for writer in self._writers), time.monotonic() + GRACE)

    def run(self, start_at: float) -> Written:
        """Write, and wait for the last acknowledgement. Raises LoadError when a stream fails."""
        until = start_at + self.seconds
        while (now := time.monotonic()) < until and not self._done() and not self._failed():
            for writer in self._writers:
                self._write(writer, now - start_at)
            self._loop.turn(min(0.002 if self.rate else 0.02, until - now))
        self._run(lambda: not any(writer.unacknowledged for writer in self._writers), until + GRACE)
        for writer in self._writers:
            writer.finish()
            self._loop.send(writer.wire)
        self._run(lambda: all(writer.ended for writer in self._writers), until + GRACE)
        answered = [each for writer in self._writers for each in writer.latencies]
        in_time = sum(at <= until for at, _ in answered)
        return Written(in_time * self.lines, len(answered) * self.lines, [took for _, took in answered])

    def _write(self, writer: _Writer, elapsed: float) -> None:
        wanted = self.appends if self.rate is None else min(self.appends or 1 << 62, int(elapsed * self.rate) + 1)
        wrote = False
        while writer.unacknowledged < self.window and (wanted is None or writer.appends < wanted):
            writer.write()
            wrote = True
        if wrote:
            self._loop.send(writer.wire)

    def _done(self) -> bool:
        return self.appends is not None and all(writer.appends >= self.appends for writer in self._writers)

    def _failed(self) -> str:
        return next((writer.problem for writer in self._writers if writer.problem), "")

    def _run(self, until: object, deadline: float) -> None:
        assert callable(until)
        held = self._loop.run(lambda: bool(self._failed()) or until(), deadline)
        if self._failed():
            raise LoadError(self._failed())
        if not held:
            raise LoadError("the writers were not acknowledged in time")

    def close(self) -> None:
        """Leave."""
        self._loop.close()
