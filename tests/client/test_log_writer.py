"""What is left to say of the writer with a thread: see test_writers.py for what both kinds do."""

import threading
import time

import pytest

from relman_client import Client, LogWriter, RelmanError, ResumeOptions, Tail
from relman_client.v1.deployment_pb2 import CancelDeploymentRequest, DeploymentStatus
from relman_client.v1.log_pb2 import LogEntries, TailLogsRequest, TailLogsResponse, WriteLogsRequest
from tests.client.pipelines import log_of, texts_of, writer
from tests.client.proxy import Proxy
from tests.services.relman import ServerProcess


def lines(count: int) -> list[str]:
    return [f"line {number}" for number in range(count)]


def test_a_line_is_there_soon_although_nothing_follows_it(admin: Client, deployment: str) -> None:
    log = writer(admin, deployment)
    log.write("waiting")
    deadline = time.monotonic() + 5
    while texts_of(admin, deployment) != ["waiting"]:
        assert time.monotonic() < deadline
    log.close()


def test_a_stream_that_was_left_open_is_continued(admin: Client, deployment: str) -> None:
    for text in ("before", "after"):
        log = writer(admin, deployment)
        log.write(text)
        log.close(timeout=10, finish=False)
    assert [(entry.sequence, entry.text) for entry in log_of(admin, deployment)] == [(1, "before"), (2, "after")]


def test_what_will_not_pass_ends_the_writer(admin: Client) -> None:
    log = writer(admin, "00000000-0000-0000-0000-000000000000")
    with pytest.raises(RelmanError) as refused:
        log.close(timeout=10)
    assert refused.value.reason == "NOT_FOUND"
    assert log.failure is refused.value


def test_text_that_is_none_is_repaired_on_the_way(admin: Client, deployment: str) -> None:
    with writer(admin, deployment) as log:
        log.write(b"caf\xe9\x00")
    [entry] = log_of(admin, deployment)
    assert (entry.text, entry.text_repaired) == ("caf\ufffd\ufffd", True)


def test_connections_cut_again_and_again_lose_and_repeat_nothing(
    running: ServerProcess, admin: Client, deployment: str
) -> None:
    """The promise of the writer and the tail.

    Not keeping lines until they are acknowledged loses some; giving those that are sent again other numbers ends in
    SEQUENCE_CONFLICT; a tail that starts over instead of at its cursor repeats.
    """
    breaks: list[RelmanError] = []
    seen: list[str] = []
    ends: list[DeploymentStatus.ValueType] = []
    stop = threading.Event()

    with Proxy(running.address) as proxy, Client(proxy.address, credentials=admin.credentials) as client:

        def follow() -> None:
            request = TailLogsRequest(deployment=deployment, follow=True)
            for event in Tail(client, request, ResumeOptions(on_break=breaks.append)):
                if isinstance(event, LogEntries):
                    seen.extend(entry.text for entry in event.entries)
                elif isinstance(event, TailLogsResponse.End):
                    ends.append(event.status)

        def cut() -> None:
            while not stop.wait(0.2):
                proxy.cut()

        threads = [threading.Thread(target=follow), threading.Thread(target=cut)]
        for thread in threads:
            thread.start()
        log = LogWriter(client, WriteLogsRequest.Open(deployment=deployment), on_break=breaks.append)
        for line in lines(3_000):
            log.write(line)
            time.sleep(0.001)
        log.close(timeout=30)
        stop.set()
        admin.deployments.CancelDeployment(CancelDeploymentRequest(deployment=deployment))
        for thread in threads:
            thread.join(30)
    assert len(breaks) > 5
    assert proxy.connections > 5
    assert texts_of(admin, deployment) == lines(3_000)
    assert seen == lines(3_000)
    assert ends == [DeploymentStatus.DEPLOYMENT_STATUS_CANCELLED]
