"""`relman stage`: the steps of a deployment."""

from pathlib import Path
from typing import Annotated

import typer

from relman_client.cli.inputs import LimitOption, optional_enum_of
from relman_client.cli.options import MAX_NUMBER, new_app
from relman_client.cli.output import Columns, to_datetime, when, word
from relman_client.cli.session import Session, connected, read_text
from relman_client.cli.text import exact
from relman_client.v1 import stage_pb2 as pb
from relman_client.v1.common_pb2 import Outcome

app = new_app("Stages: the steps of a deployment.")


def _took(stage: pb.PipelineStage) -> str:
    if not (stage.HasField("started_at") and stage.HasField("completed_at")):
        return ""
    return exact(to_datetime(stage.completed_at) - to_datetime(stage.started_at))


def _progress(stage: pb.PipelineStage) -> str:
    percent = f"{stage.progress_percent} %" if stage.progress_percent else ""
    return " ".join(part for part in (percent, stage.progress_message) if part)


STAGES: Columns[pb.PipelineStage] = {
    "stage": lambda stage: stage.name,
    "status": lambda stage: word(stage, "status"),
    "attempt": lambda stage: str(stage.attempt or ""),
    "progress": _progress,
    "started": lambda stage: when(stage, "started_at"),
    "took": _took,
    "output": lambda stage: stage.output.partition("\n")[0][:60],
}

StageArgument = Annotated[str, typer.Argument(metavar="STAGE", help="DEPLOYMENT/NAME or id.")]
DeploymentArgument = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id.")]


@app.command("list")
@connected
def list_(
    session: Session,
    deployment: DeploymentArgument,
    status: Annotated[
        str | None, typer.Option("--status", help="Only pending, running, succeeded, failed, skipped ... ones.")
    ] = None,
    limit: LimitOption = 0,
) -> None:
    """List the stages of a deployment in their order."""
    request = pb.ListStagesRequest(deployment=deployment, status=optional_enum_of(pb.StageStatus, status, "--status"))
    session.show_list(session.client.stages.ListStages, request, "stages", STAGES, limit=limit, empty="no stages")


@app.command("get")
@connected
def get(session: Session, stage: StageArgument) -> None:
    """Show a stage."""
    session.show(session.client.stages.GetStage(pb.GetStageRequest(stage=stage)))


@app.command("create")
@connected
def create(
    session: Session,
    deployment: DeploymentArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique in the deployment.")],
    order: Annotated[
        int, typer.Option("--order", min=0, max=MAX_NUMBER, help="Its place; else after the last one.")
    ] = 0,
    timeout: Annotated[
        int | None, typer.Option("--timeout", min=1, max=MAX_NUMBER, metavar="SECONDS", help="How long it may run.")
    ] = None,
) -> None:
    """Add a stage to a deployment."""
    request = pb.CreateStageRequest(deployment=deployment, name=name, order=order, timeout_seconds=timeout or 0)
    session.show(session.client.stages.CreateStage(request))


@app.command("update")
@connected
def update(
    session: Session,
    stage: StageArgument,
    name: Annotated[str | None, typer.Option("--name", help="A new name.")] = None,
    order: Annotated[int | None, typer.Option("--order", min=0, max=MAX_NUMBER, help="Its place.")] = None,
    timeout: Annotated[
        int | None, typer.Option("--timeout", min=1, max=MAX_NUMBER, metavar="SECONDS", help="How long it may run.")
    ] = None,
    no_timeout: Annotated[bool, typer.Option("--no-timeout", help="Let it run as long as it takes.")] = False,
) -> None:
    """Change what is given."""
    if no_timeout and timeout is not None:
        raise typer.BadParameter("not together with --timeout", param_hint="--no-timeout")
    seconds = 0 if no_timeout else timeout
    request = pb.UpdateStageRequest(stage=stage, name=name, order=order, timeout_seconds=seconds)
    session.show(session.client.stages.UpdateStage(request))


@app.command("start")
@connected
def start(session: Session, stage: StageArgument) -> None:
    """Start a stage whose earlier ones are done."""
    session.show(session.client.stages.StartStage(pb.StartStageRequest(stage=stage)))


@app.command("progress")
@connected
def progress(
    session: Session,
    stage: StageArgument,
    percent: Annotated[int, typer.Argument(metavar="PERCENT", min=0, max=100, help="How far it is.")],
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="What it is doing.")] = "",
) -> None:
    """Report how far a running stage is."""
    request = pb.ReportStageProgressRequest(stage=stage, progress_percent=percent, progress_message=message)
    session.show(session.client.stages.ReportStageProgress(request))


@app.command("complete")
@connected
def complete(
    session: Session,
    stage: StageArgument,
    failed: Annotated[bool, typer.Option("--failed/--succeeded", help="How it ended.")] = False,
    result: Annotated[str, typer.Option("--result", help="A short result; long output belongs in the log.")] = "",
    result_file: Annotated[
        Path | None,
        typer.Option("--result-file", metavar="FILE", help="The same from a file, or - for standard input."),
    ] = None,
) -> None:
    """End a stage: it succeeded, unless --failed says otherwise."""
    request = pb.CompleteStageRequest(
        stage=stage,
        outcome=Outcome.OUTCOME_FAILED if failed else Outcome.OUTCOME_SUCCEEDED,
        output=read_text(result_file) if result_file else result,
    )
    session.show(session.client.stages.CompleteStage(request))


@app.command("skip")
@connected
def skip(
    session: Session, stage: StageArgument, reason: Annotated[str, typer.Option("--reason", help="Why.")] = ""
) -> None:
    """Leave a stage out."""
    session.show(session.client.stages.SkipStage(pb.SkipStageRequest(stage=stage, reason=reason)))


@app.command("retry")
@connected
def retry(session: Session, stage: StageArgument) -> None:
    """Make a new attempt of a stage that failed."""
    session.show(session.client.stages.RetryStage(pb.RetryStageRequest(stage=stage)))
