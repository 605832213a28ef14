import json
import os
import pty
import re
import time

import grpc
from google.protobuf.message import Message

from relman_client import Client
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.deployment_pb2 import (
    CancelDeploymentRequest,
    DeploymentEvent,
    DeploymentEventType,
    DeploymentStatus,
    WatchDeploymentsRequest,
)
from relman_client.v1.log_pb2 import DownloadLogsRequest, DownloadLogsResponse, LogDownloadFormat, LogSource
from tests.cli.conftest import Command
from tests.client.pipelines import start_deployment, start_stage, writer
from tests.client.proxy import Proxy
from tests.client.scripted import Fault, scripted
from tests.services.relman import ServerProcess

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


def test_times_are_local_or_utc_or_since_the_start(relman: Command, admin: Client, deployment: str) -> None:
    with writer(admin, deployment) as log:
        log.write("late", nanoseconds=time.time_ns() + 3_600_000_000_000)
    local = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
    utc = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    for option, time_of_it in (("--timestamps", local), ("--utc", utc), ("--elapsed", r"\+1:00:0\d\.\d{3}")):
        assert re.fullmatch(f"{time_of_it}       \\| late\n", relman("logs", deployment, option).stdout)


def test_a_log_of_a_deployment_without_stages_has_no_column_for_them(relman: Command, admin: Client) -> None:
    deployment = start_deployment(admin)
    write(admin, deployment, "one")
    assert relman("logs", deployment).stdout == "one\n"


def test_stages_have_colours_and_what_is_wrong_has_its_own(relman: Command, admin: Client, deployment: str) -> None:
    with writer(admin, deployment, "build") as log:
        log.write("out")
        log.write("err", source=LogSource.LOG_SOURCE_STDERR)
        log.write("bad", severity=Severity.SEVERITY_ERROR)
    write(admin, deployment, "other", stage="test")
    assert on_a_terminal(relman, "logs", deployment).decode().splitlines() == [
        "\x1b[36mbuild | \x1b[0mout",
        "\x1b[36mbuild | \x1b[0m\x1b[33merr\x1b[0m",
        "\x1b[36mbuild | \x1b[0m\x1b[31mbad\x1b[0m",
        "\x1b[35mtest  | \x1b[0mother",
    ]


def test_colours_that_lines_bring_are_shown_when_asked_for(relman: Command, admin: Client, deployment: str) -> None:
    write(admin, deployment, "\x1b[32mgreen\x1b[2J")
    assert b"\x1b[32mgreen\\x1b[2J\x1b[0m" in on_a_terminal(relman, "logs", "--ansi", deployment)
    assert relman("logs", "--ansi", deployment).stdout.endswith("| green\\x1b[2J\n")


def test_long_lines_are_cut_when_asked_for(relman: Command, admin: Client, deployment: str) -> None:
    write(admin, deployment, "x" * 300, stage="build")
    [line] = on_a_terminal(relman, "logs", "-S", "-s", "build", deployment).decode().splitlines()
    assert line == "x" * 99 + "…"
    assert relman("logs", "-S", "-s", "build", deployment).stdout == "x" * 300 + "\n"


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
    assert relman("logs", "-f", "--exit-status", deployment).returncode == 5
    assert relman("logs", "--exit-status", deployment).returncode == 2


def test_connections_that_are_cut_are_a_line_each_and_nothing_is_lost(
    running: ServerProcess, relman: Command, admin: Client, deployment: str
) -> None:
    """The names of stages are asked for in an outage, too."""
    with Proxy(running.address) as proxy:
        relman.environment["RELMAN_SERVER"] = proxy.address
        write(admin, deployment, "line 0")
        following = relman.start("logs", "-f", deployment)
        assert following.stdout is not None
        assert following.stderr is not None
        assert following.stdout.readline() == "      | line 0\n"
        for number in (1, 2):
            proxy.refuse()
            assert following.stderr.readline() == "connection to relman lost, trying again\n"
            write(admin, deployment, f"line {number}", stage=("build", "test")[number - 1])
            proxy.admit()
            assert following.stderr.readline().startswith("connection to relman is back after ")
        admin.deployments.CancelDeployment(CancelDeploymentRequest(deployment=deployment))
        shown, said = following.communicate(timeout=20)
    assert shown == "build | line 1\ntest  | line 2\n"
    assert said == "the deployment has ended: cancelled\n"


def test_a_log_is_saved_as_a_whole_or_not_at_all(relman: Command, admin: Client, deployment: str) -> None:
    """By a scripted server: what is to be seen here is a download that breaks, and one that fails."""
    ends = Fault(grpc.StatusCode.UNAVAILABLE)
    parts: list[list[Message | Fault]] = [
        [DownloadLogsResponse(data=b"one \x1b[2J\n", cursor="a"), ends],
        [DownloadLogsResponse(data=b"two\n", cursor="b")],
    ]
    file = relman.folder / "saved.log"
    with scripted("DeploymentLogService/DownloadLogs", DownloadLogsRequest, *parts) as script:
        relman.environment["RELMAN_SERVER"] = script.address
        assert relman("logs", deployment, "--download", "saved.log", "-o", "json").returncode == 0
        assert file.read_bytes() == b"one \x1b[2J\ntwo\n"
        assert script.requests[0].format == LogDownloadFormat.LOG_DOWNLOAD_FORMAT_JSON_LINES
    gone = Fault(grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    with scripted("DeploymentLogService/DownloadLogs", DownloadLogsRequest, [*parts[0][:1], gone]) as script:
        relman.environment["RELMAN_SERVER"] = script.address
        assert relman("logs", deployment, "--download", "saved.log").returncode == 1
        assert b"one \\x1b[2J\r\n" in on_a_terminal(relman, "logs", deployment, "--download", "-")
    assert file.read_bytes() == b"one \x1b[2J\ntwo\n"
    assert [path.name for path in relman.folder.iterdir() if path.name.startswith(".")] == []
    assert relman("logs", deployment, "--download", "x", "--tail", "1").returncode == 2


def test_without_an_id_all_deployments_are_watched(relman: Command) -> None:
    """By a scripted server, since a feed has no end."""

    def event(number: int, status: DeploymentStatus.ValueType) -> DeploymentEvent:
        told = DeploymentEvent(
            deployment_id="some-id",
            type=DeploymentEventType.DEPLOYMENT_EVENT_TYPE_STARTED,
            cursor=f"c{number}",
            message=f"by anna {number}",
        )
        told.deployment.service_name, told.deployment.environment_name = "checkout", "production"
        told.deployment.release_version, told.deployment.status = "1.4.2", status
        return told

    part: list[Message | Fault] = [
        event(1, DeploymentStatus.DEPLOYMENT_STATUS_IN_PROGRESS),
        event(2, DeploymentStatus.DEPLOYMENT_STATUS_FAILED),
        Fault(grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    ]
    with scripted("DeploymentService/WatchDeployments", WatchDeploymentsRequest, part) as script:
        relman.environment["RELMAN_SERVER"] = script.address
        filters = ("--service", "checkout", "-e", "production", "--type", "started", "--cursor", "c0")
        [line] = relman("watch", *filters, "--status", "failed").stdout.splitlines()
        assert re.fullmatch(r"\d\d:\d\d:\d\d  started         checkout@1.4.2 to production  by anna 2  some-id", line)
        [asked] = script.requests
        assert (asked.service, asked.environment, asked.cursor) == ("checkout", "production", "c0")
        assert list(asked.types) == [DeploymentEventType.DEPLOYMENT_EVENT_TYPE_STARTED]
        cursors = [json.loads(line)["cursor"] for line in relman("watch", "-o", "json").stdout.splitlines()]
        assert cursors == ["c1", "c2"]
    assert relman("watch", "--keep-open").returncode == 2
    assert relman("watch", "some-id", "--service", "checkout").returncode == 2


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
