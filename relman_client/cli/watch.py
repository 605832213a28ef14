"""`relman watch`: what happens to a deployment, or to all of them, as it happens."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import typer

from relman_client.cli import exits
from relman_client.cli.inputs import enum_of
from relman_client.cli.options import MAX_NUMBER, new_app
from relman_client.cli.outages import Outages
from relman_client.cli.output import as_json, print_json_line, to_datetime, word
from relman_client.cli.session import Session, connected
from relman_client.cli.text import STYLES, coloured, has_colours, safe
from relman_client.v1.deployment_pb2 import (
    DeploymentEvent,
    DeploymentEventType,
    DeploymentStatus,
    WatchDeploymentsRequest,
)
from relman_client.v1.stage_pb2 import PipelineStage
from relman_client.watch import Feed, Watch

app = new_app()


@app.command()
@connected
def watch(
    session: Session,
    deployment: Annotated[
        str, typer.Argument(metavar="DEPLOYMENT", help="Id; without it, all deployments are watched.")
    ] = "",
    after_revision: Annotated[
        int | None,
        typer.Option(
            "--after-revision", min=0, max=MAX_NUMBER, help="Also show what happened after this one; 0 shows all."
        ),
    ] = None,
    keep_open: Annotated[bool, typer.Option("--keep-open", help="Go on after the deployment has ended.")] = False,
    exit_status: Annotated[
        bool,
        typer.Option(
            "--exit-status", help="Exit as `relman deploy --wait` does: 0 succeeded, 3 failed, 4 rejected, 5 cancelled."
        ),
    ] = False,
    service: Annotated[str, typer.Option("--service", "-s", help="Of all, only those of this service.")] = "",
    environment: Annotated[
        str, typer.Option("--environment", "-e", help="Of all, only those into this environment.")
    ] = "",
    release: Annotated[str, typer.Option("--release", "-r", help="Of all, only those of this release.")] = "",
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help="Of all, only those in this state then. May be repeated."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only events of this type, such as stage-ended. May be repeated."),
    ] = None,
    cursor: Annotated[str, typer.Option("--cursor", help="Go on after this one of an earlier event.")] = "",
) -> None:
    """Show the state now, then every event until the deployment has ended; without an id, what happens to any.

    With -o json each event is an object on a line, and its `cursor` says where to go on.
    """
    if deployment:
        if service or environment or release or status or kind or cursor:
            raise typer.BadParameter("the filters are for all deployments, not for one", param_hint="DEPLOYMENT")
        events = Watch(
            session.client,
            deployment,
            after_revision=after_revision,
            keep_open=keep_open,
            options=Outages().options,
        )
        ended = _show(session, events)
        if exit_status:
            raise typer.Exit(exits.exit_of(ended))
        return
    if after_revision is not None or keep_open or exit_status:
        raise typer.BadParameter("is missing: these options are for one", param_hint="DEPLOYMENT")
    wanted = {enum_of(DeploymentStatus, text, "--status") for text in status or ()}
    request = WatchDeploymentsRequest(
        service=service,
        environment=environment,
        release=release,
        types=[enum_of(DeploymentEventType, text, "--type") for text in kind or ()],
        cursor=cursor,
    )
    feed = Feed(session.client, request, Outages().options)
    _show(session, (event for event in feed if not wanted or event.deployment.status in wanted), named=True)


def _show(session: Session, events: Iterable[DeploymentEvent], *, named: bool = False) -> "DeploymentStatus.ValueType":
    """Print events as they come; answers the last state."""
    status = DeploymentStatus.DEPLOYMENT_STATUS_UNSPECIFIED
    for event in events:
        status = event.deployment.status
        if session.wants_json:
            print_json_line(as_json(event))
        else:
            sys.stdout.write(event_line(event, named=named) + "\n")
            sys.stdout.flush()
    return status


def event_line(event: DeploymentEvent, *, named: bool = False) -> str:
    """When, what, and what to know of it; `named` says of which deployment, too."""
    colours = has_colours(sys.stdout)
    moment = to_datetime(event.time) if event.HasField("time") else datetime.now(UTC)  # a snapshot is of now
    time = moment.astimezone().strftime("%H:%M:%S")
    is_snapshot = event.type == DeploymentEventType.DEPLOYMENT_EVENT_TYPE_SNAPSHOT
    name = word(event.deployment, "status") if is_snapshot else word(event, "type")
    style = STYLES.get(word(event.stage, "status") if event.HasField("stage") else word(event.deployment, "status"), "")
    title = name.ljust(14)
    text = safe(_text(event, is_snapshot=is_snapshot))
    if named:
        which, about = safe(_which(event)), "" if event.HasField("stage") else safe(event.deployment_id)
        if colours:
            which, about = coloured(which, "bold"), coloured(about, "dim") if about else ""
        text = "  ".join(filter(None, (which, text, about)))
    return f"{coloured(time, 'dim')}  {coloured(title, style)}  {text}" if colours else f"{time}  {title}  {text}"


def _which(event: DeploymentEvent) -> str:
    deployment = event.deployment
    return f"{deployment.service_name}@{deployment.release_version} to {deployment.environment_name}"


def _text(event: DeploymentEvent, *, is_snapshot: bool) -> str:
    deployment = event.deployment
    if is_snapshot:
        reasons = " ".join(blocker.message for blocker in deployment.blockers)
        return f"{_which(event)}: {reasons}" if reasons else _which(event)
    if event.HasField("stage"):
        return _stage_text(event.stage, event.message)
    return event.message or deployment.failure_reason


def _stage_text(stage: PipelineStage, message: str) -> str:
    progress = f"{stage.progress_percent} % {stage.progress_message}".strip() if stage.progress_percent else ""
    told = message or " ".join(part for part in (stage.name, word(stage, "status"), progress) if part)
    return told if stage.name in told else f"{stage.name}: {told}"
