"""`relman service`: what is released."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

from typing import Annotated

import typer

from relman_client.cli.inputs import LimitOption
from relman_client.cli.options import new_app
from relman_client.cli.output import Columns, when, word
from relman_client.cli.session import Session, connected
from relman_client.v1 import catalog_pb2 as pb

app = new_app("Services: what is released.")

SERVICES: Columns[pb.Service] = {
    "name": lambda service: service.name,
    "active": lambda service: "yes" if service.is_active else "no",
    "slack": lambda service: service.slack_channel,
    "repository": lambda service: service.repository_url,
    "description": lambda service: service.description,
    "created": lambda service: when(service, "created_at"),
}
HEALTH: Columns[pb.ServiceEnvironmentHealth] = {
    "environment": lambda health: health.environment_name,
    "status": lambda health: word(health, "status"),
    "runs": lambda health: health.release_version,
    "since": lambda health: when(health, "running_since"),
    "last outcome": lambda health: word(health, "last_outcome"),
    "open incidents": lambda health: f"{health.open_incidents:,}",
    "blockers": lambda health: "; ".join(blocker.message for blocker in health.blockers),
}

ServiceArgument = Annotated[str, typer.Argument(metavar="SERVICE", help="Name or id.")]
Description = Annotated[str | None, typer.Option("--description", help="What it does.")]
Repository = Annotated[str | None, typer.Option("--repository", metavar="URL", help="Where its source is.")]
Team = Annotated[str | None, typer.Option("--team", help="The team that owns it, name or id.")]
Slack = Annotated[str | None, typer.Option("--slack", metavar="CHANNEL", help="Where to reach its people.")]
Owner = Annotated[str | None, typer.Option("--owner", metavar="USER", help="Who answers for it.")]


@app.command("create")
@connected
def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique: lower-case letters, digits and hyphens.")],
    description: Description = None,
    repository: Repository = None,
    team: Team = None,
    slack: Slack = None,
    owner: Owner = None,
) -> None:
    """Add a service to the catalog. You answer for it unless you name someone else."""
    request = pb.CreateServiceRequest(
        name=name,
        description=description or "",
        repository_url=repository or "",
        team=team or "",
        slack_channel=slack or "",
        owner=owner or "",
    )
    session.show(session.client.catalog.CreateService(request))


@app.command("get")
@connected
def get(session: Session, service: ServiceArgument) -> None:
    """Show a service."""
    session.show(session.client.catalog.GetService(pb.GetServiceRequest(service=service)))


@app.command("list")
@connected
def list_(
    session: Session,
    team: Annotated[str, typer.Option("--team", help="Only those of this team.")] = "",
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Only these.")] = None,
    query: Annotated[str, typer.Option("--query", "-q", help="Only those whose name or description has this.")] = "",
    limit: LimitOption = 50,
) -> None:
    """List services."""
    request = pb.ListServicesRequest(team=team, is_active=active, query=query)
    call = session.client.catalog.ListServices
    session.show_list(call, request, "services", SERVICES, limit=limit, empty="no services")


@app.command("update")
@connected
def update(
    session: Session,
    service: ServiceArgument,
    name: Annotated[str | None, typer.Option("--name", help="A new name.")] = None,
    description: Description = None,
    repository: Repository = None,
    team: Team = None,
    slack: Slack = None,
    owner: Owner = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Whether it may be deployed.")] = None,
) -> None:
    """Change what is given; --team "" takes it from its team."""
    request = pb.UpdateServiceRequest(
        service=service,
        name=name,
        description=description,
        repository_url=repository,
        team=team,
        slack_channel=slack,
        owner=owner,
        is_active=active,
    )
    session.show(session.client.catalog.UpdateService(request))


@app.command("delete")
@connected
def delete(session: Session, service: ServiceArgument) -> None:
    """Delete a service that has no releases."""
    session.client.catalog.DeleteService(pb.DeleteServiceRequest(service=service))
    session.done(f"service {service} is deleted")


@app.command("health")
@connected
def health(session: Session, service: ServiceArgument) -> None:
    """Show what runs where, and how it is doing."""
    answer = session.client.catalog.GetServiceHealth(pb.GetServiceHealthRequest(service=service))
    session.show(answer, [("environments", HEALTH)])
