"""`relman rollbacks`: what was undone, and how far that is."""

from typing import Annotated

import typer

from relman_client.cli.inputs import LimitOption, optional_enum_of
from relman_client.cli.options import new_app
from relman_client.cli.output import Columns, when, word
from relman_client.cli.session import Session, connected
from relman_client.v1 import rollback_pb2 as pb

app = new_app("Rollbacks: what was undone, and how far that is.")

ROLLBACKS: Columns[pb.Rollback] = {
    "<id>": lambda rollback: rollback.id,
    "service": lambda rollback: rollback.service_name,
    "environment": lambda rollback: rollback.environment_name,
    "to": lambda rollback: rollback.target_release_version,
    "status": lambda rollback: word(rollback, "status"),
    "created": lambda rollback: when(rollback, "created_at"),
    "reason": lambda rollback: rollback.reason.partition("\n")[0][:60],
}

RollbackArgument = Annotated[str, typer.Argument(metavar="ROLLBACK", help="Id.")]


@app.command("list")
@connected
def list_(
    session: Session,
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only pending, in-progress, succeeded, failed or cancelled ones."),
    ] = None,
    deployment: Annotated[str, typer.Option("--deployment", help="Only those that undo this deployment.")] = "",
    service: Annotated[str, typer.Option("--service", help="Only those of this service.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="Only those in this environment.")] = "",
    limit: LimitOption = 50,
) -> None:
    """List rollbacks, the newest first."""
    request = pb.ListRollbacksRequest(
        status=optional_enum_of(pb.RollbackStatus, status, "--status"),
        deployment=deployment,
        service=service,
        environment=environment,
    )
    call = session.client.rollbacks.ListRollbacks
    session.show_list(call, request, "rollbacks", ROLLBACKS, limit=limit, empty="no rollbacks")


@app.command("get")
@connected
def get(session: Session, rollback: RollbackArgument) -> None:
    """Show a rollback."""
    session.show(session.client.rollbacks.GetRollback(pb.GetRollbackRequest(rollback=rollback)))


@app.command("status")
@connected
def status(session: Session, rollback: RollbackArgument) -> None:
    """Show how far a rollback is: its stages, and which of them is at work."""
    session.show(session.client.rollbacks.GetRollbackStatus(pb.GetRollbackStatusRequest(rollback=rollback)))


@app.command("cancel")
@connected
def cancel(
    session: Session,
    rollback: RollbackArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
) -> None:
    """Call a rollback off, with the deployment that it made."""
    session.show(session.client.rollbacks.CancelRollback(pb.CancelRollbackRequest(rollback=rollback, reason=reason)))
