"""`relman freeze`: when nothing may be deployed."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from relman_client.cli.inputs import LimitOption
from relman_client.cli.options import new_app
from relman_client.cli.output import Columns
from relman_client.cli.session import Session, connected
from relman_client.cli.windows import days_text, end_text, once_of, once_text, time_text, weekly_of, weekly_text
from relman_client.v1 import policy_pb2 as pb

T = TypeVar("T")

app = new_app("Freezes: when nothing may be deployed.")

FREEZES: Columns[pb.DeployPolicy] = {
    "name": lambda policy: policy.name,
    "on": lambda policy: "yes" if policy.is_active else "no",
    "services": lambda policy: _named(policy.services),
    "environments": lambda policy: _named(policy.environments),
    "windows": lambda policy: "; ".join(
        [weekly_text(window) for window in policy.weekly_windows]
        + [once_text(window) for window in policy.one_time_windows]
    ),
    "description": lambda policy: policy.description,
}
WEEKLY: Columns[pb.WeeklyWindow] = {
    "on": lambda window: days_text(window.days),
    "from": lambda window: window.start,
    "until": end_text,
    "zone": lambda window: window.time_zone,
}
ONCE: Columns[pb.OneTimeWindow] = {
    "from": lambda window: time_text(window.start),
    "until": lambda window: time_text(window.end),
}

FreezeArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name or id.")]
Weekly = Annotated[
    list[str] | None,
    typer.Option(
        "--weekly",
        metavar="WINDOW",
        help='Every week: "fri-sun 18:00-06:00 Europe/Berlin" is each of these nights; "sat,sun 00:00-24:00" two whole'
        " days in UTC. May be repeated.",
    ),
]
Once = Annotated[
    list[str] | None,
    typer.Option("--once", metavar="FROM/TO", help="Once: 2026-12-24T00:00Z/2026-12-27T00:00Z. May be repeated."),
]
Services = Annotated[
    list[str] | None, typer.Option("--service", help="A service it holds for; without, all. May be repeated.")
]
Environments = Annotated[
    list[str] | None, typer.Option("--environment", help="An environment it holds for; without, all. May be repeated.")
]
Description = Annotated[str | None, typer.Option("--description", help="What it is for.")]


def _named(names: Iterable[str]) -> str:
    return ", ".join(names) or "all"


def _each(read: Callable[[str], T], texts: Iterable[str] | None) -> list[T]:
    """What is given, read; an empty text is nothing, so that an update can take everything away."""
    return [read(text) for text in texts or () if text]


def _show(session: Session, policy: pb.DeployPolicy) -> None:
    if not session.wants_json:  # an empty list means all, and people should not have to know
        policy.services[:] = policy.services or ["all"]
        policy.environments[:] = policy.environments or ["all"]
    session.show(policy, [("weekly_windows", WEEKLY), ("one_time_windows", ONCE)])


@app.command("create")
@connected
def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique: lower-case letters, digits and hyphens.")],
    weekly: Weekly = None,
    once: Once = None,
    service: Services = None,
    environment: Environments = None,
    description: Description = None,
    off: Annotated[bool, typer.Option("--off", help="Not in force yet.")] = False,
) -> None:
    """Say when nothing may be deployed; it is in force at once."""
    request = pb.CreateDeployPolicyRequest(
        name=name,
        description=description or "",
        services=service,
        environments=environment,
        weekly_windows=_each(weekly_of, weekly),
        one_time_windows=_each(once_of, once),
        is_active=not off,
    )
    _show(session, session.client.policies.CreateDeployPolicy(request))


@app.command("get")
@connected
def get(session: Session, name: FreezeArgument) -> None:
    """Show a freeze and its windows."""
    _show(session, session.client.policies.GetDeployPolicy(pb.GetDeployPolicyRequest(deploy_policy=name)))


@app.command("list")
@connected
def list_(
    session: Session,
    service: Annotated[str, typer.Option("--service", help="Only those that hold for this service.")] = "",
    environment: Annotated[str, typer.Option("--environment", help="Only those that hold for this one.")] = "",
    on: Annotated[bool | None, typer.Option("--on/--off", help="Only those in force, or only the others.")] = None,
    query: Annotated[str, typer.Option("--query", "-q", help="Only those whose name or description has this.")] = "",
    limit: LimitOption = 50,
) -> None:
    """List freezes and their windows."""
    request = pb.ListDeployPoliciesRequest(service=service, environment=environment, is_active=on, query=query)
    call = session.client.policies.ListDeployPolicies
    session.show_list(call, request, "deploy_policies", FREEZES, limit=limit, empty="no freezes")


@app.command("update")
@connected
def update(
    session: Session,
    name: FreezeArgument,
    new_name: Annotated[str | None, typer.Option("--name", help="A new name.")] = None,
    weekly: Weekly = None,
    once: Once = None,
    service: Services = None,
    environment: Environments = None,
    description: Description = None,
) -> None:
    """Change what is given, lists as a whole: --service "" makes it hold for all, --once "" takes windows away."""
    request = pb.UpdateDeployPolicyRequest(
        deploy_policy=name,
        name=new_name,
        description=description,
        services=_each(str, service),
        environments=_each(str, environment),
        weekly_windows=_each(weekly_of, weekly),
        one_time_windows=_each(once_of, once),
        update_mask=_mask(
            name=new_name,
            description=description,
            services=service,
            environments=environment,
            weekly_windows=weekly,
            one_time_windows=once,
        ),
    )
    _show(session, session.client.policies.UpdateDeployPolicy(request))


def _mask(**given: object) -> FieldMask:
    """The fields that are given: without them a list that is empty would count as left out."""
    return FieldMask(paths=[field for field, value in given.items() if value is not None])


@app.command("on")
@connected
def on(session: Session, name: FreezeArgument) -> None:
    """Put it in force."""
    request = pb.UpdateDeployPolicyRequest(deploy_policy=name, is_active=True)
    _show(session, session.client.policies.UpdateDeployPolicy(request))


@app.command("off")
@connected
def off(session: Session, name: FreezeArgument) -> None:
    """Let deployments pass, whatever its windows."""
    request = pb.UpdateDeployPolicyRequest(deploy_policy=name, is_active=False)
    _show(session, session.client.policies.UpdateDeployPolicy(request))


@app.command("delete")
@connected
def delete(session: Session, name: FreezeArgument) -> None:
    """Delete a freeze."""
    session.client.policies.DeleteDeployPolicy(pb.DeleteDeployPolicyRequest(deploy_policy=name))
    session.done(f"freeze {name} is deleted")
