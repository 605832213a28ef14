"""What a benchmark is handed: servers and load that end with it, and how much of everything there shall be."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from bench import servers
from bench.load.calls import Answered, GrpcCalls, HttpCalls, Requests
from bench.load.crew import Crew, Job
from bench.rounds import Contender, alternate, percentile
from bench.servers import Peer, Relman, Server
from tests.services.postgres import PostgresServer

T = TypeVar("T")

CALLERS = 20
"""Calls under way at any time where many callers are measured."""


class Impossible(Exception):  # noqa: N818 - it is no error
    """A benchmark cannot be run here; the message says why."""


@dataclass
class Kit:
    """What a benchmark needs.

    Attributes:
        folder: For what servers write.
        quick: Whether to show that it works rather than how fast.
        with_peer: Whether the peer takes part.
    """

    folder: Path
    quick: bool = False
    with_peer: bool = True
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _postgres: PostgresServer | None = field(default=None, init=False)
    _crew: Crew | None = field(default=None, init=False)
    _busy: dict[str, float] = field(default_factory=dict, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pick(self, full: T, quick: T) -> T:
        """Return how much of something there shall be."""
        return quick if self.quick else full

    @property
    def seconds(self) -> float:
        """How long a round takes."""
        return self.pick(1.5, 0.2)

    def rounds(
        self, contenders: Mapping[str, Contender | None], *, warm_ups: int = 1
    ) -> dict[str, dict[str, list[float]]]:
        """Let contenders take turns: five rounds that count, after `warm_ups` that do not."""
        return alternate(contenders, rounds=self.pick(5, 1), warm_ups=self.pick(warm_ups, 0))

    def database(self) -> str:
        """Return the URL of a new, empty database of a PostgreSQL that counts statements."""
        if self._postgres is None:
            self._postgres = self._stack.enter_context(servers.postgres(durable=not self.quick))
        return self._postgres.url(self._postgres.client.create_database())

    def relman(self, database: str | None = None, **settings: str) -> Relman:
        """Start relman, over SQLite unless a database is given."""
        return self._stack.enter_context(servers.relman(self.folder, database, **settings))

    def peer(self) -> Peer | None:
        """Start the peer; None when it does not take part."""
        return self._stack.enter_context(servers.peer(self.folder, self.database())) if self.with_peer else None

    def ceiling(self) -> Server:
        """Start gRPC with nothing behind it."""
        return self._stack.enter_context(servers.ceiling(self.folder))

    def load(
        self, server: Server, jobs: Sequence[Job], during: Callable[[], None] = lambda: None
    ) -> tuple[list[Any], float]:
        """Run jobs at the same time; return what came of each, and the seconds of CPU the server took meanwhile.

        Args:
            server: Whose CPU.
            jobs: What to run; each in a process of its own.
            during: Called when they have started.
        """
        if self._crew is None:
            self._crew = self._stack.enter_context(Crew())
        before: list[float] = []
        results = self._crew.run(jobs, lambda: before.append(server.cpu), during)
        cpu = server.cpu - before[0]
        name = type(server).__name__.lower()
        self._busy[name] = max(self._busy.get(name, 0.0), self._crew.busiest)
        return results, cpu

    def load_note(self) -> str:
        """Return how busy the load was, for those who doubt that it was the server that was measured."""
        parts = [f"{100 * busy:.0f} % for {name}" for name, busy in sorted(self._busy.items())]
        return (
            f"The busiest process of the load computed at most so much of its time: {', '.join(parts)}."
            if parts
            else ""
        )

    def grpc_calls(
        self, server: Server, path: str, requests: Requests, *, answers: int = 0, connections: int = 2
    ) -> dict[str, float]:
        """Call a method from two processes, 20 calls at a time; return the figures of `called`.

        Args:
            server: Which.
            path: `/package.Service/Method`.
            requests: What to ask.
            answers: The least bytes of an answer.
            connections: Of each process.
        """
        jobs = [
            GrpcCalls(
                server.address,
                requests,
                connections=connections,
                seconds=self.seconds,
                in_flight=CALLERS // 2 // connections,
                path=path,
                token=server.token,
                answers=answers,
            )
            for _ in range(2)
        ]
        return called(*self.load(server, jobs), self.seconds)

    def http_calls(self, server: Server, requests: Requests, *, answers: int = 0) -> dict[str, float]:
        """Ask the peer from two processes, 20 requests at a time; return the figures of `called`."""
        jobs = [
            HttpCalls(server.address, requests, connections=CALLERS // 2, seconds=self.seconds, answers=answers)
            for _ in range(2)
        ]
        return called(*self.load(server, jobs), self.seconds)


def called(results: Sequence[Answered], cpu: float, seconds: float) -> dict[str, float]:
    """Return what calls amount to: `calls` a second, `cpu` milliseconds each, and `p99` milliseconds."""
    took = [each for result in results for each in result.latencies]
    return {
        "calls": sum(result.calls for result in results) / seconds,
        "cpu": cpu * 1e3 / max(sum(result.all_calls for result in results), 1),
        "p99": percentile(took, 99) * 1e3,
    }


def prefixed(prefix: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Return figures with longer keys, where a benchmark measures several things."""
    return {f"{prefix} {key}": value for key, value in figures.items()}
