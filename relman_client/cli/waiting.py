"""Waiting for the end of a deployment: says what it waits for, and ends with how it ended.

Whatever happens to the connection, the server or the token, it goes on: the state is read first, then watched, and read
again after every break. Threads read, one for events and one for log lines; the command prints, and keeps the time.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from relman_client.cli import exits
from relman_client.cli.log_lines import Look, Printer
from relman_client.cli.outages import Outages
from relman_client.cli.output import as_json, print_json, print_json_line
from relman_client.cli.session import Session
from relman_client.cli.text import note
from relman_client.cli.watch import event_line
from relman_client.tail import Tail
from relman_client.v1.deployment_pb2 import BlockerKind, Deployment, DeploymentEvent, DeploymentStatus
from relman_client.v1.log_pb2 import LogEntries, TailLogsRequest
from relman_client.watch import FINAL, Watch

LOG_LAG = 10.0
"""Seconds that the log of a deployment that has ended is waited for."""

_WAITING = {DeploymentStatus.DEPLOYMENT_STATUS_PENDING, DeploymentStatus.DEPLOYMENT_STATUS_READY}


@dataclass(frozen=True)
class Patience:
    """What to wait for.

    Attributes:
        seconds: How long; None for as long as it takes.
        for_approval: Whether to wait for people, too.
        follow: Whether to show the log meanwhile.
    """

    seconds: float | None = None
    for_approval: bool = True
    follow: bool = False


class _Log:
    """Lines of the log, or (with none) that it is over."""

    def __init__(self, entries: LogEntries | None) -> None:
        self.entries = entries


_News = DeploymentEvent | _Log | Exception


def wait(session: Session, deployment: str, patience: Patience) -> int:
    """Wait for the end of a deployment; returns the exit status that says how it ended.

    Raises RelmanError when the server says something that waiting does not change.
    """
    return _Wait(session, deployment, patience).run()


class _Wait:
    def __init__(self, session: Session, deployment: str, patience: Patience) -> None:
        self._session = session
        self._deployment = deployment
        self._patience = patience
        self._deadline = None if patience.seconds is None else time.monotonic() + patience.seconds
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()
        self._printer = Printer(session, deployment, Look())
        self._now: Deployment | None = None
        self._outages = Outages(overwrites=False)  # lines of the log may come meanwhile

    def run(self) -> int:
        # A break is told of once: by the events, which there are in any case.
        watch = Watch(self._session.client, self._deployment, options=self._outages.options)
        self._read(watch)
        if self._patience.follow:
            request = TailLogsRequest(deployment=self._deployment, follow=True)
            lines = (event for event in Tail(self._session.client, request) if isinstance(event, LogEntries))
            self._read(map(_Log, lines), at_end=lambda: self._news.put(_Log(None)))
        try:
            status = self._until_it_ends()
        finally:
            self._outages.say_no_more()
            watch.close()
        if self._now is not None and self._session.wants_json and not self._patience.follow:
            print_json(as_json(self._now))
        return status

    def _read(self, source: Iterable[_News], at_end: Callable[[], None] = lambda: None) -> None:
        def read() -> None:
            try:
                for news in source:
                    self._news.put(news)
                at_end()
            except Exception as error:  # noqa: BLE001 - it is raised where somebody sees it
                self._news.put(error)

        threading.Thread(target=read, name="relman-wait", daemon=True).start()

    def _until_it_ends(self) -> int:
        while True:
            news = self._next(self._deadline)
            if news is None:
                return self._timed_out()
            self._show(news)
            if self._now is None:
                continue
            if self._now.status in FINAL:
                self._rest_of_the_log()
                return exits.exit_of(self._now.status)
            if self._needs_people() and not self._patience.for_approval:
                note("it waits for approval: see `relman why`, and go on with `relman watch`")
                return exits.BLOCKED

    def _next(self, deadline: float | None) -> _News | None:
        """Return what came next; None when it did not come in time."""
        try:
            return self._news.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def _show(self, news: _News) -> None:
        if isinstance(news, Exception):
            raise news
        if isinstance(news, _Log):
            if news.entries is not None:
                self._printer.print(news.entries)
            return
        self._now = news.deployment
        if not self._session.wants_json:
            sys.stdout.write(event_line(news) + "\n")
            sys.stdout.flush()
        elif self._patience.follow:
            print_json_line(as_json(news))

    def _rest_of_the_log(self) -> None:
        """Show what was still on its way: the last lines come after the event that ends the deployment."""
        deadline = time.monotonic() + LOG_LAG
        while self._patience.follow:
            news = self._next(deadline)
            if news is None or (isinstance(news, _Log) and news.entries is None):
                return
            self._show(news)

    def _needs_people(self) -> bool:
        assert self._now is not None
        return any(blocker.kind == BlockerKind.BLOCKER_KIND_APPROVAL for blocker in self._now.blockers)

    def _timed_out(self) -> int:
        if self._now is None:
            note("relman did not answer in time")
        elif self._now.status in _WAITING:
            why = " ".join(blocker.message for blocker in self._now.blockers) or "nobody has started it."
            note(f"it has not ended in time: {why}")
        else:
            note("it has not ended in time, and goes on")
        return exits.TIMED_OUT
