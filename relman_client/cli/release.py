"""`relman release`: what can be deployed."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

from pathlib import Path
from typing import Annotated

import typer

from relman_client.cli.deployment import show_deployment
from relman_client.cli.inputs import (
    LabelsOption,
    LimitOption,
    StagesOption,
    labels_of,
    optional_enum_of,
    stages_of,
    time_of,
)
from relman_client.cli.options import new_app
from relman_client.cli.output import Columns, when, word
from relman_client.cli.session import Session, connected, read_text
from relman_client.cli.text import note
from relman_client.v1 import release_pb2 as pb

app = new_app("Releases: what can be deployed.")

RELEASES: Columns[pb.Release] = {
    "<release>": lambda release: f"{release.service_name}@{release.version}",
    "status": lambda release: word(release, "status"),
    "commit": lambda release: release.git_commit[:12],
    "quarantined": lambda release: release.quarantine.reason,
    "created": lambda release: when(release, "created_at"),
    "notes": lambda release: release.release_notes.partition("\n")[0][:60],
}
CHANGES: Columns[pb.Change] = {
    "<commit>": lambda change: change.commit[:12],
    "title": lambda change: change.title,
    "author": lambda change: change.author,
    "committed": lambda change: when(change, "committed_at"),
}
HISTORY: Columns[pb.ReleaseHistoryEntry] = {
    "<release>": lambda entry: f"{entry.release.service_name}@{entry.release.version}",
    "status": lambda entry: word(entry.release, "status"),
    "created": lambda entry: when(entry.release, "created_at"),
    "deployed": lambda entry: ", ".join(f"{d.environment_name} {word(d, 'status')}" for d in entry.deployments),
}

ReleaseArgument = Annotated[str, typer.Argument(metavar="RELEASE", help="SERVICE@VERSION or id.")]
EnvironmentArgument = Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="Name or id.")]
Commit = Annotated[str | None, typer.Option("--commit", metavar="HASH", help="The commit it was built from.")]
Notes = Annotated[str | None, typer.Option("--notes", help="What is new.")]
NotesFile = Annotated[
    Path | None,
    typer.Option("--notes-file", metavar="FILE", help="A file that says what is new; - reads it from standard input."),
]
Changes = Annotated[
    str | None,
    typer.Option("--changes", metavar="RANGE", help="Commits of the git repository here that are in it: v1.4.1..HEAD."),
]
Previous = Annotated[
    str | None, typer.Option("--previous", metavar="RELEASE", help="The release before; else the newest published one.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why.")]
Supersede = Annotated[bool, typer.Option("--supersede", help="Cancel older pending deployments of the service there.")]
ValidateOnly = Annotated[bool, typer.Option("--validate-only", help="Check everything and change nothing.")]


def _show(session: Session, release: pb.Release) -> None:
    session.show(release, [("changes", CHANGES)])


@app.command("create")
@connected
def create(
    session: Session,
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Name or id.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A semantic version: 1.4.2.")],
    commit: Commit = None,
    notes: Notes = None,
    notes_file: NotesFile = None,
    changes: Changes = None,
    previous: Previous = None,
) -> None:
    """Record a draft release of a service."""
    request = pb.CreateReleaseRequest(
        service=service,
        version=version,
        git_commit=commit or "",
        release_notes=_notes(notes, notes_file) or "",
        changes=_changes(changes),
        previous_release=previous or "",
    )
    _show(session, session.client.releases.CreateRelease(request))


@app.command("get")
@connected
def get(session: Session, release: ReleaseArgument) -> None:
    """Show a release."""
    _show(session, session.client.releases.GetRelease(pb.GetReleaseRequest(release=release)))


@app.command("list")
@connected
def list_(
    session: Session,
    service: Annotated[str, typer.Option("--service", help="Only those of this service.")] = "",
    status: Annotated[
        str | None, typer.Option("--status", help="Only draft, published, deployed, failed or abandoned ones.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="Created since: 10m, 2d or a date.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Created before.")] = None,
    query: Annotated[str, typer.Option("--query", "-q", help="Only those with this in version or notes.")] = "",
    limit: LimitOption = 50,
) -> None:
    """List releases, the newest first."""
    request = pb.ListReleasesRequest(
        service=service,
        status=optional_enum_of(pb.ReleaseStatus, status, "--status"),
        start_date=time_of(since, "--since"),
        end_date=time_of(until, "--until"),
        query=query,
    )
    call = session.client.releases.ListReleases
    session.show_list(call, request, "releases", RELEASES, limit=limit, empty="no releases")


@app.command("update")
@connected
def update(
    session: Session,
    release: ReleaseArgument,
    version: Annotated[str | None, typer.Option("--version", help="Another version; only of a draft.")] = None,
    commit: Commit = None,
    notes: Notes = None,
    notes_file: NotesFile = None,
    changes: Changes = None,
    previous: Previous = None,
) -> None:
    """Change what is given: notes always, the rest while it is a draft."""
    request = pb.UpdateReleaseRequest(
        release=release,
        version=version,
        git_commit=commit,
        release_notes=_notes(notes, notes_file),
        changes=_changes(changes),
        previous_release=previous,
    )
    _show(session, session.client.releases.UpdateRelease(request))


@app.command("delete")
@connected
def delete(session: Session, release: ReleaseArgument) -> None:
    """Delete a draft."""
    session.client.releases.DeleteRelease(pb.DeleteReleaseRequest(release=release))
    session.done(f"release {release} is deleted")


@app.command("publish")
@connected
def publish(session: Session, release: ReleaseArgument) -> None:
    """Make a draft deployable."""
    _show(session, session.client.releases.PublishRelease(pb.PublishReleaseRequest(release=release)))


@app.command("abandon")
@connected
def abandon(session: Session, release: ReleaseArgument, reason: ReasonOption = "") -> None:
    """Give a release up."""
    request = pb.AbandonReleaseRequest(release=release, reason=reason)
    _show(session, session.client.releases.AbandonRelease(request))


@app.command("quarantine")
@connected
def quarantine(session: Session, release: ReleaseArgument, reason: ReasonOption) -> None:
    """Hold a release everywhere."""
    request = pb.QuarantineReleaseRequest(release=release, reason=reason)
    _show(session, session.client.releases.QuarantineRelease(request))


@app.command("clear-quarantine")
@connected
def clear_quarantine(session: Session, release: ReleaseArgument, reason: ReasonOption) -> None:
    """End the hold on a release."""
    request = pb.ClearQuarantineRequest(release=release, reason=reason)
    _show(session, session.client.releases.ClearQuarantine(request))


@app.command("deploy")
@connected
def deploy(
    session: Session,
    release: ReleaseArgument,
    environment: EnvironmentArgument,
    stage: StagesOption = None,
    label: LabelsOption = None,
    supersede: Supersede = False,
    validate_only: ValidateOnly = False,
) -> None:
    """Create a deployment of a release; `relman deployment create` says more."""
    request = pb.DeployReleaseRequest(
        release=release,
        environment=environment,
        stages=stages_of(stage),
        labels=labels_of(label),
        supersede=supersede,
        validate_only=validate_only,
    )
    show_deployment(session, session.client.releases.DeployRelease(request))


@app.command("promote")
@connected
def promote(
    session: Session,
    release: ReleaseArgument,
    environment: Annotated[
        str, typer.Option("--environment", "-e", help="Where to; else the one after where it succeeded last.")
    ] = "",
    stage: StagesOption = None,
    label: LabelsOption = None,
    supersede: Supersede = False,
    validate_only: ValidateOnly = False,
) -> None:
    """Create a deployment of a release into the next environment."""
    request = pb.PromoteReleaseRequest(
        release=release,
        environment=environment,
        stages=stages_of(stage),
        labels=labels_of(label),
        supersede=supersede,
        validate_only=validate_only,
    )
    show_deployment(session, session.client.releases.PromoteRelease(request))


@app.command("history")
@connected
def history(session: Session, release: ReleaseArgument) -> None:
    """Show the releases before this one, and where each was deployed."""
    answer = session.client.releases.GetReleaseHistory(pb.GetReleaseHistoryRequest(release=release))
    session.show_all(HISTORY, answer.entries, empty="no history")
    if answer.truncated:
        note("older ones are not shown")


def _notes(text: str | None, file: Path | None) -> str | None:
    if text is not None and file is not None:
        raise typer.BadParameter("give either --notes or --notes-file", param_hint="--notes-file")
    return read_text(file) if file is not None else text


def _changes(commits: str | None) -> list[pb.Change]:
    if commits is None:
        return []
    from relman_client.cli.git import changes_in  # noqa: PLC0415 - rarely wanted

    return changes_in(commits)
