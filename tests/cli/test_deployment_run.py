"""`relman deployment run`: what becomes of the deployment, of the commands, and what scripts are told."""

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from relman_client import Client
from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1.approval_pb2 import CreateApprovalRequest
from relman_client.v1.deployment_pb2 import DeploymentStatus
from relman_client.v1.stage_pb2 import SkipStageRequest, StageStatus
from relman_client.v1.user_pb2 import CreateUserRequest
from tests.cli.conftest import Command
from tests.client.pipelines import create_deployment, texts_of
from tests.services.relman import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess

Done = subprocess.CompletedProcess[str]
Running = subprocess.Popen[str]
SUCCEEDED, FAILED = DeploymentStatus.DEPLOYMENT_STATUS_SUCCEEDED, DeploymentStatus.DEPLOYMENT_STATUS_FAILED
IN_PROGRESS = DeploymentStatus.DEPLOYMENT_STATUS_IN_PROGRESS
READY = DeploymentStatus.DEPLOYMENT_STATUS_READY
_numbers = itertools.count(1)

WAITS = "stages: [{name: build, run: 'echo $$ > pid; echo ready; exec sleep 60'}]"


def found(client: Client, deployment: str) -> pb.Deployment:
    request = pb.GetDeploymentRequest(deployment=deployment, view=pb.DeploymentView.DEPLOYMENT_VIEW_WITH_STAGES)
    return client.deployments.GetDeployment(request)


def run(relman: Command, deployment: str, pipeline: str, *options: str) -> Done:
    (relman.folder / "pipeline.yaml").write_text(pipeline)
    return relman("deployment", "run", deployment, *options)


def start(relman: Command, deployment: str, pipeline: str, *options: str) -> Running:
    """The same in the background; returns when the first command has said that it is ready."""
    (relman.folder / "pipeline.yaml").write_text(pipeline)
    running = relman.start("deployment", "run", deployment, *options, stdin=subprocess.DEVNULL)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    return running


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lives(folder: Path) -> bool:
    """Whether the command that wrote its number down still runs."""
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_stages_are_made_run_and_the_deployment_succeeds(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin, "build")
    done = run(
        relman,
        deployment,
        """
        stages:
          - name: build
            run: echo "built $WHAT" && echo careful >&2
            env: {WHAT: it}
          - name: test
            run: [printf, "%s|", a b, "$HOME"]
            timeout: 10m
        """,
    )
    assert (done.returncode, done.stdout) == (0, "built it\na b|$HOME|")
    after = found(admin, deployment)
    assert after.status == SUCCEEDED
    assert [(stage.name, stage.timeout_seconds) for stage in after.stages] == [("build", 0), ("test", 600)]
    assert {stage.status for stage in after.stages} == {StageStatus.STAGE_STATUS_SUCCEEDED}
    lines = texts_of(admin, deployment)
    assert lines[0] == '$ echo "built $WHAT" && echo careful >&2'
    assert {"built it", "careful", "a b|$HOME|"} <= set(lines)


def test_commands_know_what_they_deploy(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin)
    names = ("DEPLOYMENT", "STAGE", "RELEASE", "ENVIRONMENT", "SERVER")
    said = " ".join(f"$RELMAN_{name}" for name in names)
    done = run(relman, deployment, f"stages: [{{name: build, run: 'echo {said}'}}]")
    of = found(admin, deployment)
    release = f"{of.service_name}@{of.release_version}"
    assert done.stdout.split() == [
        deployment,
        "build",
        release,
        of.environment_name,
        relman.environment["RELMAN_SERVER"],
    ]


def test_the_first_stage_that_fails_ends_it(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin)
    done = run(relman, deployment, "stages: [{name: build, run: exit 2}, {name: test, run: touch ran}]", "--impacted")
    assert done.returncode == 3
    assert "stage build: exit status 2" in done.stderr
    assert not (relman.folder / "ran").exists()
    after = found(admin, deployment)
    assert (after.status, after.failure_reason) == (FAILED, "stage build: exit status 2")
    assert after.production_impacted
    assert [stage.status for stage in after.stages] == [
        StageStatus.STAGE_STATUS_FAILED,
        StageStatus.STAGE_STATUS_CANCELLED,
    ]


def test_a_command_that_is_not_there_fails_its_stage(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin)
    assert run(relman, deployment, "stages: [{name: build, run: [no-such-command]}]").returncode == 3
    assert found(admin, deployment).failure_reason == "stage build: command not found: no-such-command"


def test_a_stage_that_was_skipped_is_passed_over(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin, "build", "test")
    admin.stages.SkipStage(SkipStageRequest(stage=f"{deployment}/build"))
    done = run(relman, deployment, "stages: [{name: build, run: touch ran}, {name: test, run: 'true'}]")
    assert done.returncode == 0
    assert not (relman.folder / "ran").exists()


def test_a_file_that_does_not_fit_the_deployments_stages_starts_nothing(relman: Command, admin: Client) -> None:
    """Stages it lacks would come after those it has, and those would never have their turn."""
    deployment = create_deployment(admin, "test")
    done = run(relman, deployment, "stages: [{name: build, run: 'true'}, {name: test, run: 'true'}]")
    assert done.returncode == 2
    assert "has the stages test" in done.stderr
    assert found(admin, deployment).status == READY


def test_a_stage_that_takes_too_long_fails_as_the_server_says(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin)
    done = run(
        relman, deployment, "stages: [{name: build, timeout: 1, run: 'echo $$ > pid; exec sleep 60'}]", "--lease", "1h"
    )
    assert done.returncode == 3
    after = found(admin, deployment)
    assert (after.status, after.failure_reason) == (FAILED, "STAGE_TIMEOUT")
    assert after.stages[0].status == StageStatus.STAGE_STATUS_TIMED_OUT
    assert not lives(relman.folder)


def test_a_timeout_of_the_file_alone_holds_too(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin, "build")
    done = run(relman, deployment, "stages: [{name: build, timeout: 1s, run: \"trap 'exit 0' TERM; sleep 60 & wait\"}]")
    assert done.returncode == 3
    after = found(admin, deployment)
    assert after.failure_reason == "stage build: it took longer than 1 s"
    assert after.stages[0].status == StageStatus.STAGE_STATUS_FAILED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_fails_the_deployment(
    number: signal.Signals, relman: Command, admin: Client
) -> None:
    deployment = create_deployment(admin)
    running = start(relman, deployment, WAITS)
    running.send_signal(number)
    running.communicate(timeout=30)
    assert running.returncode == 128 + number
    after = found(admin, deployment)
    assert (after.status, after.failure_reason) == (FAILED, f"interrupted by {number.name}")
    assert after.stages[0].status == StageStatus.STAGE_STATUS_FAILED
    assert not lives(relman.folder)


def test_a_command_that_does_not_heed_the_signal_is_killed(relman: Command, admin: Client) -> None:
    """Also when the shell that started it ends at once."""
    deployment = create_deployment(admin)
    stubborn = 'trap "" TERM; echo $$ > pid; echo ready; while :; do sleep 1; done'
    running = start(relman, deployment, f"stages: [{{name: build, run: [sh, -c, 'sh -c ''{stubborn}''; true']}}]")
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=40)
    assert running.returncode == 128 + signal.SIGTERM
    wait_for(lambda: not lives(relman.folder))


def test_who_is_taken_over_stops_at_once(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin)
    running = start(relman, deployment, WAITS, "--lease", "1h")
    request = pb.StartDeploymentRequest(deployment=deployment, takeover=True)
    admin.deployments.StartDeployment(request)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 1
    assert "took the deployment over" in said
    assert not lives(relman.folder)
    assert found(admin, deployment).status == IN_PROGRESS


def test_whoever_takes_over_goes_on_where_the_other_was(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin)
    stages = "stages: [{{name: build, run: echo built >> log}}, {{name: deploy, run: '{}'}}]"
    running = start(relman, deployment, stages.format("echo ready; exec sleep 60"), "--lease", "1h")
    refused = run(relman, deployment, stages.format("true"))
    assert (refused.returncode, "With takeover" in refused.stderr) == (1, True)
    done = run(relman, deployment, stages.format("true"), "--takeover")
    assert done.returncode == 0, done.stderr
    running.communicate(timeout=30)
    assert running.returncode == 1
    after = found(admin, deployment)
    assert after.status == SUCCEEDED
    assert [(stage.name, stage.attempt) for stage in after.stages] == [("build", 1), ("deploy", 2)]
    assert after.stages[1].earlier_attempts[0].output == "another pipeline took over"
    assert (relman.folder / "log").read_text() == "built\n"


def test_when_it_is_called_off_the_command_ends_at_once(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin)
    running = start(relman, deployment, WAITS, "--lease", "1h")
    admin.deployments.CancelDeployment(pb.CancelDeploymentRequest(deployment=deployment, reason="too late"))
    _, said = running.communicate(timeout=30)
    assert running.returncode == 5
    assert "the deployment has ended, cancelled: too late" in said
    assert not lives(relman.folder)


def waiting(admin: Client) -> str:
    """A deployment that waits for somebody's approval; the somebody is a new user."""
    deployment, name = create_deployment(admin), f"approver-{next(_numbers)}-{os.getpid()}"
    admin.users.CreateUser(
        CreateUserRequest(username=name, email=f"{name}@example.com", password=ADMIN_PASSWORD, is_admin=True)
    )
    admin.approvals.CreateApproval(CreateApprovalRequest(deployment=deployment, approver=name))
    return deployment


def approver_of(relman: Command, admin: Client, deployment: str) -> Command:
    [blocker] = found(admin, deployment).blockers
    [name] = blocker.waiting_for
    with Client(relman.environment["RELMAN_SERVER"]) as client:
        return relman.as_user(client.login(name, ADMIN_PASSWORD).access_token)


def wait_until_it_waits(running: Running) -> None:
    assert running.stderr is not None
    line = running.stderr.readline()
    assert line.startswith("waiting: "), line
    assert "approval" in line


def test_it_waits_until_it_is_approved(relman: Command, admin: Client) -> None:
    deployment = waiting(admin)
    (relman.folder / "pipeline.yaml").write_text("stages: [{name: build, run: echo done}]")
    running = relman.start("deployment", "run", deployment)
    wait_until_it_waits(running)
    assert approver_of(relman, admin, deployment)("approve", deployment).returncode == 0
    shown, _ = running.communicate(timeout=30)
    assert (running.returncode, shown) == (0, "done\n")


def test_a_rejection_ends_the_waiting(relman: Command, admin: Client) -> None:
    deployment = waiting(admin)
    (relman.folder / "pipeline.yaml").write_text("stages: [{name: build, run: touch ran}]")
    running = relman.start("deployment", "run", deployment)
    wait_until_it_waits(running)
    assert approver_of(relman, admin, deployment)("reject", deployment, "--notes", "no").returncode == 0
    running.communicate(timeout=30)
    assert running.returncode == 4
    assert not (relman.folder / "ran").exists()


@pytest.mark.parametrize(("options", "status"), [(("--timeout", "1s"), 6), (("--no-wait-for-approval",), 7)])
def test_waiting_may_be_bounded(options: tuple[str, ...], status: int, relman: Command, admin: Client) -> None:
    deployment = waiting(admin)
    done = run(relman, deployment, "stages: [{name: build, run: touch ran}]", *options)
    assert done.returncode == status
    assert "approval" in done.stderr
    assert not (relman.folder / "ran").exists()


def test_a_deployment_that_is_in_progress_is_left_to_whoever_carries_it_out(
    relman: Command, admin: Client, deployment: str
) -> None:
    done = run(relman, deployment, "stages: [{name: build, run: touch ran}, {name: test, run: touch ran}]")
    assert done.returncode == 1
    assert "IN_PROGRESS" in done.stderr
    assert not (relman.folder / "ran").exists()


def test_a_server_killed_in_the_middle_does_not_matter(server_process: ServerProcess, bare: Command) -> None:
    """Killed while a command runs, and still away when it ends: the next stage waits for it."""
    server_process.start()
    with Client(server_process.address) as client:
        client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        assert client.credentials is not None
        deployment = create_deployment(client)
        token = client.credentials.access_token
        bare.environment |= {"RELMAN_SERVER": server_process.address, "RELMAN_TOKEN": token}
        wait = "echo ready; until [ -e go ]; do sleep 0.1; done; seq 1000; touch gone"
        running = start(bare, deployment, f"stages: [{{name: build, run: '{wait}'}}, {{name: test, run: echo tested}}]")
        server_process.kill()
        (bare.folder / "go").touch()
        wait_for((bare.folder / "gone").exists)
        time.sleep(1)
        server_process.start()
        shown, said = running.communicate(timeout=40)
        numbers = [str(number) for number in range(1, 1001)]
        assert (running.returncode, shown.splitlines()) == (0, [*numbers, "tested"]), said
        assert found(client, deployment).status == SUCCEEDED
        assert [text for text in texts_of(client, deployment) if text.isdigit()] == numbers


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("", "pipeline.yaml: it has no stages"),
        ("# nothing\n", "it has no stages"),
        ("- name: build\n", ":1: the file must be a mapping"),
        ("jobs: []\n", ":1: the file has an unknown key 'jobs'"),
        ("stages: []\n", ":1: `stages` must be a list of one or more"),
        ("stages:\n  build: make\n", ":2: `stages` must be a list"),
        ("stages:\n  - build\n", ":2: a stage must be a mapping"),
        ("stages:\n  - run: make\n", ":2: a stage has no name"),
        ("stages:\n  - name: build\n", ":2: stage build has no `run`"),
        ("stages:\n  - name: build\n    run:\n", ":3: `run` of stage build is empty"),
        ("stages:\n  - name: build\n    run: []\n", ":3: `run` of stage build names no program"),
        ("stages:\n  - name: build\n    run: {a: b}\n", ":3: `run` of stage build must be text"),
        ("stages:\n  - name: Build It\n    run: make\n", ":2: 'Build It' is no name for a stage"),
        ("stages:\n  - {name: a, run: x}\n  - {name: a, run: y}\n", ":3: there are two stages 'a'"),
        ("stages:\n  - name: a\n    run: x\n    run: y\n", ":4: a stage has 'run' twice"),
        ("stages:\n  - name: a\n    run: x\n    tiemout: 5\n", ":4: a stage has an unknown key 'tiemout'"),
        ("stages:\n  - {name: a, run: x, timeout: soon}\n", ":2: `timeout` of stage a: 'soon' is no span"),
        ("stages:\n  - {name: a, run: x, timeout: 8d}\n", ":2: `timeout` of stage a must be more than 0 and"),
        ("stages:\n  - {name: a, run: x, timeout: 0}\n", ":2: `timeout` of stage a must be more than 0 and at most 7d"),
        ("stages:\n  - {name: a, run: x, env: [A]}\n", ":2: `env` of stage a must be a mapping"),
        ("stages:\n  - {name: a, run: x, env: {1A: b}}\n", ":2: `env` of stage a has '1A'"),
        ("stages:\n  - {name: a, run: x, env: {RELMAN_STAGE: b}}\n", "relman sets those"),
        ('stages:\n  - {name: a, run: "x\\0y"}\n', ":2: `run` of stage a must not have a NUL"),
        ("stages:\n\t- name: a\n", ":2: a tab stands where YAML takes spaces only"),
        ("stages: [\n", "it is not YAML"),
        ("a: b\n---\nc: d\n", ":2: it is not YAML"),
        ("stages: &a [*a]\n", ":1: a stage must be a mapping"),
        ("stages:\n  - \x07\n", ":2: it has the character U+0007"),
        ("[" * 100_000, "it is nested too deeply"),
        ("#" * 300_000, "it is larger than 256 KiB"),
        ("stages:\n" + "".join(f"  - {{name: s{n}, run: x}}\n" for n in range(101)), "it has 101 stages"),
    ],
)
def test_what_is_wrong_with_the_file_is_said_in_a_sentence(pipeline: str, said: str, bare: Command) -> None:
    """Before anything is asked of a server: there is none here."""
    done = run(bare, "some-id", pipeline)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Error: pipeline.yaml:")


def test_a_file_that_cannot_be_read_is_said_to_be(bare: Command) -> None:
    assert "it cannot be read: No such file" in bare("deployment", "run", "some-id").stderr
    (bare.folder / "pipeline.yaml").write_bytes(b"stages:\n  - name: caf\xe9\n")
    assert bare("deployment", "run", "some-id").stderr == "Error: pipeline.yaml:2: it is not UTF-8 text\n"


@pytest.mark.parametrize("span", ["4s", "2h", "soon"])
def test_a_lease_that_the_server_would_refuse_is_refused_at_once(span: str, bare: Command) -> None:
    assert bare("deployment", "run", "some-id", "--lease", span).returncode == 2
