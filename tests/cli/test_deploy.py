"""relman deploy, promote, rollback, why: how they wait, what they say, and the statuses they exit with."""

import json
import signal
import subprocess
import time

import pytest

from relman_client import Client
from relman_client.v1 import catalog_pb2, common_pb2, deployment_pb2, environment_pb2, release_pb2, stage_pb2, user_pb2
from tests.cli.conftest import Command
from tests.factories import unique
from tests.services.relman import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess

SUCCEEDED, FAILED = common_pb2.OUTCOME_SUCCEEDED, common_pb2.OUTCOME_FAILED


class Scene:
    """A service with releases, and an environment."""

    def __init__(self, client: Client, **fields: object) -> None:
        self.client = client
        self.service = unique("service")
        self.environment = unique("environment")
        client.catalog.CreateService(catalog_pb2.CreateServiceRequest(name=self.service))
        kind = environment_pb2.ENVIRONMENT_TYPE_STAGING
        client.environments.CreateEnvironment(
            environment_pb2.CreateEnvironmentRequest(name=self.environment, environment_type=kind, **fields)  # type: ignore[arg-type]
        )

    def release(self, version: str) -> str:
        """Publish a release; return its name."""
        name = f"{self.service}@{version}"
        self.client.releases.CreateRelease(release_pb2.CreateReleaseRequest(service=self.service, version=version))
        self.client.releases.PublishRelease(release_pb2.PublishReleaseRequest(release=name))
        return name

    def newest(self) -> deployment_pb2.Deployment:
        """Return the deployment that was created last, once there is one."""
        for _ in range(200):
            request = deployment_pb2.ListDeploymentsRequest(service=self.service, page_size=1)
            found = self.client.deployments.ListDeployments(request).deployments
            if found:
                return found[0]
            time.sleep(0.05)
        raise AssertionError("there is none")

    def ship(self, version: str, outcome: "common_pb2.Outcome.ValueType" = SUCCEEDED) -> str:
        """Carry a release into the environment; return the deployment's id."""
        request = release_pb2.DeployReleaseRequest(release=self.release(version), environment=self.environment)
        deployment = self.client.releases.DeployRelease(request).id
        self.carry_out(deployment, outcome)
        return deployment

    def carry_out(self, deployment: str, outcome: "common_pb2.Outcome.ValueType" = SUCCEEDED) -> None:
        """Start and complete a deployment."""
        api = self.client.deployments
        api.StartDeployment(deployment_pb2.StartDeploymentRequest(deployment=deployment))
        reason = "the disk is full" if outcome == FAILED else ""
        api.CompleteDeployment(
            deployment_pb2.CompleteDeploymentRequest(deployment=deployment, outcome=outcome, failure_reason=reason)
        )

    def reject(self, deployment: str) -> None:
        """Reject a deployment as somebody else than its author."""
        password = "a-password-of-someone-else"
        name = unique("approver")
        request = user_pb2.CreateUserRequest(
            email=f"{name}@example.com", username=name, password=password, is_admin=True
        )
        self.client.users.CreateUser(request)
        with Client(self.client.address) as other:
            other.login(name, password)
            verdict = deployment_pb2.RejectDeploymentRequest(deployment=deployment, notes="not on a Friday")
            other.deployments.RejectDeployment(verdict)


@pytest.fixture
def scene(admin: Client) -> Scene:
    """A service and an environment without rules."""
    return Scene(admin)


def _ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "rejected"])
def test_the_exit_status_says_how_it_ended(relman: Command, admin: Client, end: str) -> None:
    scene = Scene(admin, required_approvals=1 if end == "rejected" else 0)
    waiting = relman.start("deploy", scene.release("1.0.0"), scene.environment, "--wait")
    deployment = scene.newest().id
    if end == "cancelled":
        admin.deployments.CancelDeployment(deployment_pb2.CancelDeploymentRequest(deployment=deployment))
    elif end == "rejected":
        scene.reject(deployment)
    else:
        scene.carry_out(deployment, SUCCEEDED if end == "succeeded" else FAILED)
    status, out, err = _ended(waiting)
    assert status == {"succeeded": 0, "failed": 3, "rejected": 4, "cancelled": 5}[end], (out, err)
    assert end in out
    assert f"deployment {deployment}\n" in err
    assert "connection" not in err


def test_what_ended_before_anyone_watched_is_seen(relman: Command, scene: Scene) -> None:
    """Fails when the watch begins with events to come: it would wait for good."""
    deployment = scene.ship("1.0.0", FAILED)
    done = relman("rollback", deployment, "--wait")
    assert done.returncode == 1
    assert "Nothing to go back to" in done.stderr


def test_it_ends_when_its_time_is_over_and_says_what_it_waited_for(relman: Command, scene: Scene) -> None:
    scene.client.environments.LockEnvironment(
        environment_pb2.LockEnvironmentRequest(environment=scene.environment, reason="moving house")
    )
    done = relman("deploy", scene.release("1.0.0"), scene.environment, "--wait", "--timeout", "1s")
    assert done.returncode == 6
    assert "moving house" in done.stdout
    assert "it has not ended in time" in done.stderr


def test_it_does_not_wait_for_people_when_it_shall_not(relman: Command, admin: Client) -> None:
    scene = Scene(admin, required_approvals=1)
    done = relman("deploy", scene.release("1.0.0"), scene.environment, "--no-wait-for-approval")
    assert done.returncode == 7
    assert "Waiting for 1 of 1 approvals" in done.stdout


def test_wrong_usage_is_2_and_a_refusal_1(relman: Command, scene: Scene) -> None:
    release = scene.release("1.0.0")
    assert relman("deploy", release).returncode == 2
    assert relman("deploy", release, scene.environment, "--timeout", "soon").returncode == 2
    assert relman("deploy", release, "nowhere", "--wait").returncode == 1


def test_it_survives_a_killed_server(server_process: ServerProcess, bare: Command) -> None:
    """Killed while it waits, and again just when the deployment has ended."""
    server_process.start()
    with Client(server_process.address) as client:
        client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        assert client.credentials is not None
        bare.environment |= {
            "RELMAN_SERVER": server_process.address,
            "RELMAN_TOKEN": client.credentials.access_token,
        }
        scene = Scene(client)
        waiting = bare.start("deploy", scene.release("1.0.0"), scene.environment, "--wait", "--timeout", "1m")
        deployment = scene.newest().id
        assert waiting.stdout is not None
        assert "ready" in waiting.stdout.readline()
        server_process.kill()
        server_process.start()
        scene.carry_out(deployment)
        server_process.kill()
        server_process.start()
        status, out, _ = _ended(waiting)
        assert status == 0, out
        assert "succeeded" in out


def test_ctrl_c_leaves_the_deployment_alone(relman: Command, scene: Scene) -> None:
    waiting = relman.start("deploy", scene.release("1.0.0"), scene.environment, "--wait")
    deployment = scene.newest()
    time.sleep(0.5)
    waiting.send_signal(signal.SIGINT)
    assert _ended(waiting)[0] == 130
    assert scene.newest().status == deployment.status


def test_following_shows_the_log(relman: Command, scene: Scene) -> None:
    waiting = relman.start("deploy", scene.release("1.0.0"), scene.environment, "--follow", "--stage", "build")
    deployment = scene.newest().id
    scene.client.deployments.StartDeployment(deployment_pb2.StartDeploymentRequest(deployment=deployment))
    assert relman("run", "-d", deployment, "-s", "build", "--", "echo", "hello").returncode == 0
    scene.client.deployments.CompleteDeployment(
        deployment_pb2.CompleteDeploymentRequest(deployment=deployment, outcome=SUCCEEDED)
    )
    status, out, _ = _ended(waiting)
    assert status == 0
    assert "build | hello\n" in out


def test_json_is_the_deployment_at_its_end(relman: Command, scene: Scene) -> None:
    waiting = relman.start("deploy", scene.release("1.0.0"), scene.environment, "--wait", "-o", "json")
    scene.carry_out(scene.newest().id)
    _, out, _ = _ended(waiting)
    assert json.loads(out)["status"] == "DEPLOYMENT_STATUS_SUCCEEDED"


def test_promotion_finds_the_next_environment(relman: Command, scene: Scene) -> None:
    after = Scene(scene.client, promotes_from=scene.environment)
    scene.ship("1.0.0")
    done = relman("promote", f"{scene.service}@1.0.0", "-o", "json")
    assert json.loads(done.stdout)["environment_name"] == after.environment


def test_a_rollback_of_what_came_last(relman: Command, scene: Scene) -> None:
    scene.ship("1.0.0")
    scene.ship("2.0.0", FAILED)
    waiting = relman.start("rollback", scene.service, scene.environment, "--reason", "it is slow", "--wait")
    for _ in range(200):
        if scene.newest().kind == deployment_pb2.DEPLOYMENT_KIND_ROLLBACK:
            break
        time.sleep(0.05)
    scene.carry_out(scene.newest().id)
    status, out, err = _ended(waiting)
    assert (status, "succeeded" in out) == (0, True)
    assert f"to {scene.service}@1.0.0" in err
    refused = relman("deploy", f"{scene.service}@2.0.0", scene.environment)
    assert refused.returncode == 1
    assert "is in quarantine: Rolled back" in refused.stderr


def test_rollbacks_are_listed_and_shown_and_called_off(relman: Command, scene: Scene) -> None:
    scene.ship("1.0.0")
    scene.ship("2.0.0", FAILED)
    made = json.loads(relman("rollback", scene.service, scene.environment, "--reason", "slow", "-o", "json").stdout)
    [listed] = json.loads(relman("rollbacks", "list", "--service", scene.service, "-o", "json").stdout)
    assert listed["id"] == made["id"] == json.loads(relman("rollbacks", "get", made["id"], "-o", "json").stdout)["id"]
    shown = relman("rollbacks", "list", "--service", scene.service).stdout
    assert all(text in shown for text in (made["id"], scene.environment, "1.0.0", "pending", "slow"))
    assert "pending" in relman("rollbacks", "status", made["id"]).stdout
    assert relman("rollbacks", "cancel", made["id"], "--reason", "not so slow").returncode == 0
    found = json.loads(relman("rollbacks", "status", made["id"], "-o", "json").stdout)
    assert (found["status"], found["failure_reason"]) == ("ROLLBACK_STATUS_CANCELLED", "not so slow")
    assert relman("rollbacks", "list", "--status", "pending", "--service", scene.service).stderr == "no rollbacks\n"


def test_locking(relman: Command, scene: Scene) -> None:
    assert relman("lock", scene.environment, "--reason", "moving house", "--for", "2h").returncode == 0
    release = scene.release("1.0.0")
    deployment = json.loads(relman("deploy", release, scene.environment, "-o", "json").stdout)["id"]
    why = relman("why", deployment).stdout
    assert f"{release} to {scene.environment} was created" in why
    assert "lock" in why
    assert "It opens by itself in 2 h" in why
    assert f"relman unlock {scene.environment}" in why
    assert relman("unlock", scene.environment).returncode == 0
    assert "every gate is open" in relman("why", deployment).stdout


def test_why_it_waits_for_people(relman: Command, admin: Client) -> None:
    scene = Scene(admin, required_approvals=1)
    deployment = json.loads(relman("deploy", scene.release("1.0.0"), scene.environment, "-o", "json").stdout)["id"]
    why = relman("why", deployment).stdout
    assert "Waiting for 1 of 1 approvals" in why
    assert f"relman approve {deployment}" in why
    assert "--override" not in why
    scene.reject(deployment)
    why = relman("why", deployment).stdout
    assert "was rejected" in why
    assert "not on a Friday" in why


def test_why_it_failed(relman: Command, scene: Scene) -> None:
    created = relman("deploy", scene.release("1.0.0"), scene.environment, "--stage", "build", "-o", "json")
    deployment = json.loads(created.stdout)["id"]
    stage = f"{deployment}/build"
    scene.client.deployments.StartDeployment(deployment_pb2.StartDeploymentRequest(deployment=deployment))
    assert "Next is stage build." in relman("why", deployment).stdout
    scene.client.stages.StartStage(stage_pb2.StartStageRequest(stage=stage))
    assert "Stage build began" in relman("why", deployment).stdout
    scene.client.stages.CompleteStage(
        stage_pb2.CompleteStageRequest(stage=stage, outcome=FAILED, output="exit status 2\x1b[31m")
    )
    assert f"relman stage retry {stage}" in relman("why", deployment).stdout
    scene.client.deployments.CompleteDeployment(
        deployment_pb2.CompleteDeploymentRequest(deployment=deployment, outcome=FAILED, failure_reason="no luck")
    )
    why = relman("why", deployment).stdout
    assert "failed" in why
    assert "no luck" in why
    assert "exit status 2" in why
    assert "\x1b" not in why
    assert f"relman rollback {deployment}" in why
