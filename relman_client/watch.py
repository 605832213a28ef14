"""Following what happens to a deployment: its state first, then every event once."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from relman_client.resume import Position, ResumeOptions, follow
from relman_client.v1.deployment_pb2 import (
    DeploymentEvent,
    DeploymentEventType,
    DeploymentStatus,
    WatchDeploymentRequest,
)

if TYPE_CHECKING:
    from relman_client.client import Client

FINAL = frozenset(
    {
        DeploymentStatus.DEPLOYMENT_STATUS_SUCCEEDED,
        DeploymentStatus.DEPLOYMENT_STATUS_FAILED,
        DeploymentStatus.DEPLOYMENT_STATUS_CANCELLED,
        DeploymentStatus.DEPLOYMENT_STATUS_REJECTED,
        DeploymentStatus.DEPLOYMENT_STATUS_ROLLED_BACK,
    }
)


class WatchPosition(Position[DeploymentEvent]):
    """Where a watch stands: the revision of the last event that was passed on."""

    def __init__(self, deployment: str, after_revision: int | None, *, keep_open: bool) -> None:
        self._deployment = deployment
        self._keep_open = keep_open
        self.revision = after_revision
        self._has_snapshot = False
        self._final = False
        self._over = False

    def request(self) -> WatchDeploymentRequest:
        """The watch from here."""
        return WatchDeploymentRequest(
            deployment=self._deployment, after_revision=self.revision, keep_open=self._keep_open
        )

    def accept(self, event: DeploymentEvent) -> DeploymentEvent | None:
        """Pass on the first snapshot and each later revision; heartbeats and repeats are nothing new."""
        if event.type == DeploymentEventType.DEPLOYMENT_EVENT_TYPE_HEARTBEAT:
            return None
        self._final = event.deployment.status in FINAL
        if event.type == DeploymentEventType.DEPLOYMENT_EVENT_TYPE_SNAPSHOT:
            if self._has_snapshot:
                return None  # the events it already includes follow it
            self._has_snapshot = True
            if self.revision is None:
                self.revision = event.revision
            return event
        if self.revision is not None and event.revision <= self.revision:
            return None
        self.revision = event.revision
        self._over = self._final and not self._keep_open
        return event

    def is_complete(self) -> bool:
        """Nothing follows the final state, unless the watch is to stay open."""
        return self._final and not self._keep_open

    def is_over(self) -> bool:
        """After the event that ends the deployment nothing follows."""
        return self._over


class Watch:
    """What happens to a deployment: iterate it for an event SNAPSHOT with the state now, then every event after it.

    It resumes after any break, and ends after the final event. `revision` belongs to the last event of the iteration.
    """

    def __init__(
        self,
        client: "Client",
        deployment: str,
        *,
        after_revision: int | None = None,
        keep_open: bool = False,
        options: ResumeOptions | None = None,
    ) -> None:
        """Prepare to watch.

        Args:
            client: Whose connection to use.
            deployment: Id of the deployment.
            after_revision: Also send the events after this revision; unset: only new ones.
            keep_open: Go on after the final event.
            options: How to deal with breaks.
        """
        self._position = WatchPosition(deployment, after_revision, keep_open=keep_open)
        self._events = follow(
            client.deployments.WatchDeployment, self._position, options or ResumeOptions(), client.options.retries
        )

    @property
    def revision(self) -> int | None:
        """Where to go on later."""
        return self._position.revision

    def __iter__(self) -> Iterator[DeploymentEvent]:
        return self._events

    def close(self) -> None:
        """End the call."""
        self._events.close()
