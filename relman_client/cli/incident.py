"""`relman incident`: what went wrong for users, and which deployment caused it."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

from typing import Annotated

import typer

from relman_client.cli.inputs import LimitOption, optional_enum_of, time_of
from relman_client.cli.options import new_app
from relman_client.cli.output import Columns, when, word
from relman_client.cli.session import Session, connected
from relman_client.v1 import incident_pb2 as pb
from relman_client.v1.common_pb2 import Severity

app = new_app("Incidents: what went wrong for users, and which deployment caused it.")

INCIDENTS: Columns[pb.Incident] = {
    "<id>": lambda incident: incident.id,
    "service": lambda incident: incident.service_name,
    "environment": lambda incident: incident.environment_name,
    "severity": lambda incident: word(incident, "severity"),
    "title": lambda incident: incident.title,
    "noticed": lambda incident: when(incident, "detected_at"),
    "resolved": lambda incident: when(incident, "resolved_at") or "open",
    "caused by": lambda incident: incident.deployment_id,
}

IncidentArgument = Annotated[str, typer.Argument(metavar="INCIDENT", help="Id.")]
SeverityOption = Annotated[
    str | None, typer.Option("--severity", help="info, warning, error or critical. [default: error]")
]


@app.command("create")
@connected
def create(
    session: Session,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What users see.")],
    deployment: Annotated[str, typer.Option("--deployment", help="Which deployment caused it, if that is known.")] = "",
    service: Annotated[str, typer.Option("--service", help="Without --deployment: of which service.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="Without --deployment: where.")] = "",
    severity: SeverityOption = None,
    detected: Annotated[str | None, typer.Option("--detected", help="When it was noticed: 10m ago, or a time.")] = None,
    url: Annotated[str, typer.Option("--url", help="Where it is handled.")] = "",
) -> None:
    """Record an incident. Linked to a deployment it counts in its failure rate and its time to restore."""
    request = pb.CreateIncidentRequest(
        title=title,
        deployment=deployment,
        service=service,
        environment=environment,
        severity=optional_enum_of(Severity, severity, "--severity"),
        detected_at=time_of(detected, "--detected"),
        external_url=url,
    )
    session.show(session.client.incidents.CreateIncident(request))


@app.command("get")
@connected
def get(session: Session, incident: IncidentArgument) -> None:
    """Show an incident."""
    session.show(session.client.incidents.GetIncident(pb.GetIncidentRequest(incident=incident)))


@app.command("list")
@connected
def list_(
    session: Session,
    open_: Annotated[bool | None, typer.Option("--open/--resolved", help="Only these.")] = None,
    linked: Annotated[bool | None, typer.Option("--linked/--unlinked", help="Only these.")] = None,
    service: Annotated[str, typer.Option("--service", help="Only those of this service.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="Only those in this environment.")] = "",
    deployment: Annotated[str, typer.Option("--deployment", help="Only those that this deployment caused.")] = "",
    severity: Annotated[str | None, typer.Option("--severity", help="Only those of this severity.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Noticed since: 10m, 2d or a date.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Noticed before.")] = None,
    limit: LimitOption = 50,
) -> None:
    """List incidents, the newest first."""
    request = pb.ListIncidentsRequest(
        service=service,
        environment=environment,
        deployment=deployment,
        severity=optional_enum_of(Severity, severity, "--severity"),
        open=open_,
        linked=linked,
        start_date=time_of(since, "--since"),
        end_date=time_of(until, "--until"),
    )
    call = session.client.incidents.ListIncidents
    session.show_list(call, request, "incidents", INCIDENTS, limit=limit, empty="no incidents")


@app.command("link")
@connected
def link(
    session: Session,
    incident: IncidentArgument,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help='What caused it; "" takes the link away.')],
) -> None:
    """Say which deployment caused an incident."""
    request = pb.UpdateIncidentRequest(incident=incident, deployment=deployment)
    session.show(session.client.incidents.UpdateIncident(request))


@app.command("resolve")
@connected
def resolve(
    session: Session,
    incident: IncidentArgument,
    at: Annotated[str | None, typer.Option("--at", help="When users were well again: 10m ago, or a time.")] = None,
) -> None:
    """End an incident: users are well again."""
    request = pb.ResolveIncidentRequest(incident=incident, resolved_at=time_of(at, "--at"))
    session.show(session.client.incidents.ResolveIncident(request))
