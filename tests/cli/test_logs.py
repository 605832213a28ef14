import json
import os
import pty
import re

from relman_client import Client
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.deployment_pb2 import CancelDeploymentRequest
from relman_client.v1.log_pb2 import LogSource
from tests.cli.conftest import Command
from tests.client.pipelines import start_deployment, start_stage, writer

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\rdone\u202e"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b31m\x0ddone\u202e"


def write(client: Client, deployment: str, *texts: str, stage: str = "") -> None:
    with writer(client, deployment, stage) as log:
        for text in texts:
            log.write(text)


def on_a_terminal(relman: Command, *arguments: str) -> bytes:
    """What a terminal of 100 columns is sent."""
    ours, theirs = pty.openpty()
    process = relman.start(*arguments, stdout=theirs, stdin=theirs)
    os.close(theirs)
    sent = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        sent += data
    process.wait(20)
    os.close(ours)
    return sent


def test_terminal_escapes_are_shown_and_not_obeyed(relman: Command, admin: Client, deployment: str) -> None:
    write(admin, deployment, ESCAPES, stage="build")
    assert relman("logs", deployment).stdout == f"build | {SHOWN}\n"
    assert relman("logs", deployment, "--stage", "build").stdout == f"{SHOWN}\n"
    sent = on_a_terminal(relman, "logs", deployment)
    without_our_colours = re.sub(rb"\x1b\[[0-9;]*m", b"", sent)
    assert without_our_colours == f"build | {SHOWN}\r\n".encode()
    [line] = relman("logs", deployment, "-o", "json").stdout.splitlines()
    assert line.isprintable()
    assert json.loads(line)["text"] == ESCAPES


def test_escapes_in_errors_and_tables_are_shown_and_not_obeyed(relman: Command, admin: Client) -> None:
    deployment = start_deployment(admin)
    admin.deployments.CancelDeployment(CancelDeploymentRequest(deployment=deployment, reason="\x9b31mred"))
    for command in (("deployment", "get", deployment), ("deployment", "events", deployment), ("watch", deployment)):
        for shown in (relman(*command).stdout, on_a_terminal(relman, *command).decode()):
            assert "\x9b" not in shown
    refused = relman("release", "get", "a\x1b[31mb@1.0.0")
    assert "\x1b" not in refused.stderr


def test_lines_name_their_stages(relman: Command, admin: Client, deployment: str) -> None:
    write(admin, deployment, "compiling", stage="build")
    write(admin, deployment, "testing", stage="test")
    write(admin, deployment, "by the way")
    assert relman("logs", deployment).stdout.splitlines() == [
        "build | compiling",
        "test  | testing",
        "      | by the way",
    ]


def test_where_to_begin_and_which_lines(relman: Command, admin: Client, deployment: str) -> None:
    with writer(admin, deployment, "build") as log:
        log.write("one")
        log.write("two", source=LogSource.LOG_SOURCE_STDERR)
        log.write("three", severity=Severity.SEVERITY_ERROR)

    def lines(*options: str) -> list[str]:
        return relman("logs", deployment, "--stage", "build", *options).stdout.splitlines()

    assert lines("--tail", "2") == ["two", "three"]
    assert lines("--source", "stderr") == ["two"]
    assert lines("--severity", "warning") == ["three"]
    assert lines("--contains", "O") == ["one", "two"]
    assert lines("--since", "1h") == ["one", "two", "three"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d three", lines("--tail", "1", "-t")[0])


def test_following_ends_with_the_deployment(relman: Command, admin: Client, deployment: str) -> None:
    write(admin, deployment, "one", stage="build")
    following = relman.start("logs", "-f", deployment)
    assert following.stdout is not None
    assert following.stdout.readline() == "build | one\n"
    write(admin, deployment, "two", stage="test")
    assert following.stdout.readline() == "test  | two\n"
    admin.deployments.CancelDeployment(CancelDeploymentRequest(deployment=deployment))
    assert following.communicate(timeout=20) == ("", "the deployment has ended: cancelled\n")
    assert following.returncode == 0


def test_a_watch_tells_events_as_lines_or_objects(relman: Command, admin: Client, deployment: str) -> None:
    start_stage(admin, deployment, "build")
    admin.deployments.CancelDeployment(CancelDeploymentRequest(deployment=deployment, reason="no more"))
    shown = relman("watch", deployment, "--after-revision", "0").stdout.splitlines()
    assert len(shown) > 4
    assert "stage started" in shown[4 - 1] + shown[4]
    events = [json.loads(line) for line in relman("watch", deployment, "-o", "json").stdout.splitlines()]
    assert events[-1]["deployment"]["status"] == "DEPLOYMENT_STATUS_CANCELLED"
    assert relman("watch", deployment).returncode == 0
    assert relman("watch", deployment, "--exit-status").returncode == 5


def test_colours_are_for_terminals_that_want_them(relman: Command, admin: Client, deployment: str) -> None:
    write(admin, deployment, "one", stage="build")
    assert b"\x1b[" in on_a_terminal(relman, "logs", deployment)
    assert "\x1b[" not in relman("logs", deployment).stdout
    assert b"\x1b[" in on_a_terminal(relman, "deployment", "get", deployment)
    relman.environment["NO_COLOR"] = "1"
    assert b"\x1b[" not in on_a_terminal(relman, "logs", deployment)
    assert b"\x1b[3" not in on_a_terminal(relman, "deployment", "list")
