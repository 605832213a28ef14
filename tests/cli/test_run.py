import json
import signal
import subprocess
import time

import pytest

from relman_client import Client
from relman_client.v1.deployment_pb2 import GetDeploymentStagesRequest
from relman_client.v1.log_pb2 import GetLogStreamRequest, LogSource
from relman_client.v1.stage_pb2 import GetStageRequest, PipelineStage, RetryStageRequest, StageStatus, StartStageRequest
from tests.cli.conftest import Command
from tests.client.pipelines import create_deployment, log_of, texts_of
from tests.client.proxy import Proxy
from tests.services.relman import ServerProcess

Done = subprocess.CompletedProcess[str]
SUCCEEDED, FAILED = StageStatus.STAGE_STATUS_SUCCEEDED, StageStatus.STAGE_STATUS_FAILED


def stage_of(client: Client, deployment: str, name: str = "build") -> PipelineStage:
    return client.stages.GetStage(GetStageRequest(stage=f"{deployment}/{name}"))


def run(relman: Command, deployment: str, *command: str, options: tuple[str, ...] = (), said: str = "") -> Done:
    return relman("run", "-d", deployment, "-s", "build", *options, "--", *command, input=said)


def sh(relman: Command, deployment: str, script: str) -> Done:
    return run(relman, deployment, "bash", "-c", script)


def start(relman: Command, deployment: str, script: str) -> "subprocess.Popen[str]":
    """The same in the background, with something to type into."""
    return relman.start("run", "-d", deployment, "-s", "build", "--", "bash", "-c", script, stdin=subprocess.PIPE)


@pytest.mark.parametrize(
    ("script", "status", "result"),
    [
        ("true", 0, "exit status 0"),
        ("exit 3", 3, "exit status 3"),
        ("exit 255", 255, "exit status 255"),
        ("kill -KILL $$", 137, "ended by SIGKILL"),
        ("kill -TERM $$", 143, "ended by SIGTERM"),
    ],
)
def test_the_exit_status_is_the_commands(
    script: str, status: int, result: str, relman: Command, admin: Client, deployment: str
) -> None:
    assert sh(relman, deployment, script).returncode == status
    stage = stage_of(admin, deployment)
    assert stage.status == (FAILED if status else SUCCEEDED)
    assert stage.output.startswith(f"{result} (")


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("no-such-command", 127, "command not found: no-such-command"),
        ("/etc/passwd", 126, "cannot execute /etc/passwd"),
    ],
)
def test_a_command_that_cannot_be_started_fails_the_stage(
    command: str, status: int, said: str, relman: Command, admin: Client, deployment: str
) -> None:
    done = run(relman, deployment, command)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert said in stage_of(admin, deployment).output
    assert any(said in text for text in texts_of(admin, deployment))


def test_every_line_is_shown_and_logged_with_its_source(relman: Command, admin: Client, deployment: str) -> None:
    done = sh(relman, deployment, "echo one; sleep 0.1; echo two >&2; sleep 0.1; printf three")
    assert (done.stdout, done.stderr) == ("one\nthree", "two\n")
    first, *lines, last = [(entry.text, entry.source) for entry in log_of(admin, deployment)]
    assert first == (
        "$ bash -c 'echo one; sleep 0.1; echo two >&2; sleep 0.1; printf three'",
        LogSource.LOG_SOURCE_SYSTEM,
    )
    assert lines == [
        ("one", LogSource.LOG_SOURCE_STDOUT),
        ("two", LogSource.LOG_SOURCE_STDERR),
        ("three", LogSource.LOG_SOURCE_STDOUT),
    ]
    assert last[0].startswith("exit status 0 (")
    assert last[1] == LogSource.LOG_SOURCE_SYSTEM
    stream = GetLogStreamRequest(deployment=deployment, stream_name="build")
    assert admin.logs.GetLogStream(stream).finished


def test_lines_are_there_while_the_command_runs(relman: Command, admin: Client, deployment: str) -> None:
    running = start(relman, deployment, "echo early; read")
    deadline = time.monotonic() + 20
    while "early" not in texts_of(admin, deployment):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stage_of(admin, deployment).status == StageStatus.STAGE_STATUS_RUNNING
    running.communicate("go on\n", timeout=20)
    assert running.returncode == 0


def test_quiet_shows_nothing_here(relman: Command, admin: Client, deployment: str) -> None:
    done = run(relman, deployment, "echo", "hello", options=("--quiet",))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "hello" in texts_of(admin, deployment)


def test_what_is_no_text_is_shown_as_it_is_and_logged_repaired(relman: Command, admin: Client, deployment: str) -> None:
    with (relman.folder / "shown").open("wb") as file:
        of_stage = ("run", "-d", deployment, "-s", "build", "--")
        assert relman.start(*of_stage, "printf", r"caf\xe9\x00\n", stdout=file).wait(20) == 0
    assert (relman.folder / "shown").read_bytes() == b"caf\xe9\x00\n"
    entry = log_of(admin, deployment)[1]
    assert (entry.text, entry.text_repaired) == ("caf\ufffd\ufffd", True)


def test_standard_input_is_the_commands(relman: Command, deployment: str) -> None:
    done = run(relman, deployment, "cat", said="typed")
    assert done.stdout == "typed"


def test_much_output_arrives_whole(relman: Command, admin: Client, deployment: str) -> None:
    done = run(relman, deployment, "seq", "100000")
    numbers = [str(number) for number in range(1, 100_001)]
    assert done.stdout.splitlines() == numbers
    assert texts_of(admin, deployment)[1:-1] == numbers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on(number: signal.Signals, relman: Command, admin: Client, deployment: str) -> None:
    script = f"trap 'echo told; exit 7' {number.name.removeprefix('SIG')}; echo ready; sleep 30 & wait"
    running = start(relman, deployment, script)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    assert running.communicate(timeout=20)[0] == "told\n"
    assert running.returncode == 7
    assert stage_of(admin, deployment).status == FAILED


def test_children_that_stay_behind_do_not_hold_it_up(relman: Command, deployment: str) -> None:
    began = time.monotonic()
    done = sh(relman, deployment, "sleep 30 & echo started")
    assert (done.returncode, done.stdout) == (0, "started\n")
    assert time.monotonic() - began < 10


def test_children_that_stay_behind_and_go_on_printing_do_not_hold_it_up(
    relman: Command, admin: Client, deployment: str
) -> None:
    done = sh(relman, deployment, "(for i in {1..200}; do echo noise; sleep 0.1; done) & seq 20000")
    assert done.returncode == 0
    assert stage_of(admin, deployment).status == SUCCEEDED
    assert "20000" in texts_of(admin, deployment)


def test_a_reader_that_goes_away_does_not_disturb_the_command(relman: Command, admin: Client, deployment: str) -> None:
    running = relman.start("run", "-d", deployment, "-s", "build", "--", "seq", "50000")
    assert running.stdout is not None
    running.stdout.readline()
    running.stdout.close()
    assert running.wait(20) == 0
    assert texts_of(admin, deployment)[-2] == "50000"


def test_a_stage_that_is_not_there_is_created_when_asked_for(relman: Command, admin: Client, deployment: str) -> None:
    def call(*options: str) -> Done:
        return relman("run", "-d", deployment, "-s", "extra", *options, "--", "true")

    refused = call()
    assert (refused.returncode, refused.stderr) == (1, "Error: the deployment has no stage 'extra'; --create adds it\n")
    for name in ("build", "test"):
        assert relman("run", "-d", deployment, "-s", name, "--", "true").returncode == 0
    assert call("--create", "--timeout", "60").returncode == 0
    stages = admin.deployments.GetDeploymentStages(GetDeploymentStagesRequest(deployment=deployment)).stages
    assert [(stage.name, stage.timeout_seconds) for stage in stages][-1] == ("extra", 60)


def test_a_stage_that_runs_already_says_what_to_do(relman: Command, admin: Client, deployment: str) -> None:
    admin.stages.StartStage(StartStageRequest(stage=f"{deployment}/build"))
    done = run(relman, deployment, "true")
    assert done.returncode == 1
    assert "running already" in done.stderr
    assert f"relman stage complete --failed {deployment}/build" in done.stderr


def test_a_second_attempt_has_a_log_stream_of_its_own(relman: Command, admin: Client, deployment: str) -> None:
    assert run(relman, deployment, "false").returncode == 1
    ended = run(relman, deployment, "true")
    assert "has ended already: failed" in ended.stderr
    admin.stages.RetryStage(RetryStageRequest(stage=f"{deployment}/build"))
    assert run(relman, deployment, "echo", "again").returncode == 0
    assert "again" in texts_of(admin, deployment)


def test_a_deployment_that_was_not_started_is_said_to_be(relman: Command, admin: Client) -> None:
    done = run(relman, create_deployment(admin, "build"), "touch", "ran")
    assert (done.returncode, done.stderr) == (1, "Error: The deployment is not in progress; it is READY.\n")
    assert not (relman.folder / "ran").exists()


def test_the_deployment_may_come_from_the_environment(relman: Command, deployment: str) -> None:
    relman.environment["RELMAN_DEPLOYMENT"] = deployment
    assert relman("run", "-s", "build", "--", "true").returncode == 0


def test_a_stage_that_ends_meanwhile_is_not_reported_as_succeeded(
    relman: Command, admin: Client, deployment: str
) -> None:
    running = start(relman, deployment, "echo ready; read")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    assert relman("deployment", "cancel", deployment).returncode == 0
    _, said = running.communicate("\n", timeout=20)
    assert running.returncode == 1
    assert "the stage's end could not be reported" in said


@pytest.mark.parametrize(("script", "status"), [("true", 1), ("exit 3", 3)])
def test_without_a_server_at_the_end_it_gives_up_when_told(
    script: str, status: int, running: ServerProcess, relman: Command, deployment: str
) -> None:
    with Proxy(running.address) as proxy:
        relman.environment["RELMAN_SERVER"] = proxy.address
        started = relman.start(
            *("run", "-d", deployment, "-s", "build", "--give-up-after", "1s", "--"),
            *("bash", "-c", f"echo ready; read; echo more; {script}"),
            stdin=subprocess.PIPE,
        )
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        proxy.refuse()
        shown, said = started.communicate("\n", timeout=30)
    assert shown == "more\n"
    assert started.returncode == status
    assert "connection lost, buffering" in said
    assert "could not be reported" in said


def test_while_it_waits_for_a_server_that_is_away_it_can_be_ended(
    running: ServerProcess, relman: Command, admin: Client, deployment: str
) -> None:
    """The first signal ends the command, which is held back; nobody should need SIGKILL for relman itself."""
    with Proxy(running.address) as proxy:
        relman.environment["RELMAN_SERVER"] = proxy.address
        started = relman.start(
            *("run", "-q", "-d", deployment, "-s", "build", "--give-up-after", "1s", "--"),
            *("bash", "-c", "read; trap 'exit 7' TERM; seq 2000000"),
            stdin=subprocess.PIPE,
        )
        assert started.stdin is not None
        for _ in range(200):
            if texts_of(admin, deployment):
                break
            time.sleep(0.1)
        proxy.refuse()
        started.stdin.write("\n")
        started.stdin.flush()
        assert started.stderr is not None
        assert started.stderr.readline() == "relman: connection lost, buffering\n"
        assert started.stderr.readline() == "relman: 8 MiB of output wait for relman, so the command is held back\n"
        for _ in range(10):  # the command may be slow to end
            time.sleep(2)
            if started.poll() is not None:
                break
            started.send_signal(signal.SIGTERM)
        started.communicate(timeout=20)
    assert started.returncode in {7, 128 + signal.SIGTERM, -signal.SIGTERM}  # the last while it reported the end


def test_json_is_not_mixed_into_the_commands_output(relman: Command, deployment: str) -> None:
    done = run(relman, deployment, "echo", json.dumps({"a": 1}), options=("-o", "json"))
    assert json.loads(done.stdout) == {"a": 1}
