"""`relman approval`: who agreed to a deployment, and who is asked to."""

from typing import Annotated

import typer

from relman_client.cli.deployment import DeploymentArgument
from relman_client.cli.inputs import LimitOption, optional_enum_of
from relman_client.cli.options import new_app
from relman_client.cli.output import Columns, when, word
from relman_client.cli.session import Session, connected
from relman_client.v1 import approval_pb2 as pb

app = new_app("Approvals: who agreed to a deployment, and who is asked to.")

APPROVALS: Columns[pb.Approval] = {
    "<id>": lambda approval: approval.id,
    "<deployment>": lambda approval: approval.deployment_id,
    "status": lambda approval: "voided" if approval.HasField("voided_at") else word(approval, "status"),
    "decided": lambda approval: when(approval, "decided_at"),
    "expires": lambda approval: when(approval, "expires_at") if not approval.HasField("decided_at") else "",
    "notes": lambda approval: approval.notes.partition("\n")[0][:60],
}

ApprovalArgument = Annotated[str, typer.Argument(metavar="APPROVAL", help="Id.")]


@app.command("list")
@connected
def list_(
    session: Session,
    status: Annotated[
        str | None, typer.Option("--status", help="Only pending, approved, rejected, cancelled or expired ones.")
    ] = None,
    deployment: Annotated[str, typer.Option("--deployment", help="Only those of this deployment.")] = "",
    approver: Annotated[
        str, typer.Option("--approver", help="Only those that ask this user by name, or that they decided.")
    ] = "",
    service: Annotated[str, typer.Option("--service", help="Only those of deployments of this service.")] = "",
    environment: Annotated[
        str, typer.Option("--environment", "-e", help="Only those of deployments into this one.")
    ] = "",
    limit: LimitOption = 50,
) -> None:
    """List approvals, the newest first."""
    request = pb.ListApprovalsRequest(
        status=optional_enum_of(pb.ApprovalStatus, status, "--status"),
        deployment=deployment,
        approver=approver,
        service=service,
        environment=environment,
    )
    call = session.client.approvals.ListApprovals
    session.show_list(call, request, "approvals", APPROVALS, limit=limit, empty="no approvals")


@app.command("get")
@connected
def get(session: Session, approval: ApprovalArgument) -> None:
    """Show an approval."""
    session.show(session.client.approvals.GetApproval(pb.GetApprovalRequest(approval=approval)))


@app.command("create")
@connected
def create(
    session: Session,
    deployment: DeploymentArgument,
    approver: Annotated[str, typer.Option("--approver", help="Whom to ask; any of the approvers when left out.")] = "",
    notes: Annotated[str, typer.Option("--notes", help="What to say with it.")] = "",
) -> None:
    """Ask for one more approval of a deployment, or again for one that expired."""
    request = pb.CreateApprovalRequest(deployment=deployment, approver=approver, notes=notes)
    session.show(session.client.approvals.CreateApproval(request))


@app.command("delete")
@connected
def delete(session: Session, approval: ApprovalArgument) -> None:
    """Withdraw a request that nobody has answered."""
    session.client.approvals.DeleteApproval(pb.DeleteApprovalRequest(approval=approval))
    session.done(f"approval {approval} is withdrawn")
