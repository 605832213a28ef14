"""`relman audit`: who did what, and whether the log of it is still what it was."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from relman_client.cli.audit_check import check
from relman_client.cli.inputs import LimitOption, optional_enum_of, time_of
from relman_client.cli.log_download import download
from relman_client.cli.options import new_app
from relman_client.cli.outages import Outages
from relman_client.cli.output import Columns, when, word
from relman_client.cli.session import Session, connected
from relman_client.cli.text import note
from relman_client.tail import Download
from relman_client.v1 import audit_pb2 as pb

app = new_app("The audit log: who did what, and whether it is still what it was.")

AUDIT_LOGS: Columns[pb.AuditLog] = {
    "<id>": lambda row: row.id,
    "when": lambda row: when(row, "created_at"),
    "who": lambda row: row.username,
    "action": lambda row: row.action,
    "resource": lambda row: row.resource_id,
    "outcome": lambda row: word(row, "outcome"),
    "from": lambda row: row.ip_address,
    "block": lambda row: str(row.block or ""),
}
SLOW = 3600.0  # seconds: the whole log is read

UserOption = Annotated[
    str, typer.Option("--user", "-u", help="Only of this user: email, username or id; system for the server.")
]
ActionOption = Annotated[
    str, typer.Option("--action", "-a", help="Only this: deployment.approve, or deployment.* for all of a kind.")
]
TypeOption = Annotated[str, typer.Option("--type", help="Only about resources of this type, for example deployment.")]
ResourceOption = Annotated[str, typer.Option("--resource", "-r", metavar="ID", help="Only about this resource.")]
OutcomeOption = Annotated[str | None, typer.Option("--outcome", help="Only success, denied or failed.")]
SinceOption = Annotated[str | None, typer.Option("--since", help="From there on: 10m, 90d or a date and time.")]
UntilOption = Annotated[str | None, typer.Option("--until", help="Up to there, exclusive.")]


class Form(StrEnum):
    """How an export is written."""

    CSV = "csv"
    JSON_LINES = "jsonl"


_FORMS = {
    Form.CSV: pb.AuditExportFormat.AUDIT_EXPORT_FORMAT_CSV,
    Form.JSON_LINES: pb.AuditExportFormat.AUDIT_EXPORT_FORMAT_JSON_LINES,
}


@app.command("list")
@connected
def list_(
    session: Session,
    user: UserOption = "",
    action: ActionOption = "",
    resource_type: TypeOption = "",
    resource: ResourceOption = "",
    outcome: OutcomeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 50,
) -> None:
    """List what was done, the newest first."""
    request = pb.ListAuditLogsRequest(
        user=user,
        action=action,
        resource_type=resource_type,
        resource_id=resource,
        outcome=optional_enum_of(pb.AuditOutcome, outcome, "--outcome"),
        start_date=time_of(since, "--since"),
        end_date=time_of(until, "--until"),
    )
    call = session.client.audit.ListAuditLogs
    session.show_list(call, request, "audit_logs", AUDIT_LOGS, limit=limit, empty="nothing of that was done")


@app.command("get")
@connected
def get(session: Session, audit_log: Annotated[str, typer.Argument(metavar="ID", help="Of the row.")]) -> None:
    """Show a row, with what it changed."""
    session.show(session.client.audit.GetAuditLog(pb.GetAuditLogRequest(audit_log=audit_log)))


@app.command("export")
@connected
def export(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="Where to write it; - for standard output.")] = "-",
    form: Annotated[
        Form | None, typer.Option("--format", help="By default by the file's name, and csv where that says nothing.")
    ] = None,
    user: UserOption = "",
    action: ActionOption = "",
    resource_type: TypeOption = "",
    resource: ResourceOption = "",
    outcome: OutcomeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
) -> None:
    """Export what was done, the oldest first, as CSV or JSON lines.

    It goes on after the connection or the server was away. JSON lines without filters can be verified:
    `relman audit verify FILE`. A file appears under its name when it is complete.
    """
    if form is None:
        form = Form.JSON_LINES if Path(file).suffix in {".jsonl", ".ndjson", ".json"} else Form.CSV
    request = pb.ExportAuditLogsRequest(
        user=user,
        action=action,
        resource_type=resource_type,
        resource_id=resource,
        outcome=optional_enum_of(pb.AuditOutcome, outcome, "--outcome"),
        start_date=time_of(since, "--since"),
        end_date=time_of(until, "--until"),
        format=_FORMS[form],
    )
    download(Download(session.client, request, Outages(overwrites=file != "-").options), file)


@app.command("verify")
@connected
def verify(
    session: Session,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="An export as JSON lines; without one, the server looks.")
    ] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option("--public-key", metavar="PEM", help="Of whom the newest block must be signed. May be repeated."),
    ] = None,
    known_hash: Annotated[
        str, typer.Option("--hash", metavar="HASH", help="Of a block, kept elsewhere: it must be in the file.")
    ] = "",
    seal: Annotated[bool, typer.Option("--seal", help="Without a file: seal the newest rows first.")] = False,
) -> None:
    """Verify that the log is what it was when it was sealed.

    A file is verified without a server. Exits with 0 when everything matches, 3 when a block does not, 4 when the file
    is no complete export, and 1 when it cannot be looked at.
    """
    if file is not None:
        if seal:
            raise typer.BadParameter("goes without a file", param_hint="--seal")
        raise typer.Exit(check(file, public_key or (), known_hash.lower(), as_json=session.wants_json))
    if public_key or known_hash:
        raise typer.BadParameter("name an export to verify with it", param_hint="[FILE]")
    found = session.client.audit.VerifyAuditLogs(pb.VerifyAuditLogsRequest(seal=seal), timeout=SLOW)
    session.show(found)
    if not found.valid:
        note("the audit log is not what it was")
        raise typer.Exit(3)
