"""Leases on the command line: given by a start, passed on in a word, lost to whoever takes over."""

import json
import subprocess
import time

import pytest

from relman_client import Client
from relman_client.v1.deployment_pb2 import (
    CancelDeploymentRequest,
    DeploymentStatus,
    GetDeploymentRequest,
    StartDeploymentRequest,
)
from relman_client.v1.environment_pb2 import LockEnvironmentRequest
from relman_client.v1.stage_pb2 import GetStageRequest, StageStatus
from tests.cli.conftest import Command
from tests.client.pipelines import create_deployment, texts_of

UUID = "0190a1b2-0000-7000-8000-00000000000a"
SUCCEEDED = DeploymentStatus.DEPLOYMENT_STATUS_SUCCEEDED


def leased(relman: Command, deployment: str, *options: str) -> str:
    """Start it; answers the lease."""
    done = relman("deployment", "start", deployment, *(options or ("--lease", "10m")))
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("lease")]
    return line.split()[1]


def test_a_start_gives_a_lease_and_the_rest_is_done_under_it(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin, "build")
    lease = leased(relman, deployment)
    assert relman("deployment", "heartbeat", deployment, "--lease", lease).returncode == 0
    assert relman("run", "-d", deployment, "-s", "build", "--lease", lease, "--", "echo", "hello").returncode == 0
    assert "hello" in texts_of(admin, deployment)
    relman.environment["RELMAN_LEASE"] = lease
    assert relman("deployment", "complete", deployment).returncode == 0
    assert admin.deployments.GetDeployment(GetDeploymentRequest(deployment=deployment)).status == SUCCEEDED


def test_in_json_the_lease_is_the_answers(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin)
    done = relman("deployment", "start", deployment, "--lease", "10m", "-o", "json")
    answer = json.loads(done.stdout)
    assert (answer["id"], answer["lease"]["fencing_token"], answer["lease"]["ttl"]) == (deployment, "1", "600s")


def test_whoever_is_taken_over_can_do_nothing_more(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin, "build")
    old = leased(relman, deployment)
    leased(relman, deployment, "--takeover")
    for command in (
        ("deployment", "heartbeat", deployment),
        ("deployment", "complete", deployment, "--failed"),
        ("run", "-d", deployment, "-s", "build"),
    ):
        rest = ("--", "touch", "ran") if command[0] == "run" else ()
        done = relman(*command, "--lease", old, *rest)
        assert done.returncode == 1
        assert "took the deployment over" in done.stderr
    assert not (relman.folder / "ran").exists()


def test_gates_are_passed_with_a_reason(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin)
    environment = admin.deployments.GetDeployment(GetDeploymentRequest(deployment=deployment)).environment_name
    admin.environments.LockEnvironment(LockEnvironmentRequest(environment=environment, reason="stocktaking"))
    assert relman("deployment", "start", deployment).returncode == 1
    assert relman("deployment", "start", deployment, "--override", "lock").returncode == 2
    done = relman("deployment", "start", deployment, "--override", "lock", "--override", "freeze", "--reason", "fire")
    assert done.returncode == 0
    assert "in spite of LOCK: fire" in relman("deployment", "events", deployment).stdout


def running(relman: Command, deployment: str, lease: str) -> "subprocess.Popen[str]":
    script = "trap 'echo told; exit 0' TERM; echo ready; sleep 60 & wait"
    started = relman.start("run", "-d", deployment, "-s", "build", "--lease", lease, "--", "bash", "-c", script)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def test_a_run_that_is_taken_over_ends_its_command(relman: Command, admin: Client) -> None:
    """Even one that succeeds then: its end is nobody's business any more."""
    deployment = create_deployment(admin, "build")
    started = running(relman, deployment, leased(relman, deployment, "--lease", "15s"))
    admin.deployments.StartDeployment(StartDeploymentRequest(deployment=deployment, takeover=True))
    shown, said = started.communicate(timeout=30)
    assert (started.returncode, shown) == (1, "told\n")
    assert "relman: the lease is lost, so the command is ended: Someone took the deployment over" in said
    stage = admin.stages.GetStage(GetStageRequest(stage=f"{deployment}/build"))
    assert stage.status == StageStatus.STAGE_STATUS_RUNNING


def test_a_run_whose_deployment_is_called_off_ends_its_command(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin, "build")
    started = running(relman, deployment, leased(relman, deployment, "--lease", "15s"))
    while "ready" not in texts_of(admin, deployment):
        time.sleep(0.1)
    admin.deployments.CancelDeployment(CancelDeploymentRequest(deployment=deployment))
    _, said = started.communicate(timeout=30)
    assert started.returncode == 1
    assert "it is CANCELLED" in said
    assert "told" in texts_of(admin, deployment)


@pytest.mark.parametrize("word", ["x", "x:1", ":", UUID, f"{UUID}:0", f"{UUID}:-1", f"{UUID}:{10**30}"])
@pytest.mark.parametrize("command", [("deployment", "heartbeat", "id"), ("deployment", "complete", "id")])
def test_what_is_no_lease_is_said_to_be_none(word: str, command: tuple[str, ...], bare: Command) -> None:
    done = bare(*command, "--lease", word)
    assert done.returncode == 2
    assert "is no lease" in done.stderr


def test_a_heartbeat_needs_a_lease(bare: Command) -> None:
    assert "--lease ID:TOKEN" in bare("deployment", "heartbeat", "id").stderr
