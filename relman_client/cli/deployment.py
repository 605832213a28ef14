"""`relman deployment`: the way of a release into an environment."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

import sys
from typing import Annotated

import typer

from relman_client.cli import deployment_run
from relman_client.cli.inputs import (
    LabelsOption,
    LimitOption,
    StagesOption,
    duration_of,
    enum_of,
    labels_of,
    optional_enum_of,
    stages_of,
    time_of,
)
from relman_client.cli.lease import LeaseOption, lease_of, lease_text
from relman_client.cli.options import new_app
from relman_client.cli.output import Columns, as_json, print_json, when, word
from relman_client.cli.session import Session, connected
from relman_client.cli.stage import STAGES
from relman_client.cli.text import exact, note
from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1.common_pb2 import Outcome

app = new_app("Deployments: the way of a release into an environment.")

DEPLOYMENTS: Columns[pb.Deployment] = {
    "<id>": lambda deployment: deployment.id,
    "release": lambda deployment: f"{deployment.service_name}@{deployment.release_version}",
    "environment": lambda deployment: deployment.environment_name,
    "status": lambda deployment: word(deployment, "status"),
    "kind": lambda deployment: word(deployment, "kind"),
    "created": lambda deployment: when(deployment, "created_at"),
}
BLOCKERS: Columns[pb.Blocker] = {
    "gate": lambda blocker: word(blocker, "kind"),
    "why": lambda blocker: blocker.message,
    "until": lambda blocker: when(blocker, "until"),
    "waiting for": lambda blocker: ", ".join(blocker.waiting_for),
}
EVENTS: Columns[pb.DeploymentEvent] = {
    "revision": lambda event: str(event.revision),
    "when": lambda event: when(event, "time"),
    "event": lambda event: word(event, "type"),
    "stage": lambda event: event.stage.name,
    "message": lambda event: event.message,
}

DeploymentArgument = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id.")]
Reason = Annotated[str, typer.Option("--reason", help="Why.")]


def show_deployment(session: Session, deployment: pb.Deployment) -> None:
    """Print a deployment with what keeps it waiting, and its stages when it has them."""
    session.show(deployment, [("blockers", BLOCKERS), ("stages", STAGES)])


@app.command("create")
@connected
def create(
    session: Session,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="SERVICE@VERSION or id.")],
    environment: Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="Name or id.")],
    stage: StagesOption = None,
    label: LabelsOption = None,
    kind: Annotated[str | None, typer.Option("--kind", help="planned or hotfix; found when left out.")] = None,
    remediates: Annotated[str, typer.Option("--remediates", help="The deployment that a hotfix repairs.")] = "",
    hotfix_reason: Annotated[
        str, typer.Option("--hotfix-reason", help="Why a hotfix skips the environment before.")
    ] = "",
    supersede: Annotated[
        bool, typer.Option("--supersede", help="Cancel older pending deployments of the service there.")
    ] = False,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check everything and change nothing.")
    ] = False,
) -> None:
    """Record a deployment and see what keeps it waiting.

    Example: relman deployment create checkout@1.4.2 staging --stage build --stage test:600
    """
    request = pb.CreateDeploymentRequest(
        release=release,
        environment=environment,
        stages=stages_of(stage),
        labels=labels_of(label),
        kind=optional_enum_of(pb.DeploymentKind, kind, "--kind"),
        remediates=remediates,
        hotfix_reason=hotfix_reason,
        supersede=supersede,
        validate_only=validate_only,
    )
    show_deployment(session, session.client.deployments.CreateDeployment(request))


@app.command("get")
@connected
def get(session: Session, deployment: DeploymentArgument) -> None:
    """Show a deployment with its stages."""
    request = pb.GetDeploymentRequest(deployment=deployment, view=pb.DeploymentView.DEPLOYMENT_VIEW_WITH_STAGES)
    show_deployment(session, session.client.deployments.GetDeployment(request))


@app.command("list")
@connected
def list_(
    session: Session,
    service: Annotated[str, typer.Option("--service", help="Only those of this service.")] = "",
    release: Annotated[str, typer.Option("--release", help="Only those of this release.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="Only those into this one.")] = "",
    status: Annotated[
        str | None, typer.Option("--status", help="Only pending, ready, in-progress, succeeded, failed ... ones.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only planned, hotfix, rollback or redeploy ones.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Created since: 10m, 2d or a date.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Created before.")] = None,
    limit: LimitOption = 50,
) -> None:
    """List deployments, the newest first."""
    request = pb.ListDeploymentsRequest(
        service=service,
        release=release,
        environment=environment,
        status=optional_enum_of(pb.DeploymentStatus, status, "--status"),
        kind=optional_enum_of(pb.DeploymentKind, kind, "--kind"),
        start_date=time_of(since, "--since"),
        end_date=time_of(until, "--until"),
    )
    call = session.client.deployments.ListDeployments
    session.show_list(call, request, "deployments", DEPLOYMENTS, limit=limit, empty="no deployments")


@app.command("update")
@connected
def update(
    session: Session,
    deployment: DeploymentArgument,
    label: LabelsOption = None,
    kind: Annotated[str | None, typer.Option("--kind", help="planned or hotfix; before the start.")] = None,
    impacted: Annotated[
        bool | None, typer.Option("--impacted/--not-impacted", help="Whether users felt the failure.")
    ] = None,
) -> None:
    """Change what is given; labels are replaced as a whole."""
    request = pb.UpdateDeploymentRequest(
        deployment=deployment,
        labels=labels_of(label),
        kind=optional_enum_of(pb.DeploymentKind, kind, "--kind"),
        production_impacted=impacted,
    )
    show_deployment(session, session.client.deployments.UpdateDeployment(request))


@app.command("delete")
@connected
def delete(session: Session, deployment: DeploymentArgument) -> None:
    """Delete a deployment that has ended, with its stages, events and logs."""
    session.client.deployments.DeleteDeployment(pb.DeleteDeploymentRequest(deployment=deployment))
    session.done(f"deployment {deployment} is deleted")


@app.command("check")
@connected
def check(
    session: Session,
    subject: Annotated[str, typer.Argument(metavar="DEPLOYMENT|RELEASE", help="A deployment; or a release, with ...")],
    environment: Annotated[str, typer.Argument(metavar="[ENVIRONMENT]", help="... an environment.")] = "",
) -> None:
    """Say whether it may start now, and name every closed gate. Exits with 1 when it may not."""
    request = (
        pb.CheckDeploymentRequest(release=subject, environment=environment)
        if environment
        else pb.CheckDeploymentRequest(deployment=subject)
    )
    answer = session.client.deployments.CheckDeployment(request)
    session.show(answer, [("blockers", BLOCKERS)])
    if not answer.allowed:
        raise typer.Exit(1)


@app.command("start")
@connected
def start(
    session: Session,
    deployment: DeploymentArgument,
    lease: Annotated[
        str | None, typer.Option("--lease", metavar="SPAN", help="Take a lease that lasts so long without a heartbeat.")
    ] = None,
    takeover: Annotated[
        bool, typer.Option("--takeover", help="When it is in progress already, take its lease from whoever has it.")
    ] = False,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--override", metavar="GATE", help="Pass this gate: freeze, lock, soak or promotion. May be repeated."
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why --override.")] = "",
) -> None:
    """Start a deployment when every gate is open.

    With --lease its pipeline says by heartbeats that it lives, and the deployment fails when they stop. `relman run`
    sends them, and so does `relman deployment run`.
    """
    answer = session.client.deployments.StartDeployment(
        pb.StartDeploymentRequest(
            deployment=deployment,
            lease_ttl=duration_of(lease, "--lease"),
            takeover=takeover,
            override=_override(override, reason),
        )
    )
    if not answer.HasField("lease"):
        show_deployment(session, answer.deployment)
    elif session.wants_json:
        print_json(as_json(answer.deployment) | {"lease": as_json(answer.lease)})
    else:
        show_deployment(session, answer.deployment)
        sys.stdout.write(f"\nlease  {lease_text(answer.lease)}\n")
        lasts = exact(answer.lease.ttl.ToTimedelta())
        note(f"it lasts {lasts} without a heartbeat; name it by --lease, or in RELMAN_LEASE: relman run keeps it")


def _override(gates: list[str] | None, reason: str) -> pb.GateOverride | None:
    if bool(gates) != bool(reason):
        raise typer.BadParameter("--override and --reason go together", param_hint="--override")
    kinds = [enum_of(pb.BlockerKind, gate, "--override") for gate in gates or ()]
    return pb.GateOverride(kinds=kinds, reason=reason) if kinds else None


app.command("run")(deployment_run.run)


@app.command("heartbeat")
@connected
def heartbeat(session: Session, deployment: DeploymentArgument, lease: LeaseOption = None) -> None:
    """Renew the lease of a deployment. Exits with 1 when it is lost: whoever works under it shall stop then."""
    held = lease_of(lease)
    if held is None:
        raise typer.BadParameter("give --lease ID:TOKEN, or set RELMAN_LEASE", param_hint="--lease")
    request = pb.HeartbeatDeploymentRequest(deployment=deployment, lease=held)
    session.show(session.client.deployments.HeartbeatDeployment(request))


@app.command("complete")
@connected
def complete(
    session: Session,
    deployment: DeploymentArgument,
    failed: Annotated[bool, typer.Option("--failed/--succeeded", help="How it ended.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why it failed.")] = "",
    impacted: Annotated[bool, typer.Option("--impacted", help="Users felt the failure.")] = False,
    lease: LeaseOption = None,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check everything and change nothing.")
    ] = False,
) -> None:
    """End a deployment: it succeeded, unless --failed says otherwise."""
    request = pb.CompleteDeploymentRequest(
        deployment=deployment,
        outcome=Outcome.OUTCOME_FAILED if failed else Outcome.OUTCOME_SUCCEEDED,
        failure_reason=reason,
        production_impacted=impacted,
        lease=lease_of(lease),
        validate_only=validate_only,
    )
    show_deployment(session, session.client.deployments.CompleteDeployment(request))


@app.command("cancel")
@connected
def cancel(session: Session, deployment: DeploymentArgument, reason: Reason = "") -> None:
    """Call a deployment off."""
    request = pb.CancelDeploymentRequest(deployment=deployment, reason=reason)
    show_deployment(session, session.client.deployments.CancelDeployment(request))


@app.command("retry")
@connected
def retry(session: Session, deployment: DeploymentArgument) -> None:
    """Make a new deployment like one that failed or was cancelled."""
    request = pb.RetryDeploymentRequest(deployment=deployment)
    show_deployment(session, session.client.deployments.RetryDeployment(request))


@app.command("events")
@connected
def events(session: Session, deployment: DeploymentArgument, limit: LimitOption = 0) -> None:
    """List what happened to a deployment."""
    request = pb.ListDeploymentEventsRequest(deployment=deployment)
    call = session.client.deployments.ListDeploymentEvents
    session.show_list(call, request, "events", EVENTS, limit=limit, empty="no events")
