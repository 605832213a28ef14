"""`relman deploy`: a release into an environment, and how that ends."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

from typing import Annotated

import typer

from relman_client.cli.deployment import show_deployment
from relman_client.cli.inputs import LabelsOption, StagesOption, labels_of, optional_enum_of, seconds_of, stages_of
from relman_client.cli.options import new_app
from relman_client.cli.session import Session, connected
from relman_client.cli.text import note
from relman_client.cli.waiting import Patience, wait
from relman_client.v1.deployment_pb2 import Deployment, DeploymentKind
from relman_client.v1.release_pb2 import DeployReleaseRequest

app = new_app()

WaitOption = Annotated[bool, typer.Option("--wait", "-w", help="Wait until the deployment has ended.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="As --wait, and show its log meanwhile.")]
TimeoutOption = Annotated[
    str | None, typer.Option("--timeout", metavar="SPAN", help="How long to wait: 30m, 2h; else as long as it takes.")
]
NoApprovalOption = Annotated[
    bool, typer.Option("--no-wait-for-approval", help="Do not wait for people: exit with 7 when approval is missing.")
]
ValidateOption = Annotated[bool, typer.Option("--validate-only", help="Check everything and change nothing.")]
SupersedeOption = Annotated[
    bool, typer.Option("--supersede", help="Cancel older pending deployments of the service there.")
]


def patience_of(*, wait: bool, follow: bool, timeout: str | None, no_wait_for_approval: bool) -> Patience | None:
    """Return what the options say about waiting; None when they say not to."""
    if not (wait or follow or timeout or no_wait_for_approval):
        return None
    seconds = None if timeout is None else seconds_of(timeout, "--timeout")
    return Patience(seconds, for_approval=not no_wait_for_approval, follow=follow)


def created(session: Session, deployment: Deployment, patience: Patience | None) -> None:
    """Show a deployment that was just created, or see it to its end and exit as it ends."""
    if patience is None:
        show_deployment(session, deployment)
        return
    note(f"deployment {deployment.id}")
    raise typer.Exit(wait(session, deployment.id, patience))


@app.command()
@connected
def deploy(
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
    supersede: SupersedeOption = False,
    validate_only: ValidateOption = False,
    wait: WaitOption = False,
    follow: FollowOption = False,
    timeout: TimeoutOption = None,
    no_wait_for_approval: NoApprovalOption = False,
) -> None:
    """Deploy a release into an environment, and with --wait say how that ends.

    Its pipeline carries it out: `relman deployment run`, or whatever calls StartDeployment. Waiting survives restarts
    of the server and ends with: 0 succeeded, 3 failed, 4 rejected, 5 cancelled, 6 not ended within --timeout, 7 blocked
    (--no-wait-for-approval), 2 wrong usage, 1 anything else.

    Example: relman deploy checkout@1.4.2 production --wait --timeout 2h
    """
    patience = patience_of(wait=wait, follow=follow, timeout=timeout, no_wait_for_approval=no_wait_for_approval)
    request = DeployReleaseRequest(
        release=release,
        environment=environment,
        stages=stages_of(stage),
        labels=labels_of(label),
        kind=optional_enum_of(DeploymentKind, kind, "--kind"),
        remediates=remediates,
        hotfix_reason=hotfix_reason,
        supersede=supersede,
        validate_only=validate_only,
    )
    deployment = session.client.releases.DeployRelease(request)
    created(session, deployment, None if validate_only else patience)
