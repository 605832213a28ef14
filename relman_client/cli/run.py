"""`relman run`: a command as a stage of a deployment."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer

from relman_client.cli.failures import CommandError, sentence
from relman_client.cli.inputs import seconds_of
from relman_client.cli.job import Job
from relman_client.cli.lease import LeaseOption, lease_of
from relman_client.cli.options import MAX_NUMBER, new_app
from relman_client.cli.output import to_datetime, word
from relman_client.cli.process import Reins, heeding
from relman_client.cli.session import Session, connected
from relman_client.cli.text import ago, note
from relman_client.errors import RelmanError
from relman_client.leases import LeaseKeeper
from relman_client.v1.lease_pb2 import Lease
from relman_client.v1.stage_pb2 import (
    CreateStageRequest,
    GetStageRequest,
    PipelineStage,
    StageStatus,
    StartStageRequest,
)

app = new_app()


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
        int | None,
        typer.Option(
            "--timeout", min=1, max=MAX_NUMBER, metavar="SECONDS", help="Timeout of a stage that --create adds."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show the command's output here.")] = False,
    give_up_after: Annotated[
        str,
        typer.Option(
            "--give-up-after", metavar="SPAN", help="How long to try to deliver the rest when the command has ended."
        ),
    ] = "5m",
    lease: LeaseOption = None,
) -> None:
    """Run a command as a stage of a deployment.

    The stage is started, every line the command prints becomes a line of the log while it runs, and the stage ends as
    the command does. When the server is away meanwhile, up to 8 MiB of output wait for it, then the command is held
    back. Signals are passed on while it runs; standard input is, too, unless it is a terminal. What it leaves behind
    may print for two seconds more.

    With --lease, heartbeats keep the lease meanwhile, and nothing is written once someone else has taken the deployment
    over or it has ended: the command gets SIGTERM then, SIGKILL 10 seconds later, and relman exits with 1.

    The exit status is the command's, 128 + N when signal N ended it, 127 when there is no such command, 126 when it
    cannot be executed. It is 1 when the command succeeded and relman could not be told.

    Example: relman run --deployment ID --stage test -- make test
    """
    patience, held = seconds_of(give_up_after, "--give-up-after"), lease_of(lease)
    started = _start(session, deployment, stage, held, create=create, timeout=timeout)
    job = Job(session, started, held, quiet=quiet)
    reins = Reins()
    with _kept(session, deployment, held, reins) as keeper:
        with heeding(partial(_heed, reins)):
            status = job.run(command, reins)
        told = _report(job, keeper, patience)
    raise typer.Exit(status if told or (status and not _is_lost(keeper)) else 1)


def _heed(reins: Reins, number: int) -> None:
    """Pass a signal on; once the command has ended it is for relman, which waits, perhaps for a server that is away."""
    if reins.is_slack:
        raise KeyboardInterrupt
    reins.send(number)


@contextmanager
def _kept(session: Session, deployment: str, lease: Lease | None, reins: Reins) -> Iterator[LeaseKeeper | None]:
    """Keep the lease, if there is one; end the command when it is lost."""
    if lease is None:
        yield None
        return

    def end(error: RelmanError) -> None:
        note(f"relman: the lease is lost, so the command is ended: {sentence(error)}")
        reins.end()

    with LeaseKeeper(session.client, deployment, lease, on_lost=end) as keeper:
        yield keeper


def _is_lost(keeper: LeaseKeeper | None) -> bool:
    return keeper is not None and keeper.failure is not None


def _report(job: Job, keeper: LeaseKeeper | None, patience: float) -> bool:
    """Deliver the rest; answers whether relman knows how the stage ended."""
    deadline = time.monotonic() + patience
    try:
        job.end_log(min(patience, 10) if _is_lost(keeper) else patience)
        if not _is_lost(keeper):
            job.complete(deadline)
            return True
    except RelmanError as error:
        note(f"relman: the stage's end could not be reported: {sentence(error)}")
    except KeyboardInterrupt:
        note(f"relman: interrupted; the stage's end and {job.undelivered} lines may be missing")
    return False


def _start(
    session: Session, deployment: str, name: str, lease: Lease | None, *, create: bool, timeout: int | None
) -> PipelineStage:
    """Start the stage, or say why not and what to do."""
    reference = f"{deployment}/{name}"
    request = StartStageRequest(stage=reference, lease=lease)
    try:
        return session.client.stages.StartStage(request)
    except RelmanError as error:
        if error.reason == "NOT_FOUND" and create:
            missing = CreateStageRequest(deployment=deployment, name=name, timeout_seconds=timeout or 0)
            session.client.stages.CreateStage(missing)
            return session.client.stages.StartStage(request)
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
