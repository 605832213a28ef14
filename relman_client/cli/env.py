"""`relman env`: where services run."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

from typing import Annotated

import typer

from relman_client.cli.inputs import LimitOption, duration_of, enum_of, optional_enum_of
from relman_client.cli.options import MAX_NUMBER, new_app
from relman_client.cli.output import Columns, when, word
from relman_client.cli.session import Session, connected
from relman_client.paging import whole
from relman_client.v1 import environment_pb2 as pb

app = new_app("Environments: where services run.")

ENVIRONMENTS: Columns[pb.Environment] = {
    "name": lambda env: env.name,
    "type": lambda env: word(env, "environment_type"),
    "active": lambda env: "yes" if env.is_active else "no",
    "approvals": lambda env: str(env.required_approvals or ""),
    "lock": lambda env: env.lock.reason,
    "description": lambda env: env.description,
}
RUNNING: Columns[pb.RunningRelease] = {
    "service": lambda running: running.service_name,
    "version": lambda running: running.release_version,
    "since": lambda running: when(running, "running_since"),
    "<deployment>": lambda running: running.deployment_id,
}

EnvArgument = Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="Name or id.")]
Description = Annotated[str | None, typer.Option("--description", help="What it is about.")]
ConfigPath = Annotated[str | None, typer.Option("--config-path", help="Where its configuration is, for the pipeline.")]
PromotesFrom = Annotated[
    str | None,
    typer.Option("--promotes-from", metavar="ENVIRONMENT", help="Where a release must have succeeded before."),
]
Soak = Annotated[str | None, typer.Option("--soak", metavar="SPAN", help="How long it must have run there: 30m, 2d.")]
Approvals = Annotated[
    int | None, typer.Option("--approvals", min=0, max=MAX_NUMBER, help="How many people must approve a deployment.")
]
Approvers = Annotated[
    list[str] | None, typer.Option("--approver-team", help="A team whose members may approve. May be repeated.")
]
SelfApproval = Annotated[
    bool | None,
    typer.Option("--self-approval/--no-self-approval", help="Whether a release's author may approve it."),
]
ApprovalTtl = Annotated[
    str | None, typer.Option("--approval-ttl", metavar="SPAN", help="How long a request for approval stays open.")
]
Rollbacks = Annotated[
    bool | None,
    typer.Option("--approve-rollbacks/--free-rollbacks", help="Whether rollbacks need approvals, too."),
]
TYPES = "development, testing, staging or production."


@app.command("create")
@connected
def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique: lower-case letters, digits and hyphens.")],
    environment_type: Annotated[str, typer.Option("--type", help=TYPES)],
    description: Description = None,
    config_path: ConfigPath = None,
    promotes_from: PromotesFrom = None,
    soak: Soak = None,
    approvals: Approvals = None,
    approver_team: Approvers = None,
    self_approval: SelfApproval = None,
    approval_ttl: ApprovalTtl = None,
    approve_rollbacks: Rollbacks = None,
) -> None:
    """Add an environment, with the rules for deploying to it."""
    request = pb.CreateEnvironmentRequest(
        name=name,
        environment_type=enum_of(pb.EnvironmentType, environment_type, "--type"),
        description=description or "",
        config_path=config_path or "",
        promotes_from=promotes_from or "",
        soak_time=duration_of(soak, "--soak"),
        required_approvals=approvals or 0,
        approver_teams=approver_team,
        allow_self_approval=bool(self_approval),
        approval_ttl=duration_of(approval_ttl, "--approval-ttl"),
        rollbacks_need_approval=bool(approve_rollbacks),
    )
    session.show(session.client.environments.CreateEnvironment(request))


@app.command("get")
@connected
def get(session: Session, environment: EnvArgument) -> None:
    """Show an environment."""
    session.show(session.client.environments.GetEnvironment(pb.GetEnvironmentRequest(environment=environment)))


@app.command("list")
@connected
def list_(
    session: Session,
    environment_type: Annotated[str | None, typer.Option("--type", help=f"Only of this type: {TYPES}")] = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Only these.")] = None,
    query: Annotated[str, typer.Option("--query", "-q", help="Only those whose name or description has this.")] = "",
    limit: LimitOption = 50,
) -> None:
    """List environments."""
    request = pb.ListEnvironmentsRequest(
        environment_type=optional_enum_of(pb.EnvironmentType, environment_type, "--type"), is_active=active, query=query
    )
    call = session.client.environments.ListEnvironments
    session.show_list(call, request, "environments", ENVIRONMENTS, limit=limit, empty="no environments")


@app.command("update")
@connected
def update(
    session: Session,
    environment: EnvArgument,
    name: Annotated[str | None, typer.Option("--name", help="A new name.")] = None,
    environment_type: Annotated[str | None, typer.Option("--type", help=TYPES)] = None,
    description: Description = None,
    config_path: ConfigPath = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Whether one may deploy to it.")] = None,
    promotes_from: PromotesFrom = None,
    soak: Soak = None,
    approvals: Approvals = None,
    approver_team: Approvers = None,
    self_approval: SelfApproval = None,
    approval_ttl: ApprovalTtl = None,
    approve_rollbacks: Rollbacks = None,
) -> None:
    """Change what is given; --promotes-from "" takes the condition away."""
    request = pb.UpdateEnvironmentRequest(
        environment=environment,
        name=name,
        environment_type=optional_enum_of(pb.EnvironmentType, environment_type, "--type"),
        description=description,
        config_path=config_path,
        is_active=active,
        promotes_from=promotes_from,
        soak_time=duration_of(soak, "--soak"),
        required_approvals=approvals,
        approver_teams=approver_team,
        allow_self_approval=self_approval,
        approval_ttl=duration_of(approval_ttl, "--approval-ttl"),
        rollbacks_need_approval=approve_rollbacks,
    )
    session.show(session.client.environments.UpdateEnvironment(request))


@app.command("delete")
@connected
def delete(session: Session, environment: EnvArgument) -> None:
    """Delete an environment to which nothing was ever deployed."""
    session.client.environments.DeleteEnvironment(pb.DeleteEnvironmentRequest(environment=environment))
    session.done(f"environment {environment} is deleted")


@app.command("status")
@connected
def status(session: Session, environment: EnvArgument) -> None:
    """Show what runs there."""
    request = pb.GetEnvironmentStatusRequest(environment=environment)
    found = whole(session.client.environments.GetEnvironmentStatus, request, "running")
    session.show(found, [("running", RUNNING)])


@app.command("lock")
@connected
def lock(
    session: Session,
    environment: EnvArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    ttl: Annotated[
        str | None, typer.Option("--for", metavar="SPAN", help="How long: 30m, 2h; else until it is unlocked.")
    ] = None,
) -> None:
    """Let nothing start there."""
    request = pb.LockEnvironmentRequest(environment=environment, reason=reason, ttl=duration_of(ttl, "--for"))
    session.show(session.client.environments.LockEnvironment(request))


@app.command("unlock")
@connected
def unlock(session: Session, environment: EnvArgument) -> None:
    """Take the lock away."""
    session.show(session.client.environments.UnlockEnvironment(pb.UnlockEnvironmentRequest(environment=environment)))
