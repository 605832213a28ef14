"""Waiting until a deployment may start, saying what for, and starting it."""

import time
from datetime import timedelta
from typing import Any

import grpc
import typer
from google.protobuf.duration_pb2 import Duration

from relman_client.cli import exits
from relman_client.cli.outages import Outages
from relman_client.cli.output import word
from relman_client.cli.patience import patiently
from relman_client.cli.session import Session
from relman_client.cli.text import exact, note, safe
from relman_client.errors import RelmanError
from relman_client.resume import Following
from relman_client.v1 import deployment_pb2 as pb
from relman_client.watch import FINAL, WatchPosition


class Starter:
    """Starts one deployment, as soon as that is allowed."""

    def __init__(
        self, session: Session, deployment: str, *, timeout: float | None, waits_for_approval: bool, patience: float
    ) -> None:
        """Prepare to wait.

        Args:
            session: Whose connection to use.
            deployment: Id.
            timeout: Seconds to wait until it is ready; None waits as long as it takes.
            waits_for_approval: Wait for people, too.
            patience: Seconds to go on trying to start it while the server is away.
        """
        self._client = session.client
        self._deployment = deployment
        self._timeout = timeout
        self._waits_for_approval = waits_for_approval
        self._patience = patience
        self._told = ""

    def start(self, lease_ttl: Duration, *, takeover: bool = False) -> pb.StartDeploymentResponse:
        """Wait, then start it with a lease; with takeover also when it is in progress already.

        Raises:
            typer.Exit: It has ended, is not ready in time, or waits for people. What it is was said.
            RelmanError: It cannot be started.
        """
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            self._wait(deadline)
            request = pb.StartDeploymentRequest(deployment=self._deployment, lease_ttl=lease_ttl, takeover=takeover)
            try:
                return patiently(self._client.deployments.StartDeployment, request, time.monotonic() + self._patience)
            except RelmanError as error:
                # A gate closed at the last moment, or another deployment was quicker.
                if error.reason != "BLOCKED" and error.code is not grpc.StatusCode.ABORTED:
                    raise
            time.sleep(1)

    def _wait(self, deadline: float | None) -> None:
        """Watch it until it waits no more."""

        def watch(request: pb.WatchDeploymentRequest) -> Any:  # a stream of grpc's
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            return self._client.deployments.WatchDeployment(request, timeout=left)

        position = WatchPosition(self._deployment, None, keep_open=False)
        try:
            with Following(watch, position, Outages().options, self._client.options.retries) as events:
                for event in events:
                    if not self._still_waits(event.deployment):
                        return
        except RelmanError:
            if deadline is None or self._timeout is None or time.monotonic() < deadline:
                raise
            note(f"it was not ready within {exact(timedelta(seconds=self._timeout))}")
            raise typer.Exit(exits.TIMED_OUT) from None

    def _still_waits(self, deployment: pb.Deployment) -> bool:
        if deployment.status in FINAL:
            note(ended(deployment))
            raise typer.Exit(exits.exit_of(deployment.status))
        if deployment.status != pb.DeploymentStatus.DEPLOYMENT_STATUS_PENDING:
            return False
        what = safe(" ".join(blocker.message for blocker in deployment.blockers))
        asks = any(blocker.kind == pb.BlockerKind.BLOCKER_KIND_APPROVAL for blocker in deployment.blockers)
        if asks and not self._waits_for_approval:
            note(f"blocked: {what}")
            raise typer.Exit(exits.BLOCKED)
        if what != self._told:
            note(f"waiting: {what}")
            self._told = what
        return True


def ended(deployment: pb.Deployment) -> str:
    """How a deployment ended, in one sentence."""
    why = f": {safe(deployment.failure_reason)}" if deployment.failure_reason else ""
    return f"the deployment has ended, {word(deployment, 'status')}{why}"
