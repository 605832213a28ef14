"""`relman logs`: a deployment's log, also while it is written."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from relman_client.cli.inputs import optional_enum_of, time_of
from relman_client.cli.options import new_app
from relman_client.cli.output import as_json, print_json_line, to_datetime
from relman_client.cli.session import Session, connected
from relman_client.cli.text import coloured, has_colours, note, safe
from relman_client.errors import RelmanError
from relman_client.resume import ResumeOptions
from relman_client.tail import Tail
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.deployment_pb2 import DeploymentStatus, GetDeploymentStagesRequest
from relman_client.v1.log_pb2 import LogEntries, LogEntry, LogSource, TailLogsRequest, TailLogsResponse

app = new_app()

_BY_SOURCE = {LogSource.LOG_SOURCE_SYSTEM: "cyan", LogSource.LOG_SOURCE_STDERR: "yellow"}
_BY_SEVERITY = {
    Severity.SEVERITY_DEBUG: "dim",
    Severity.SEVERITY_WARNING: "yellow",
    Severity.SEVERITY_ERROR: "red",
    Severity.SEVERITY_CRITICAL: "red",
}


@app.command()
@connected
def logs(
    session: Session,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the deployment has ended.")] = False,
    stage: Annotated[str, typer.Option("--stage", "-s", help="Only the lines of this stage.")] = "",
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, max=10_000, help="Begin with this many of the last lines.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="Begin there: 10m, 2h or a date and time.")] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Only stdout, stderr or system. May be repeated.")
    ] = None,
    severity: Annotated[
        str | None, typer.Option("--severity", help="Only debug, info, warning, error or critical, and worse.")
    ] = None,
    contains: Annotated[str, typer.Option("--contains", help="Only lines with this text, in any case.")] = "",
    times: Annotated[bool, typer.Option("--times", "-t", help="Show when each line was written.")] = False,
) -> None:
    """Show a deployment's log.

    With --follow, lines appear as they are written, also after the connection or the server was away. Terminal escapes
    in lines are shown, not obeyed. With -o json each line is an object.
    """
    if tail is not None and since is not None:
        raise typer.BadParameter("give either --tail or --since", param_hint="--since")
    request = TailLogsRequest(
        deployment=deployment,
        follow=follow,
        stage=stage,
        sources=[optional_enum_of(LogSource, text, "--source") for text in source or ()],
        min_severity=optional_enum_of(Severity, severity, "--severity"),
        contains=contains,
        start_time=time_of(since, "--since"),
    )
    if tail is not None:
        request.tail_lines = tail
    printer = Printer(session, deployment, prefixed=not stage, times=times)
    for event in Tail(session.client, request, ResumeOptions(on_break=_on_break, on_resume=_on_resume)):
        if isinstance(event, LogEntries):
            printer.print(event)
        elif isinstance(event, TailLogsResponse.Gap):
            note(f"lines {getattr(event, 'from')} to {event.to - 1} are gone: {safe(event.reason)}")
        elif follow and event.status:
            name = DeploymentStatus.Name(event.status).removeprefix("DEPLOYMENT_STATUS_")
            note(f"the deployment has ended: {name.lower().replace('_', ' ')}")


class Printer:
    """Prints lines with the names of their stages."""

    def __init__(self, session: Session, deployment: str, *, prefixed: bool, times: bool) -> None:
        self._session = session
        self._deployment = deployment
        self._prefixed = prefixed
        self._times = times
        self._colours = has_colours(sys.stdout)
        self._stages: dict[str, str] = {}

    def print(self, chunk: LogEntries) -> None:
        """Print lines that were committed together, at once."""
        self._learn_stages(entry.stage_id for entry in chunk.entries)
        if self._session.wants_json:
            for entry in chunk.entries:
                print_json_line({**as_json(entry), "stage": self._stages.get(entry.stage_id, "")})
        else:
            sys.stdout.write("".join(self._line(entry) for entry in chunk.entries))
            sys.stdout.flush()

    def _line(self, entry: LogEntry) -> str:
        text = safe(entry.text)
        prefix = ""
        if self._times:
            prefix = f"{to_datetime(entry.time).astimezone().isoformat(timespec='milliseconds')} "
        if self._prefixed:
            width = max(map(len, self._stages.values()), default=0)
            prefix += f"{safe(self._stages.get(entry.stage_id, '')).ljust(width)} | "
        if not self._colours:
            return f"{prefix}{text}\n"
        style = _BY_SEVERITY.get(entry.severity) or _BY_SOURCE.get(entry.source, "")
        return f"{coloured(prefix, 'dim') if prefix else ''}{coloured(text, style)}\n"

    def _learn_stages(self, ids: Iterable[str]) -> None:
        """Ask for the names of stages when one is new."""
        if all(not stage_id or stage_id in self._stages for stage_id in ids):
            return
        request = GetDeploymentStagesRequest(deployment=self._deployment)
        answer = self._session.client.deployments.GetDeploymentStages(request)
        self._stages.update({stage.id: stage.name for stage in answer.stages})


def _on_break(_error: RelmanError) -> None:
    note("connection to relman lost, trying again")


def _on_resume() -> None:
    note("connection to relman is back")
