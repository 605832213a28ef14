"""Keeping a lease: heartbeats for as long as a pipeline lives, and word when it must stop."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from relman_client.errors import RelmanError
from relman_client.retries import Backoff
from relman_client.v1.deployment_pb2 import DeploymentEventType, HeartbeatDeploymentRequest
from relman_client.v1.lease_pb2 import Lease
from relman_client.watch import FINAL, Watch

if TYPE_CHECKING:
    from relman_client.client import Client

# What the server says no to, and will again. Everything else may pass: an outage, a deadline, a conflict.
_FOR_GOOD = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
_SHORTEST_CALL = 5.0  # seconds that a heartbeat may take, also when the next one is due earlier


class LeaseKeeper:
    """Keeps the lease of a deployment, by heartbeats from a thread, until it is closed.

        with LeaseKeeper(client, deployment, answer.lease, on_lost=stop_working):
            ...

    A heartbeat is sent at once, then every third of the lease's time. While the server is away it goes on trying:
    leases are not enforced before the server has been back for a while. It stops when it is refused for good, ABORTED
    WRITER_FENCED when someone took the deployment over, FAILED_PRECONDITION when it has ended (`metadata["state"]` says
    how): whoever works on the deployment shall stop then. A watch sees to it that this is learned at once, rather than
    at the next heartbeat. Closing gives nothing back: a lease ends with its deployment.
    """

    def __init__(
        self,
        client: "Client",
        deployment: str,
        lease: Lease,
        *,
        on_lost: Callable[[RelmanError], None] = lambda _error: None,
    ) -> None:
        """Start sending. `on_lost` is called in the keeper's thread, at most once, and not after `close`."""
        self._client = client
        self._request = HeartbeatDeploymentRequest(deployment=deployment, lease=lease)
        self._on_lost = on_lost
        self._failure: RelmanError | None = None
        self._closed = threading.Event()
        self._due = threading.Event()  # a heartbeat is, before its time
        self._ending = threading.RLock()  # one that may be taken again: on_lost may close
        self._watching = Watch(client, deployment)
        for name, work in (("relman-lease-keeper", self._run), ("relman-lease-watch", self._watch)):
            threading.Thread(target=work, name=name, daemon=True).start()

    @property
    def failure(self) -> RelmanError | None:
        """What lost the lease; None while it is held, as far as is known."""
        return self._failure

    def close(self) -> None:
        """Send no more heartbeats."""
        with self._ending:
            self._closed.set()
            self._due.set()
        self._watching.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        """The keeper's thread."""
        backoff = Backoff(self._client.options.retries)
        interval = 0.0
        while not self._closed.is_set():
            try:
                lease = self._client.deployments.HeartbeatDeployment(
                    self._request, timeout=max(interval, _SHORTEST_CALL)
                )
            except RelmanError as error:
                if _is_for_good(error):
                    self._lose(error)
                    return
                self._closed.wait(backoff.next(error))
            except ValueError:
                return  # the client was closed, and nobody can be heard any more
            else:
                backoff.reset()
                interval = lease.ttl.ToTimedelta().total_seconds() / 3
                self._due.wait(interval)
                self._due.clear()

    def _watch(self) -> None:
        """The watch's thread: what may have ended the lease lets a heartbeat find out."""
        try:
            for event in self._watching:
                taken = event.type == DeploymentEventType.DEPLOYMENT_EVENT_TYPE_LEASE
                if taken or event.deployment.status in FINAL:
                    self._due.set()
        except RelmanError:
            return  # it cannot be watched, and the heartbeats alone will tell

    def _lose(self, error: RelmanError) -> None:
        with self._ending:
            if not self._closed.is_set():
                self._failure = error
                self._on_lost(error)


def _is_for_good(error: RelmanError) -> bool:
    return error.reason == "WRITER_FENCED" or (error.code in _FOR_GOOD and not error.is_passing)
