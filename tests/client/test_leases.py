"""Keeping a lease: that it lasts, and that its holder learns when it is gone."""

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from relman_client import Client, LeaseKeeper, RelmanError
from relman_client.v1.common_pb2 import Outcome
from relman_client.v1.deployment_pb2 import (
    CancelDeploymentRequest,
    CompleteDeploymentRequest,
    DeploymentStatus,
    GetDeploymentRequest,
    StartDeploymentRequest,
)
from relman_client.v1.lease_pb2 import Lease
from tests.client.pipelines import create_deployment
from tests.client.proxy import Proxy
from tests.services.relman import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess

SHORTEST = Duration(seconds=5)
LONG = Duration(seconds=3600)
"""Of which the first heartbeat but one would come after the test."""


def lease_of(client: Client, deployment: str, *, takeover: bool = False, ttl: Duration = SHORTEST) -> Lease:
    request = StartDeploymentRequest(deployment=deployment, lease_ttl=ttl, takeover=takeover)
    return client.deployments.StartDeployment(request).lease


def status_of(client: Client, deployment: str) -> "DeploymentStatus.ValueType":
    return client.deployments.GetDeployment(GetDeploymentRequest(deployment=deployment)).status


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Loss:
    """Takes the news."""

    def __init__(self) -> None:
        self.errors: list[RelmanError] = []
        self.came = threading.Event()

    def __call__(self, error: RelmanError) -> None:
        self.errors.append(error)
        self.came.set()


@pytest.mark.timeout(120)  # leases are not enforced before the server has been there for 30 seconds
def test_a_lease_is_renewed_again_and_again(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = create_deployment(admin)
    lease = lease_of(admin, deployment)
    answers: list[Lease] = []
    beat = admin.deployments.HeartbeatDeployment

    def noting(*arguments: Any, **more: Any) -> Lease:
        answers.append(beat(*arguments, **more))
        return answers[-1]

    monkeypatch.setattr(admin.deployments, "HeartbeatDeployment", noting)
    with LeaseKeeper(admin, deployment, lease) as keeper:
        wait_for(lambda: len(answers) >= 4)
        assert keeper.failure is None
    ends = [answer.expires_at.ToNanoseconds() for answer in (lease, *answers)]
    assert ends == sorted(set(ends))
    assert ends[-1] - ends[0] > SHORTEST.ToNanoseconds() * 2 // 3


def test_who_is_taken_over_learns_it_at_once(admin: Client) -> None:
    deployment, lost = create_deployment(admin), Loss()
    with LeaseKeeper(admin, deployment, lease_of(admin, deployment, ttl=LONG), on_lost=lost) as keeper:
        lease_of(admin, deployment, takeover=True)
        assert lost.came.wait(20)
        assert keeper.failure is lost.errors[0]
    assert (lost.errors[0].code, lost.errors[0].reason) == (grpc.StatusCode.ABORTED, "WRITER_FENCED")


def test_whoever_holds_a_lease_learns_at_once_how_the_deployment_ended(admin: Client) -> None:
    deployment, lost = create_deployment(admin), Loss()
    with LeaseKeeper(admin, deployment, lease_of(admin, deployment, ttl=LONG), on_lost=lost):
        admin.deployments.CancelDeployment(CancelDeploymentRequest(deployment=deployment))
        assert lost.came.wait(20)
    assert (lost.errors[0].code, lost.errors[0].metadata["state"]) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "CANCELLED",
    )


def test_after_an_outage_heartbeats_go_on(running: ServerProcess, admin: Client) -> None:
    """A keeper that gives up at the first error says that the lease is lost, or never says anything again."""
    deployment, lost = create_deployment(admin), Loss()
    lease = lease_of(admin, deployment)
    with (
        Proxy(running.address) as proxy,
        Client(proxy.address, credentials=admin.credentials) as client,
        LeaseKeeper(client, deployment, lease, on_lost=lost),
    ):
        wait_for(lambda: proxy.connections)
        proxy.refuse()
        time.sleep(3)
        assert lost.errors == []
        proxy.admit()
        admin.deployments.CancelDeployment(CancelDeploymentRequest(deployment=deployment))
        assert lost.came.wait(20)
    assert [error.metadata["state"] for error in lost.errors] == ["CANCELLED"]


def test_a_restart_of_the_server_loses_no_lease(server_process: ServerProcess) -> None:
    server_process.start()
    lost = Loss()
    with Client(server_process.address) as client:
        client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        deployment = create_deployment(client)
        with LeaseKeeper(client, deployment, lease_of(client, deployment), on_lost=lost):
            server_process.kill()
            server_process.start()
            client.deployments.CancelDeployment(CancelDeploymentRequest(deployment=deployment))
            assert lost.came.wait(20)
    assert [error.metadata["state"] for error in lost.errors] == ["CANCELLED"]


def test_nobody_is_told_after_closing(admin: Client) -> None:
    deployment, lost = create_deployment(admin), Loss()
    lease = lease_of(admin, deployment)
    with LeaseKeeper(admin, deployment, lease, on_lost=lost) as keeper:
        pass
    request = CompleteDeploymentRequest(deployment=deployment, lease=lease, outcome=Outcome.OUTCOME_SUCCEEDED)
    admin.deployments.CompleteDeployment(request)
    assert not lost.came.wait(3)
    assert keeper.failure is None
