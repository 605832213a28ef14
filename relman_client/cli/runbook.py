"""`relman runbook`: what to do when something goes wrong."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from relman_client.cli import runbook_file, runbook_history
from relman_client.cli.editor import edit as edit_text
from relman_client.cli.failures import CommandError
from relman_client.cli.inputs import LimitOption
from relman_client.cli.markdown import print_markdown
from relman_client.cli.options import new_app
from relman_client.cli.output import Columns, as_json, print_json, when
from relman_client.cli.runbook_results import print_results
from relman_client.cli.session import Session, connected, read_text
from relman_client.cli.text import note, shown_of
from relman_client.errors import RelmanError
from relman_client.v1 import runbook_pb2 as pb

app = new_app("Runbooks: what to do when something goes wrong.")

RUNBOOKS: Columns[pb.Runbook] = {
    "title": lambda runbook: runbook.title,
    "service": lambda runbook: runbook.service_name or "all",
    "environment": lambda runbook: runbook.environment_name or "all",
    "tags": lambda runbook: ", ".join(runbook.tags),
    "in use": lambda runbook: "yes" if runbook.is_active else "no",
    "version": lambda runbook: str(runbook.version),
    "changed": lambda runbook: when(runbook, "updated_at"),
    "<id>": lambda runbook: runbook.id,
}

RunbookArgument = Annotated[str, typer.Argument(metavar="RUNBOOK", help="Id.")]
ServiceOption = Annotated[str, typer.Option("--service", help="Only those about this service.")]
EnvironmentOption = Annotated[str, typer.Option("--environment", help="Only those about this environment.")]
FileOption = Annotated[
    Path | None,
    typer.Option("--file", "-f", metavar="FILE", help="Take the text from there, - for standard input; no editor."),
]


@app.command("list")
@connected
def list_(
    session: Session,
    service: ServiceOption = "",
    environment: EnvironmentOption = "",
    tag: Annotated[str, typer.Option("--tag", help="Only those that carry this tag.")] = "",
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Only those in use, or not.")] = None,
    limit: LimitOption = 50,
) -> None:
    """List runbooks."""
    request = pb.ListRunbooksRequest(service=service, environment=environment, tag=tag, is_active=active)
    call = session.client.runbooks.ListRunbooks
    session.show_list(call, request, "runbooks", RUNBOOKS, limit=limit, empty="no runbooks")


@app.command("show")
@connected
def show(
    session: Session,
    runbook: RunbookArgument,
    version: Annotated[int, typer.Option("--version", min=0, help="An older version; 0 is the newest.")] = 0,
    raw: Annotated[bool, typer.Option("--raw", help="Only its Markdown, exactly as it was written.")] = False,
) -> None:
    """Show a runbook, on a terminal with its Markdown rendered."""
    found = _get(session, runbook, version)
    if raw:
        sys.stdout.write(found.content)
    else:
        _show(session, found, with_content=True)


def _get(session: Session, runbook: str, version: int = 0) -> pb.Runbook:
    return session.client.runbooks.GetRunbook(pb.GetRunbookRequest(runbook=runbook, version=version))


def _show(session: Session, found: pb.Runbook, *, with_content: bool = False) -> None:
    if session.wants_json:
        print_json(as_json(found))
        return
    content = found.content
    found.content = ""
    found.service_id = found.environment_id = ""  # their names are there, too
    found.service_name, found.environment_name = found.service_name or "all", found.environment_name or "all"
    session.show(found)
    if content and with_content:
        sys.stdout.write("\n")
        print_markdown(content)


@app.command("create")
@connected
def create(
    session: Session,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="At most 200 characters.")],
    file: FileOption = None,
    service: Annotated[str, typer.Option("--service", help="What it is about. [default: all]")] = "",
    environment: Annotated[str, typer.Option("--environment", help="What it is about. [default: all]")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="May be repeated.")] = None,
) -> None:
    """Write a runbook, in $EDITOR or from a file."""
    fields: dict[str, Any] = {  # of the contract's types
        "title": title,
        "service": service,
        "environment": environment,
        "tags": tag or [],
        "is_active": True,
    }

    def take(text: str) -> None:
        said = fields | runbook_file.read(text).fields
        _show(session, session.client.runbooks.CreateRunbook(pb.CreateRunbookRequest(**said)))

    if file is not None:
        take(read_text(file))
    elif not edit_text(
        runbook_file.write(fields | {"content": ""}),
        "runbook",
        take,
        lambda kept: f"To try again: relman runbook create TITLE --file {kept}",
    ):
        note("nothing was written, so nothing was created")


@app.command("edit")
@connected
def edit(session: Session, runbook: RunbookArgument, file: FileOption = None) -> None:
    """Make a new version of a runbook: its title, tags and text, in $EDITOR or from a file.

    Should someone else change it meanwhile, nothing is overwritten and your text is kept.
    """
    found = _get(session, runbook)

    def take(text: str) -> None:
        changes = runbook_file.read(text).changes(found)
        if not changes:
            note("nothing was changed")
            return
        _show(session, _update(session, found, changes))

    if file is not None:
        take(read_text(file))
    elif not edit_text(
        runbook_file.write(runbook_file.fields_of(found)),
        f"runbook-{found.id[-8:]}",
        take,
        lambda kept: (
            f"What others changed:  relman runbook history {found.id} --diff\n"
            f"To send yours:        relman runbook edit {found.id} --file {kept}"
        ),
    ):
        note("nothing was changed")


def _update(session: Session, found: pb.Runbook, changes: dict[str, Any]) -> pb.Runbook:
    mask = FieldMask(paths=list(changes))
    request = pb.UpdateRunbookRequest(runbook=found.id, etag=found.etag, update_mask=mask, **changes)
    try:
        return session.client.runbooks.UpdateRunbook(request)
    except RelmanError as error:
        if error.reason != "STALE_ETAG":
            raise
        raise CommandError(f"someone else changed the runbook since version {found.version}") from error


@app.command("search")
@connected
def search(
    session: Session,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORDS...", help="""Words in any form; '"a phrase"', beginn*, '-word' to leave out."""),
    ] = None,
    service: Annotated[str, typer.Option("--service", help="Only those about this service, or all.")] = "",
    environment: Annotated[str, typer.Option("--environment", help="Only those about this one, or all.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Only those with this tag. May be repeated.")] = None,
    deployment: Annotated[str, typer.Option("--deployment", help="Help for this deployment first.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many to show.")] = 10,
) -> None:
    """Find runbooks, the best first.

    Example: relman runbook search 'kafka lag -staging "disk full"'
    """
    request = pb.SearchRunbooksRequest(
        query=" ".join(words or ()),
        service=service,
        environment=environment,
        tags=tag,
        deployment=deployment,
        page_size=limit,
    )
    found = session.client.runbooks.SearchRunbooks(request)
    if session.wants_json:
        print_json([as_json(result) for result in found.results])
        return
    print_results(found.results)
    if not found.results:
        note("no runbooks")
    elif found.total_size > len(found.results):
        note(shown_of(len(found.results), found.total_size, is_exact=found.total_is_exact))


@app.command("history")
@connected
def history(
    session: Session,
    runbook: RunbookArgument,
    diff: Annotated[bool, typer.Option("--diff", help="Show what each version changed.")] = False,
    limit: LimitOption = 20,
) -> None:
    """Show the versions of a runbook, the newest first."""
    newest = _get(session, runbook)
    last = max(newest.version - limit, 0) if limit else 0
    # One more than is shown, to tell what the last one changed.
    versions = [
        newest,
        *(_get(session, newest.id, number) for number in range(newest.version - 1, max(last - 1, 0), -1)),
    ]
    shown = versions[: limit or None]
    if session.wants_json:
        print_json([as_json(version) for version in shown])
        return
    try:
        runbook_history.show(shown, versions, with_diff=diff)
    finally:
        if last:
            note(f"{shown_of(len(shown), newest.version)}; --limit 0 shows all")


@app.command("delete")
@connected
def delete(session: Session, runbook: RunbookArgument) -> None:
    """Delete a runbook with all its versions."""
    session.client.runbooks.DeleteRunbook(pb.DeleteRunbookRequest(runbook=runbook))
    session.done(f"runbook {runbook} is deleted")
