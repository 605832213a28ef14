"""`relman run`: a command as a stage of a deployment."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

import os
import shlex
import signal
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

import typer

from relman_client.cli import process
from relman_client.cli.failures import CommandError, sentence
from relman_client.cli.inputs import seconds_of
from relman_client.cli.options import MAX_NUMBER, new_app
from relman_client.cli.output import to_datetime, word
from relman_client.cli.session import Session, connected
from relman_client.cli.text import ago, exact, note
from relman_client.errors import RelmanError
from relman_client.logs import LogWriter
from relman_client.retries import Backoff
from relman_client.v1.common_pb2 import Outcome
from relman_client.v1.log_pb2 import LogSource, WriteLogsRequest
from relman_client.v1.stage_pb2 import (
    CompleteStageRequest,
    CreateStageRequest,
    GetStageRequest,
    PipelineStage,
    StageStatus,
    StartStageRequest,
)

app = new_app()

_SOURCES = {process.STDOUT: LogSource.LOG_SOURCE_STDOUT, process.STDERR: LogSource.LOG_SOURCE_STDERR}


@app.command(context_settings={"allow_interspersed_args": False})
@connected
def run(
    session: Session,
    deployment: Annotated[
        str, typer.Option("--deployment", "-d", envvar="RELMAN_DEPLOYMENT", help="Id of the deployment.")
    ],
    stage: Annotated[str, typer.Option("--stage", "-s", help="Name of the stage.")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND [ARGUMENT]...", help="What to run.")],
    create: Annotated[bool, typer.Option("--create", help="Add the stage when the deployment has none such.")] = False,
    timeout: Annotated[
        int,
        typer.Option(
            "--timeout", min=0, max=MAX_NUMBER, metavar="SECONDS", help="Timeout of a stage that --create adds."
        ),
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show the command's output here.")] = False,
    give_up_after: Annotated[
        str,
        typer.Option(
            "--give-up-after", metavar="SPAN", help="How long to try to deliver the rest when the command has ended."
        ),
    ] = "5m",
) -> None:
    """Run a command as a stage of a deployment.

    The stage is started, every line the command prints becomes a line of the log while it runs, and the stage ends as
    the command does. When the server is away meanwhile, up to 8 MiB of output wait for it, then the command is held
    back. Signals are passed on while it runs; standard input is, too, unless it is a terminal. What it leaves behind
    may print for two seconds more.

    The exit status is the command's, 128 + N when signal N ended it, 127 when there is no such command, 126 when it
    cannot be executed. It is 1 when the command succeeded and relman could not be told.

    Example: relman run --deployment ID --stage test -- make test
    """
    patience = seconds_of(give_up_after, "--give-up-after")
    started = _start(session, deployment, stage, create=create, timeout=timeout)
    job = _Job(session, started, quiet=quiet)
    status = job.run(command)
    told = job.report(patience)
    raise typer.Exit(status if told or status else 1)


def _start(session: Session, deployment: str, name: str, *, create: bool, timeout: int) -> PipelineStage:
    """Start the stage, or say why not and what to do."""
    reference = f"{deployment}/{name}"
    try:
        return session.client.stages.StartStage(StartStageRequest(stage=reference))
    except RelmanError as error:
        if error.reason == "NOT_FOUND" and create:
            request = CreateStageRequest(deployment=deployment, name=name, timeout_seconds=timeout)
            session.client.stages.CreateStage(request)
            return session.client.stages.StartStage(StartStageRequest(stage=reference))
        if error.reason == "NOT_FOUND" and error.resource_type == "stage":
            raise CommandError(f"the deployment has no stage {name!r}; --create adds it") from error
        if error.reason == "INVALID_STATE":
            _explain(session.client.stages.GetStage(GetStageRequest(stage=reference)), reference)
        raise


def _explain(stage: PipelineStage, reference: str) -> None:
    """Say what to do about a stage that cannot be started because of its own state."""
    if stage.status == StageStatus.STAGE_STATUS_RUNNING:
        raise CommandError(
            f"stage {stage.name} is running already, started {ago(to_datetime(stage.started_at))}, perhaps by a"
            f" `relman run` that was killed. If so, end that attempt with `relman stage complete --failed {reference}`"
            f" and make a new one with `relman stage retry {reference}`"
        )
    if stage.status != StageStatus.STAGE_STATUS_PENDING:
        raise CommandError(
            f"stage {stage.name} has ended already: {word(stage, 'status')}."
            f" `relman stage retry {reference}` makes a new attempt"
        )


class _Job:
    """One command, from its first line to its reported end."""

    def __init__(self, session: Session, stage: PipelineStage, *, quiet: bool) -> None:
        self._session = session
        self._stage = stage
        self._quiet = quiet
        self._lines = {number: process.Lines() for number in _SOURCES}
        self._outcome = Outcome.OUTCOME_FAILED
        self._result = ""
        self._log_lost = False
        self._deadline: float | None = None
        stream = WriteLogsRequest.Open(deployment=stage.deployment_id, stage=stage.id, stream_name=_stream_name(stage))
        self._log = LogWriter(
            session.client,
            stream,
            on_break=lambda _error: note("relman: connection lost, buffering"),
            on_resume=lambda: note("relman: connection is back"),
        )

    def run(self, command: list[str]) -> int:
        """Run it; answers the exit status."""
        began = time.monotonic()
        self._write(f"$ {_in_a_line(command)}", LogSource.LOG_SOURCE_SYSTEM)
        try:
            status = process.run(command, self._take)
            self._result = _ending(status)
        except process.CannotStartError as error:
            status = error.status
            self._result = str(error)
            note(f"relman: {error}")
        if status == 0:
            self._outcome = Outcome.OUTCOME_SUCCEEDED
        self._result += f" ({exact(timedelta(seconds=time.monotonic() - began))})"
        return status

    def report(self, patience: float) -> bool:
        """Deliver what is left of the log, then how it ended; answers whether relman knows the latter."""
        self._deadline = time.monotonic() + patience
        try:
            for number, lines in self._lines.items():
                for line in lines.end():
                    self._write(line, _SOURCES[number])
            self._write(self._result, LogSource.LOG_SOURCE_SYSTEM)
            self._close_log()
            self._complete(self._deadline)
        except RelmanError as error:
            note(f"relman: the stage's end could not be reported: {sentence(error)}")
            return False
        except KeyboardInterrupt:
            note(f"relman: interrupted; the stage's end and {self._log.unacknowledged} lines may be missing")
            return False
        return True

    def _close_log(self) -> None:
        if self._log_lost:
            return
        try:
            self._log.close(self._patience())
        except TimeoutError:
            self._leave_undelivered()
        except RelmanError as error:
            self._lose_log(error)

    def _complete(self, deadline: float) -> None:
        """Complete the stage; the same request every time, so that it has one effect."""
        request = CompleteStageRequest(
            stage=self._stage.id, outcome=self._outcome, output=self._result, request_id=str(uuid.uuid4())
        )
        _until(deadline, lambda: self._session.client.stages.CompleteStage(request))

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
        note(f"relman: {self._log.unacknowledged} lines of the log could not be delivered")

    def _lose_log(self, error: RelmanError) -> None:
        """The command matters more than its log: it goes on."""
        self._log_lost = True
        note(f"relman: the log ends here: {sentence(error)}")


def _stream_name(stage: PipelineStage) -> str:
    """A stream of its own for each attempt: the one of an earlier attempt is finished."""
    return f"{stage.name}-attempt-{stage.attempt}" if stage.attempt > 1 else ""


def _in_a_line(command: list[str]) -> str:
    """A command as one would type it, on one line and not too long."""
    text = shlex.join(command).replace("\n", "\\n")
    return text if len(text) <= 1_000 else f"{text[:1_000]}..."


def _ending(status: int) -> str:
    """How a command ended, in words."""
    try:
        return f"ended by {signal.Signals(status - 128).name}" if status > 128 else f"exit status {status}"
    except ValueError:
        return f"exit status {status}"


def _until(deadline: float, call: Callable[[], object]) -> None:
    """Repeat a call while it may still succeed and there is time."""
    backoff = Backoff()
    while True:
        try:
            call()
        except RelmanError as error:
            delay = backoff.next(error)
            if not error.is_passing or time.monotonic() + delay > deadline:
                raise
            time.sleep(delay)
        else:
            return
