"""`relman promote`: a release into the next environment."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

from typing import Annotated

import typer

from relman_client.cli.deploy import (
    FollowOption,
    NoApprovalOption,
    SupersedeOption,
    TimeoutOption,
    ValidateOption,
    WaitOption,
    created,
    patience_of,
)
from relman_client.cli.inputs import LabelsOption, StagesOption, labels_of, stages_of
from relman_client.cli.options import new_app
from relman_client.cli.session import Session, connected
from relman_client.v1.release_pb2 import PromoteReleaseRequest

app = new_app()


@app.command()
@connected
def promote(
    session: Session,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="SERVICE@VERSION or id.")],
    environment: Annotated[
        str, typer.Argument(metavar="[ENVIRONMENT]", help="Where to, when several promote from where it is.")
    ] = "",
    stage: StagesOption = None,
    label: LabelsOption = None,
    supersede: SupersedeOption = False,
    validate_only: ValidateOption = False,
    wait: WaitOption = False,
    follow: FollowOption = False,
    timeout: TimeoutOption = None,
    no_wait_for_approval: NoApprovalOption = False,
) -> None:
    """Deploy a release into the environment that promotes from where it succeeded last.

    Waiting, and how it exits, is as in `relman deploy`.

    Example: relman promote checkout@1.4.2 --wait
    """
    patience = patience_of(wait=wait, follow=follow, timeout=timeout, no_wait_for_approval=no_wait_for_approval)
    request = PromoteReleaseRequest(
        release=release,
        environment=environment,
        stages=stages_of(stage),
        labels=labels_of(label),
        supersede=supersede,
        validate_only=validate_only,
    )
    deployment = session.client.releases.PromoteRelease(request)
    created(session, deployment, None if validate_only else patience)
