"""`relman why`: why a deployment is where it is, and what to do about it."""

from typing import Annotated

import typer

from relman_client.cli.explanation import explain
from relman_client.cli.options import new_app
from relman_client.cli.output import as_json, print_json
from relman_client.cli.runbook_results import suggestions
from relman_client.cli.session import Session, connected
from relman_client.errors import RelmanError
from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1.runbook_pb2 import SearchRunbooksRequest

app = new_app()

_LAST = 20
_SUGGESTED = 3


@app.command()
@connected
def why(session: Session, deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id.")]) -> None:
    """Say why a deployment waits, or how it ended, and what to do about it.

    What keeps it waiting is decided now, as a start would decide it.
    """
    api = session.client.deployments
    found = api.GetDeployment(
        pb.GetDeploymentRequest(deployment=deployment, view=pb.DeploymentView.DEPLOYMENT_VIEW_WITH_STAGES)
    )
    blockers: list[pb.Blocker] = []
    if found.status in {pb.DeploymentStatus.DEPLOYMENT_STATUS_PENDING, pb.DeploymentStatus.DEPLOYMENT_STATUS_READY}:
        blockers = list(api.CheckDeployment(pb.CheckDeploymentRequest(deployment=deployment)).blockers)
    if session.wants_json:
        del found.blockers[:]
        found.blockers.extend(blockers)
        print_json(as_json(found))
        return
    events = api.ListDeploymentEvents(
        pb.ListDeploymentEventsRequest(deployment=deployment, order_by="revision desc", page_size=_LAST)
    ).events
    lines = explain(found, blockers, list(reversed(events)))
    if found.status == pb.DeploymentStatus.DEPLOYMENT_STATUS_FAILED:
        lines += _help(session, found.id)
    typer.echo("\n".join(lines))


def _help(session: Session, deployment: str) -> list[str]:
    """The runbooks that may help best; nothing when the server cannot tell."""
    request = SearchRunbooksRequest(deployment=deployment, page_size=_SUGGESTED)
    try:
        found = session.client.runbooks.SearchRunbooks(request).results
    except RelmanError:
        return []  # what is known is told all the same
    return ["", "Runbooks that may help:", *suggestions(found)] if found else []
