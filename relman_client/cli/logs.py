"""`relman logs`: a deployment's log, also while it is written."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

from typing import Annotated

import typer

from relman_client.cli import exits
from relman_client.cli.inputs import optional_enum_of, time_of
from relman_client.cli.log_download import download
from relman_client.cli.log_lines import Clock, Look, Printer, local_time, since, utc_time
from relman_client.cli.options import new_app
from relman_client.cli.outages import Outages
from relman_client.cli.output import to_datetime
from relman_client.cli.session import Session, connected
from relman_client.cli.text import note, safe
from relman_client.tail import Download, Tail
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.deployment_pb2 import DeploymentStatus, GetDeploymentRequest
from relman_client.v1.log_pb2 import (
    DownloadLogsRequest,
    LogDownloadFormat,
    LogEntries,
    LogSource,
    TailLogsRequest,
    TailLogsResponse,
)

app = new_app()


@app.command()
@connected
def logs(
    session: Session,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the deployment has ended.")] = False,
    exit_status: Annotated[
        bool,
        typer.Option(
            "--exit-status",
            help="With --follow, exit as `relman deploy --wait` does: 0 succeeded, 3 failed, 4 rejected, 5 cancelled.",
        ),
    ] = False,
    stage: Annotated[str, typer.Option("--stage", "-s", help="Only the lines of this stage.")] = "",
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", min=0, max=10_000, help="Begin with this many of the last lines."),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option("--since", help="Begin there: 10m, 2h or a date and time."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="Only stdout, stderr or system. May be repeated."),
    ] = None,
    severity: Annotated[
        str | None,
        typer.Option("--severity", help="Only debug, info, warning, error or critical, and worse."),
    ] = None,
    contains: Annotated[
        str,
        typer.Option("--contains", "--grep", help="Only lines with this text, in any case."),
    ] = "",
    timestamps: Annotated[
        bool,
        typer.Option("--timestamps", "--times", "-t", help="Show when each was written."),
    ] = False,
    utc: Annotated[bool, typer.Option("--utc", help="The same, in UTC.")] = False,
    elapsed: Annotated[
        bool,
        typer.Option("--elapsed", help="Show how long after the deployment's start."),
    ] = False,
    ansi: Annotated[bool, typer.Option("--ansi", help="Show the colours that lines bring.")] = False,
    no_wrap: Annotated[bool, typer.Option("--no-wrap", "-S", help="Cut lines to the width of the terminal.")] = False,
    save: Annotated[
        str,
        typer.Option(
            "--download",
            metavar="FILE",
            help="Save the whole log instead, as text or with -o json as objects; - for standard output.",
        ),
    ] = "",
) -> None:
    """Show a deployment's log.

    With --follow, lines appear as they are written, also after the connection or the server was away: each once.
    Terminal escapes in lines are shown, not obeyed. With -o json each line is an object.
    """
    if save:
        if follow or begin or source or severity or contains or tail is not None:
            raise typer.BadParameter("of the other options only --stage goes with it", param_hint="--download")
        kind = LogDownloadFormat.LOG_DOWNLOAD_FORMAT_TEXT
        if session.wants_json:
            kind = LogDownloadFormat.LOG_DOWNLOAD_FORMAT_JSON_LINES
        wanted = DownloadLogsRequest(deployment=deployment, format=kind, stage=stage)
        download(Download(session.client, wanted, Outages(overwrites=save != "-").options), save)
        return
    if tail is not None and begin is not None:
        raise typer.BadParameter("give either --tail or --since", param_hint="--since")
    if exit_status and not follow:
        raise typer.BadParameter("needs --follow", param_hint="--exit-status")
    request = TailLogsRequest(
        deployment=deployment,
        follow=follow,
        stage=stage,
        sources=[optional_enum_of(LogSource, text, "--source") for text in source or ()],
        min_severity=optional_enum_of(Severity, severity, "--severity"),
        contains=contains,
        start_time=time_of(begin, "--since"),
    )
    if tail is not None:
        request.tail_lines = tail
    clock = _clock(session, deployment, elapsed=elapsed, utc=utc, timestamps=timestamps)
    look = Look(clock, names_stages=not stage, keeps_colours=ansi, wraps=not no_wrap)
    status = _show(Tail(session.client, request, Outages().options), Printer(session, deployment, look), told=follow)
    if exit_status:
        raise typer.Exit(exits.exit_of(status))


def _clock(session: Session, deployment: str, *, elapsed: bool, utc: bool, timestamps: bool) -> Clock | None:
    if elapsed:
        found = session.client.deployments.GetDeployment(GetDeploymentRequest(deployment=deployment))
        return since(to_datetime(found.deployed_at if found.HasField("deployed_at") else found.created_at))
    if utc:
        return utc_time
    return local_time if timestamps else None


def _show(tail: Tail, printer: Printer, *, told: bool) -> "DeploymentStatus.ValueType":
    """Print what comes; answers how the deployment ended, if it has."""
    status = DeploymentStatus.DEPLOYMENT_STATUS_UNSPECIFIED
    for event in tail:
        if isinstance(event, LogEntries):
            printer.print(event)
        elif isinstance(event, TailLogsResponse.Gap):
            note(_gap(event))
        else:
            status = event.status
            if told:
                note(f"the deployment has ended: {_word(status)}")
    return status


def _gap(event: TailLogsResponse.Gap) -> str:
    return f"some of the log is gone here: {safe(event.reason)}"


def _word(status: "DeploymentStatus.ValueType") -> str:
    return DeploymentStatus.Name(status).removeprefix("DEPLOYMENT_STATUS_").lower().replace("_", " ")
