"""Following what happens: to a deployment, its state first, then every event once; or to all of them."""

from typing import TYPE_CHECKING

from relman_client.resume import Following, HasCursor, Position, ResumeOptions
from relman_client.v1.deployment_pb2 import (
    DeploymentEvent,
    DeploymentEventType,
    DeploymentStatus,
    WatchDeploymentRequest,
    WatchDeploymentsRequest,
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


class Watch(Following[DeploymentEvent]):
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
        super().__init__(client.deployments.WatchDeployment, self._position, options, client.options.retries)

    @property
    def revision(self) -> int | None:
        """Where to go on later."""
        return self._position.revision


class FeedPosition(Position[DeploymentEvent]):
    """Where a feed stands: what it asks for, and the cursor of the last event."""

    def __init__(self, request: WatchDeploymentsRequest) -> None:
        self._request = request
        self.cursor = request.cursor

    def request(self) -> WatchDeploymentsRequest:
        """The feed from here."""
        request = WatchDeploymentsRequest()
        request.CopyFrom(self._request)
        request.cursor = self.cursor
        return request

    def accept(self, event: DeploymentEvent) -> DeploymentEvent | None:
        """Take the cursor; a heartbeat is nothing to tell."""
        self.cursor = event.cursor or self.cursor
        return None if event.type == DeploymentEventType.DEPLOYMENT_EVENT_TYPE_HEARTBEAT else event

    def is_complete(self) -> bool:
        """There is always more to come."""
        return False

    def is_over(self) -> bool:
        """As above."""
        return False


class Feed(HasCursor, Following[DeploymentEvent]):
    """What happens to all deployments from now on, or after a cursor: iterate it, and `close` it, for it has no end.

    It resumes after any break. `cursor` belongs to the last event of the iteration: a Feed made with it goes on right
    after.
    """

    def __init__(
        self, client: "Client", request: WatchDeploymentsRequest | None = None, options: ResumeOptions | None = None
    ) -> None:
        """Prepare to watch all, or those that the request asks for."""
        self._position = FeedPosition(request or WatchDeploymentsRequest())
        super().__init__(client.deployments.WatchDeployments, self._position, options, client.options.retries)
