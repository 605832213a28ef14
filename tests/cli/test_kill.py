"""The promise that matters most: a server that is killed loses and repeats nothing."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from relman_client import Client, ResumeOptions, Tail, Watch
from relman_client.v1.common_pb2 import Outcome
from relman_client.v1.deployment_pb2 import CompleteDeploymentRequest, DeploymentEvent, DeploymentStatus
from relman_client.v1.log_pb2 import LogEntries, TailLogsRequest, TailLogsResponse
from relman_client.v1.stage_pb2 import GetStageRequest, StageStatus
from tests.cli.conftest import Command
from tests.client.pipelines import start_deployment, texts_of
from tests.conftest import ENGINES
from tests.services.relman import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess

LINES = 1_500
PRINT = f"""
import time
for number in range({LINES}):
    print(f"line {{number}}", flush=True)
    time.sleep(0.003)
"""


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("engine_name", ENGINES, indirect=True)
def test_a_server_killed_during_a_run_loses_and_repeats_no_line(server_process: ServerProcess, bare: Command) -> None:
    """Killed twice while a command runs; its log, and a tail and a watch that were open all the time, are complete.

    Acknowledging before the commit loses lines here; so does a writer that forgets them before. A tail that starts over
    instead of at its cursor repeats.
    """
    server_process.start()
    with Client(server_process.address) as client:
        client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        assert client.credentials is not None
        deployment = start_deployment(client, "build")
        seen: list[str] = []
        events: list[DeploymentEvent] = []
        ends: list[DeploymentStatus.ValueType] = []
        resumed: list[int] = []

        def follow() -> None:
            options = ResumeOptions(on_resume=lambda: resumed.append(len(seen)))
            for event in Tail(client, TailLogsRequest(deployment=deployment, follow=True), options):
                if isinstance(event, LogEntries):
                    seen.extend(entry.text for entry in event.entries)
                elif isinstance(event, TailLogsResponse.End):
                    ends.append(event.status)

        followers = [
            threading.Thread(target=follow),
            threading.Thread(target=lambda: events.extend(Watch(client, deployment, after_revision=0))),
        ]
        for follower in followers:
            follower.start()

        bare.environment |= {
            "RELMAN_SERVER": server_process.address,
            "RELMAN_TOKEN": client.credentials.access_token,
        }
        running = bare.start(
            "run", "-d", deployment, "-s", "build", "--", sys.executable, "-c", PRINT, stdin=subprocess.DEVNULL
        )
        for part in (0.2, 0.5):
            wait_for(lambda part=part: len(seen) > LINES * part)  # type: ignore[misc]
            server_process.kill()
            time.sleep(0.3)
            server_process.start()
        shown, said = running.communicate(timeout=40)
        wait_for(lambda: len(resumed) == 2)  # this process may be the last to notice that the server is back
        complete = CompleteDeploymentRequest(deployment=deployment, outcome=Outcome.OUTCOME_SUCCEEDED)
        client.deployments.CompleteDeployment(complete)
        for follower in followers:
            follower.join(30)

        expected = [f"line {number}" for number in range(LINES)]
        assert shown.splitlines() == expected
        assert running.returncode == 0
        assert said.splitlines().count("relman: connection lost, buffering") >= 1
        assert said.splitlines()[-1] == "relman: connection is back"
        stored = texts_of(client, deployment)
        assert stored[1:-1] == expected
        assert seen == stored
        assert len(resumed) == 2
        assert ends == [DeploymentStatus.DEPLOYMENT_STATUS_SUCCEEDED]
        assert [event.revision for event in events[1:]] == list(range(1, events[-1].revision + 1))
        stage = client.stages.GetStage(GetStageRequest(stage=f"{deployment}/build"))
        assert stage.status == StageStatus.STAGE_STATUS_SUCCEEDED


def test_an_end_that_falls_into_an_outage_is_reported_after_it(server_process: ServerProcess, bare: Command) -> None:
    server_process.start()
    with Client(server_process.address) as client:
        client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        assert client.credentials is not None
        deployment = start_deployment(client, "build")
        bare.environment |= {
            "RELMAN_SERVER": server_process.address,
            "RELMAN_TOKEN": client.credentials.access_token,
        }
        running = bare.start(
            *("run", "-d", deployment, "-s", "build", "--", "bash", "-c", "echo ready; read; echo done; exit 4"),
            stdin=subprocess.PIPE,
        )
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        server_process.kill()
        assert running.stdin is not None
        running.stdin.write("\n")
        running.stdin.flush()
        assert running.stdout.readline() == "done\n"
        time.sleep(1)
        assert running.poll() is None
        server_process.start()
        _, said = running.communicate(timeout=30)
        assert running.returncode == 4
        assert said == "relman: connection lost, buffering\nrelman: connection is back\n"
        assert texts_of(client, deployment)[1:3] == ["ready", "done"]
        stage = client.stages.GetStage(GetStageRequest(stage=f"{deployment}/build"))
        assert (stage.status, stage.output[:13]) == (StageStatus.STAGE_STATUS_FAILED, "exit status 4")
