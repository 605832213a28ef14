"""A command as a stage: its output goes here and into the log, its end becomes the stage's."""

import os
import shlex
import signal
import time
from collections.abc import Mapping
from datetime import timedelta

from relman_client.cli import process
from relman_client.cli.failures import sentence
from relman_client.cli.patience import patiently
from relman_client.cli.session import Session
from relman_client.cli.text import exact, note
from relman_client.errors import RelmanError
from relman_client.logs import LogWriter
from relman_client.v1.common_pb2 import Outcome
from relman_client.v1.lease_pb2 import Lease
from relman_client.v1.log_pb2 import LogSource, WriteLogsRequest
from relman_client.v1.stage_pb2 import CompleteStageRequest, PipelineStage

_SOURCES = {process.STDOUT: LogSource.LOG_SOURCE_STDOUT, process.STDERR: LogSource.LOG_SOURCE_STDERR}


class Job:
    """One command, from its first line to its reported end."""

    def __init__(self, session: Session, stage: PipelineStage, lease: Lease | None = None, *, quiet: bool) -> None:
        self._session = session
        self._stage = stage
        self._lease = lease
        self._quiet = quiet
        self._lines = {number: process.Lines() for number in _SOURCES}
        self._outcome = Outcome.OUTCOME_FAILED
        self.ending = ""
        """How the command ended, in words."""
        self._result = ""
        self._log_lost = False
        self._deadline: float | None = None
        self._was_held = False
        stream = WriteLogsRequest.Open(
            deployment=stage.deployment_id, stage=stage.id, stream_name=_stream_name(stage), lease=lease
        )
        self._log = LogWriter(
            session.client,
            stream,
            on_break=lambda _error: note("relman: connection lost, buffering"),
            on_resume=lambda: note("relman: connection is back"),
        )

    def run(
        self, command: list[str], reins: process.Reins, environment: Mapping[str, str] | None = None, typed: str = ""
    ) -> int:
        """Run it; answers the exit status. `typed` is the command as someone typed it, for the log."""
        began = time.monotonic()
        self._write(f"$ {in_a_line(typed or shlex.join(command))}", LogSource.LOG_SOURCE_SYSTEM)
        try:
            status = process.run(command, self._take, reins, environment)
            self.ending = _ending(status)
        except process.CannotStartError as error:
            status = error.status
            self.ending = str(error)
            note(f"relman: {error}")
        if status == 0:
            self._outcome = Outcome.OUTCOME_SUCCEEDED
        self._result = f"{self.ending} ({exact(timedelta(seconds=time.monotonic() - began))})"
        return status

    def fail(self, why: str) -> None:
        """Whatever the command's exit status says, it has failed."""
        self._outcome = Outcome.OUTCOME_FAILED
        self._result = f"{why}; {self._result}"

    def end_log(self, patience: float) -> None:
        """Deliver what is left of the log, within so many seconds; what was not delivered then is said."""
        self._deadline = time.monotonic() + patience
        for number, lines in self._lines.items():
            for line in lines.end():
                self._write(line, _SOURCES[number])
        self._write(self._result, LogSource.LOG_SOURCE_SYSTEM)
        if self._log_lost:
            return
        try:
            self._log.close(self._patience())
        except TimeoutError:
            self._leave_undelivered()
        except RelmanError as error:
            self._lose_log(error)

    @property
    def undelivered(self) -> int:
        """Lines of the log that are not known to be on the server's disk."""
        return self._log.unacknowledged

    def complete(self, deadline: float) -> None:
        """Complete the stage as the command ended, by that time of the monotonic clock. Raises RelmanError."""
        request = CompleteStageRequest(
            stage=self._stage.id, outcome=self._outcome, output=self._result, lease=self._lease
        )
        patiently(self._session.client.stages.CompleteStage, request, deadline)

    def _take(self, number: int, data: bytes) -> None:
        """What came from the command: here first, then to the log."""
        self._echo(number, data)
        now = time.time_ns()
        for line in self._lines[number].feed(data):
            self._write(line, _SOURCES[number], now)

    def _echo(self, number: int, data: bytes) -> None:
        if self._quiet:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(number, rest) :]
        except OSError:
            self._quiet = True  # nobody reads it any more; the log goes on

    def _write(self, line: str | bytes, source: "LogSource.ValueType", nanoseconds: int | None = None) -> None:
        if self._log_lost:
            return
        try:
            if self._log.is_full and self._deadline is None and not self._was_held:
                self._was_held = True
                note("relman: 8 MiB of output wait for relman, so the command is held back")
            self._log.write(line, source=source, nanoseconds=nanoseconds, timeout=self._patience())
        except TimeoutError:
            self._leave_undelivered()
        except RelmanError as error:
            self._lose_log(error)

    def _patience(self) -> float | None:
        """Seconds to wait for the server; while the command runs, as long as it takes."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def _leave_undelivered(self) -> None:
        self._log_lost = True
        note(f"relman: {self.undelivered} lines of the log could not be delivered")

    def _lose_log(self, error: RelmanError) -> None:
        """The command matters more than its log: it goes on."""
        self._log_lost = True
        note(f"relman: the log ends here: {sentence(error)}")


def _stream_name(stage: PipelineStage) -> str:
    """A stream of its own for each attempt, since that of an earlier one is finished; no stage has such a name."""
    return f"{stage.name}@{stage.attempt}" if stage.attempt > 1 else ""


def in_a_line(command: str) -> str:
    """A command on one line, and not too long."""
    text = command.strip().replace("\n", "\\n")
    return text if len(text) <= 1_000 else f"{text[:1_000]}..."


def _ending(status: int) -> str:
    """How a command ended, in words."""
    try:
        return f"ended by {signal.Signals(status - 128).name}" if status > 128 else f"exit status {status}"
    except ValueError:
        return f"exit status {status}"
