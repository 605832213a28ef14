"""`relman rollback`: undo a deployment."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

from typing import Annotated

import typer

from relman_client.cli.deploy import (
    FollowOption,
    NoApprovalOption,
    TimeoutOption,
    ValidateOption,
    WaitOption,
    patience_of,
)
from relman_client.cli.failures import CommandError
from relman_client.cli.options import new_app
from relman_client.cli.session import Session, connected
from relman_client.cli.text import note
from relman_client.cli.waiting import wait as wait_for
from relman_client.v1.deployment_pb2 import DeploymentStatus, ListDeploymentsRequest
from relman_client.v1.rollback_pb2 import CreateRollbackRequest

app = new_app()

_UNDOABLE = {DeploymentStatus.DEPLOYMENT_STATUS_SUCCEEDED, DeploymentStatus.DEPLOYMENT_STATUS_FAILED}
_NEWEST = 50


@app.command()
@connected
def rollback(
    session: Session,
    subject: Annotated[
        str, typer.Argument(metavar="DEPLOYMENT|SERVICE", help="A deployment; or a service, of which in ...")
    ],
    environment: Annotated[
        str, typer.Argument(metavar="[ENVIRONMENT]", help="... an environment the newest deployment is undone.")
    ] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="RELEASE", help="Release to go back to; else what ran there before.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    quarantine: Annotated[
        bool, typer.Option("--quarantine/--no-quarantine", help="Hold the bad release everywhere afterwards.")
    ] = True,
    expect: Annotated[
        str, typer.Option("--expect", metavar="DEPLOYMENT", help="Do nothing when another was started since this one.")
    ] = "",
    validate_only: ValidateOption = False,
    wait: WaitOption = False,
    follow: FollowOption = False,
    timeout: TimeoutOption = None,
    no_wait_for_approval: NoApprovalOption = False,
) -> None:
    """Undo a deployment by deploying the release that ran before.

    The deployment that goes back waits neither for freezes nor in the queue; its pipeline carries it out like any
    other. When it has succeeded, the bad release is held until `relman release clear-quarantine`. Waiting, and how it
    exits, is as in `relman deploy`.

    Example: relman rollback checkout production --reason "orders are lost" --wait
    """
    patience = patience_of(wait=wait, follow=follow, timeout=timeout, no_wait_for_approval=no_wait_for_approval)
    deployment = _newest(session, subject, environment) if environment else subject
    request = CreateRollbackRequest(
        deployment=deployment,
        target_release=to,
        reason=reason,
        quarantine=quarantine,
        # Who names no deployment means the one that was just looked up, and none that came since.
        expected_current_deployment=expect or (deployment if environment else ""),
        validate_only=validate_only,
    )
    made = session.client.rollbacks.CreateRollback(request)
    if patience is None or validate_only:
        session.show(made)
        return
    note(f"rollback {made.id} to {made.service_name}@{made.target_release_version}")
    raise typer.Exit(wait_for(session, made.rollback_deployment_id, patience))


def _newest(session: Session, service: str, environment: str) -> str:
    """Return the deployment that ended last there with success or failure."""
    request = ListDeploymentsRequest(
        service=service, environment=environment, order_by="completed_at desc", page_size=_NEWEST
    )
    for deployment in session.client.deployments.ListDeployments(request).deployments:
        if deployment.status in _UNDOABLE:
            note(f"newest there: {deployment.service_name}@{deployment.release_version}, deployment {deployment.id}")
            return deployment.id
    raise CommandError(f"nothing of {service} succeeded or failed in {environment} that could be undone")
