"""`relman approve`."""

from typing import Annotated

import typer

from relman_client.cli.deployment import DeploymentArgument, show_deployment
from relman_client.cli.options import new_app
from relman_client.cli.session import Session, connected
from relman_client.v1.deployment_pb2 import ApproveDeploymentRequest

app = new_app()


@app.command()
@connected
def approve(
    session: Session,
    deployment: DeploymentArgument,
    notes: Annotated[str, typer.Option("--notes", help="What to say with it.")] = "",
) -> None:
    """Approve a deployment that waits for you."""
    request = ApproveDeploymentRequest(deployment=deployment, notes=notes)
    show_deployment(session, session.client.deployments.ApproveDeployment(request))
