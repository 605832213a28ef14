"""`relman watch`: what happens to a deployment, as it happens."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from relman_client.cli.options import MAX_NUMBER, new_app
from relman_client.cli.output import as_json, print_json_line, to_datetime, word
from relman_client.cli.session import Session, connected
from relman_client.cli.text import STYLES, coloured, has_colours, note, safe
from relman_client.resume import ResumeOptions
from relman_client.v1.deployment_pb2 import DeploymentEvent, DeploymentEventType, DeploymentStatus
from relman_client.v1.stage_pb2 import PipelineStage
from relman_client.watch import Watch

app = new_app()


@app.command()
@connected
def watch(
    session: Session,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id.")],
    after_revision: Annotated[
        int | None,
        typer.Option(
            "--after-revision", min=0, max=MAX_NUMBER, help="Also show what happened after this one; 0 shows all."
        ),
    ] = None,
    keep_open: Annotated[bool, typer.Option("--keep-open", help="Go on after the deployment has ended.")] = False,
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit with 1 when it ends otherwise than succeeded.")
    ] = False,
) -> None:
    """Show the state now, then every event until the deployment has ended. With -o json each is an object on a line."""
    status = DeploymentStatus.DEPLOYMENT_STATUS_UNSPECIFIED
    options = ResumeOptions(
        on_break=lambda _error: note("connection to relman lost, trying again"),
        on_resume=lambda: note("connection to relman is back"),
    )
    for event in Watch(session.client, deployment, after_revision=after_revision, keep_open=keep_open, options=options):
        status = event.deployment.status
        if session.wants_json:
            print_json_line(as_json(event))
        else:
            sys.stdout.write(event_line(event) + "\n")
            sys.stdout.flush()
    if exit_status and status != DeploymentStatus.DEPLOYMENT_STATUS_SUCCEEDED:
        raise typer.Exit(1)


def event_line(event: DeploymentEvent) -> str:
    """When, what, and what to know of it."""
    colours = has_colours(sys.stdout)
    moment = to_datetime(event.time) if event.HasField("time") else datetime.now(UTC)  # a snapshot is of now
    time = moment.astimezone().strftime("%H:%M:%S")
    is_snapshot = event.type == DeploymentEventType.DEPLOYMENT_EVENT_TYPE_SNAPSHOT
    name = word(event.deployment, "status") if is_snapshot else word(event, "type")
    style = STYLES.get(word(event.stage, "status") if event.HasField("stage") else word(event.deployment, "status"), "")
    title = name.ljust(14)
    text = safe(_text(event, is_snapshot=is_snapshot))
    return f"{coloured(time, 'dim')}  {coloured(title, style)}  {text}" if colours else f"{time}  {title}  {text}"


def _text(event: DeploymentEvent, *, is_snapshot: bool) -> str:
    deployment = event.deployment
    if is_snapshot:
        what = f"{deployment.service_name}@{deployment.release_version} to {deployment.environment_name}"
        reasons = " ".join(blocker.message for blocker in deployment.blockers)
        return f"{what}: {reasons}" if reasons else what
    if event.HasField("stage"):
        return _stage_text(event.stage, event.message)
    return event.message or deployment.failure_reason


def _stage_text(stage: PipelineStage, message: str) -> str:
    progress = f"{stage.progress_percent} % {stage.progress_message}".strip() if stage.progress_percent else ""
    told = message or " ".join(part for part in (stage.name, word(stage, "status"), progress) if part)
    return told if stage.name in told else f"{stage.name}: {told}"
