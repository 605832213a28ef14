"""`relman deployment run`: a whole deployment, as a file says."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from relman_client.cli import exits
from relman_client.cli.inputs import duration_of, seconds_of
from relman_client.cli.session import Session, connected
from relman_client.cli.text import safe
from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1.stage_pb2 import StageStatus

LEASE_BOUNDS = (5, 3600)


@connected
def run(
    session: Session,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", envvar="RELMAN_DEPLOYMENT", help="Id.")],
    file: Annotated[
        Path, typer.Option("--file", "-f", metavar="FILE", help="What to do in which stage; see below.")
    ] = Path("pipeline.yaml"),
    lease: Annotated[
        str, typer.Option("--lease", metavar="SPAN", help="After how long without a heartbeat it counts as lost.")
    ] = "60s",
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="SPAN", help="How long to wait until it may start.")
    ] = None,
    wait_for_approval: Annotated[
        bool,
        typer.Option("--wait-for-approval/--no-wait-for-approval", help="Whether to wait for people to approve it."),
    ] = True,
    takeover: Annotated[
        bool, typer.Option("--takeover", help="Go on with one that is in progress, in the place of who runs it.")
    ] = False,
    impacted: Annotated[bool, typer.Option("--impacted", help="If it fails, users feel it.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show the commands' output here.")] = False,
    give_up_after: Annotated[
        str,
        typer.Option("--give-up-after", metavar="SPAN", help="How long to try to reach a server that is away."),
    ] = "5m",
) -> None:
    """Carry a deployment out: wait until it may start, run its stages' commands, complete it.

    The file is YAML: under `stages`, a list, each stage has a name and `run`, a command for sh or a list of a program
    and its arguments, and may have a timeout (10m) and env. Stages that the deployment lacks are created. The commands
    find RELMAN_DEPLOYMENT, RELMAN_STAGE, RELMAN_RELEASE, RELMAN_ENVIRONMENT and RELMAN_SERVER in their environment.

    Output is shown and logged as by `relman run`. The first stage that fails ends it all. A command also ends (SIGTERM,
    SIGKILL after 10 seconds) when its stage takes too long, the deployment is called off or taken over, or on Ctrl-C.

    With --takeover a deployment that is in progress goes on here, and whoever runs it can do nothing more. Stages that
    have passed are not repeated; one that was at work begins again, as a new attempt.

    The exit status is 0 when the deployment succeeded, 3 failed, 4 rejected, 5 cancelled, 6 not ready in time,
    7 waiting for approval with --no-wait-for-approval, 2 called wrongly, 128 + N interrupted by signal N, and 1
    whatever else.

    Example: relman deployment run ID -f pipeline.yaml
    """
    from relman_client.cli.pipeline import PipelineError, read_pipeline  # noqa: PLC0415 - YAML is of use here alone
    from relman_client.cli.pipeline_run import PipelineRun  # noqa: PLC0415
    from relman_client.cli.starting import Starter  # noqa: PLC0415

    patience = seconds_of(give_up_after, "--give-up-after")
    longest = seconds_of(timeout, "--timeout") if timeout else None
    low, high = LEASE_BOUNDS
    ttl = duration_of(lease, "--lease")
    if ttl is None or not low <= ttl.ToTimedelta().total_seconds() <= high:
        raise typer.BadParameter("must be from 5s to 1h", param_hint="--lease")
    try:
        steps = read_pipeline(file)
    except PipelineError as error:
        raise _wrong(str(error)) from None
    request = pb.GetDeploymentRequest(deployment=deployment, view=pb.DeploymentView.DEPLOYMENT_VIEW_WITH_STAGES)
    found = session.client.deployments.GetDeployment(request)
    _require_fitting([step.name for step in steps], found, file)
    starter = Starter(session, found.id, timeout=longest, waits_for_approval=wait_for_approval, patience=patience)
    started = starter.start(ttl, takeover=takeover)
    pipeline = PipelineRun(session, started, quiet=quiet, impacted=impacted, patience=patience)
    raise typer.Exit(pipeline.carry_out(steps))


def _require_fitting(names: Sequence[str], deployment: pb.Deployment, file: Path) -> None:
    """The stages that the deployment has come first: those it lacks are created after them."""
    known = [stage.name for stage in deployment.stages if stage.status == StageStatus.STAGE_STATUS_PENDING]
    other = {stage.name for stage in deployment.stages} - set(known)
    wanted = [name for name in names if name not in other]
    if wanted[: len(known)] != known:
        raise _wrong(f"{file}: the deployment has the stages {', '.join(known)}; the file must have them first, too")


def _wrong(sentence: str) -> typer.Exit:
    sys.stderr.write(f"Error: {safe(sentence)}\n")
    return typer.Exit(exits.USAGE)
