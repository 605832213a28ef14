"""Tails and watches: what they tell, and that they go on after a break."""

import asyncio
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from relman_client import Client, Download, Feed, RelmanError, ResumeOptions, Tail, Watch, aio
from relman_client.v1.common_pb2 import Outcome
from relman_client.v1.deployment_pb2 import (
    CancelDeploymentRequest,
    CompleteDeploymentRequest,
    DeploymentEvent,
    DeploymentEventType,
    DeploymentStatus,
    StartDeploymentRequest,
)
from relman_client.v1.log_pb2 import (
    AppendLogsRequest,
    DownloadLogsRequest,
    LogEntries,
    LogEntry,
    TailLogsRequest,
    TailLogsResponse,
)
from relman_client.v1.stage_pb2 import ReportStageProgressRequest
from tests.client.pipelines import create_deployment, start_deployment, start_stage, texts_of, writer
from tests.client.proxy import Proxy
from tests.conftest import MovableClock, serving
from tests.factories import RunningServer, make_deployment
from tests.services.relman import ServerProcess

FAILED = Outcome.OUTCOME_FAILED


def complete(client: Client, deployment: str) -> None:
    client.deployments.CompleteDeployment(CompleteDeploymentRequest(deployment=deployment, outcome=FAILED))


def test_a_tail_ends_with_the_log_and_says_where_to_go_on(admin: Client, deployment: str) -> None:
    log = writer(admin, deployment)
    log.write("one")
    log.flush(10)
    tail = Tail(admin, TailLogsRequest(deployment=deployment))
    assert [entry.text for event in tail if isinstance(event, LogEntries) for entry in event.entries] == ["one"]
    log.write("two")
    log.close(10)
    rest = Tail(admin, TailLogsRequest(deployment=deployment, cursor=tail.cursor))
    assert [entry.text for event in rest if isinstance(event, LogEntries) for entry in event.entries] == ["two"]


def test_a_tail_that_follows_ends_with_the_deployment(admin: Client, deployment: str) -> None:
    with writer(admin, deployment) as log:
        log.write("one")
    complete(admin, deployment)
    *_, last = Tail(admin, TailLogsRequest(deployment=deployment, follow=True))
    assert isinstance(last, TailLogsResponse.End)
    assert last.status == DeploymentStatus.DEPLOYMENT_STATUS_FAILED


def test_closing_a_tail_ends_it(admin: Client, deployment: str) -> None:
    with writer(admin, deployment) as log:
        log.write("one")
    tail = Tail(admin, TailLogsRequest(deployment=deployment, follow=True))
    next(iter(tail))
    tail.close()
    assert list(tail) == []


@pytest.mark.parametrize("cursor", ["nonsense", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"])
def test_a_cursor_of_nowhere_is_refused_at_once(admin: Client, deployment: str, cursor: str) -> None:
    with pytest.raises(RelmanError) as refused:
        list(Tail(admin, TailLogsRequest(deployment=deployment, cursor=cursor, follow=True)))
    assert not refused.value.is_passing


def test_following_where_nobody_listens_gives_up_soon() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(RelmanError) as refused:
        list(Tail(client, TailLogsRequest(deployment="x", follow=True)))
    assert refused.value.is_unreachable


def test_following_gives_up_when_told_so(running: ServerProcess, admin: Client, deployment: str) -> None:
    with writer(admin, deployment) as log:
        log.write("one")
    with Proxy(running.address) as proxy, Client(proxy.address, credentials=admin.credentials) as client:
        request = TailLogsRequest(deployment=deployment, follow=True)
        events = iter(Tail(client, request, ResumeOptions(give_up_after=0.5)))
        next(events)
        proxy.refuse()
        began = time.monotonic()
        with pytest.raises(RelmanError):
            list(events)
    assert time.monotonic() - began < 5


def revisions(events: list[DeploymentEvent]) -> list[int]:
    return [event.revision for event in events]


def test_a_watch_tells_the_state_then_each_event(admin: Client) -> None:
    deployment = create_deployment(admin)
    events = iter(Watch(admin, deployment))
    first = next(events)
    assert first.type == DeploymentEventType.DEPLOYMENT_EVENT_TYPE_SNAPSHOT
    assert first.deployment.status == DeploymentStatus.DEPLOYMENT_STATUS_READY
    admin.deployments.StartDeployment(StartDeploymentRequest(deployment=deployment))
    complete(admin, deployment)
    rest = list(events)
    assert [event.type for event in rest] == [
        DeploymentEventType.DEPLOYMENT_EVENT_TYPE_STARTED,
        DeploymentEventType.DEPLOYMENT_EVENT_TYPE_FAILED,
    ]
    assert revisions(rest) == [first.revision + 1, first.revision + 2]


def test_a_watch_may_begin_in_the_past(admin: Client) -> None:
    deployment = create_deployment(admin)
    admin.deployments.StartDeployment(StartDeploymentRequest(deployment=deployment))
    complete(admin, deployment)
    snapshot, *events = Watch(admin, deployment, after_revision=0)
    assert snapshot.type == DeploymentEventType.DEPLOYMENT_EVENT_TYPE_SNAPSHOT
    assert revisions(events) == list(range(1, snapshot.deployment.revision + 1))


def test_a_watch_over_cut_connections_has_no_gap_and_no_repeat(running: ServerProcess, admin: Client) -> None:
    """Asking again without the revision loses what happened meanwhile; with an older one it repeats."""
    deployment = start_deployment(admin, "build")
    start_stage(admin, deployment, "build")
    seen: list[DeploymentEvent] = []
    breaks: list[RelmanError] = []
    with Proxy(running.address) as proxy, Client(proxy.address, credentials=admin.credentials) as client:
        watch = Watch(client, deployment, options=ResumeOptions(on_break=breaks.append))
        thread = threading.Thread(target=lambda: seen.extend(watch))
        thread.start()
        for percent in range(1, 81):
            progress = ReportStageProgressRequest(stage=f"{deployment}/build", progress_percent=percent)
            admin.stages.ReportStageProgress(progress)
            time.sleep(0.01)
            if percent % 10 == 0:
                proxy.cut()
        complete(admin, deployment)
        thread.join(30)
    assert len(breaks) > 2
    assert [event.type for event in seen].count(DeploymentEventType.DEPLOYMENT_EVENT_TYPE_SNAPSHOT) == 1
    assert revisions(seen) == list(range(seen[0].revision, seen[-1].revision + 1))
    assert seen[-1].deployment.status == DeploymentStatus.DEPLOYMENT_STATUS_FAILED
    assert watch.revision == seen[-1].revision


def test_a_feed_over_cut_connections_has_no_gap_and_no_repeat(running: ServerProcess, admin: Client) -> None:
    """Asking again without the cursor loses what happened meanwhile."""
    seen: list[DeploymentEvent] = []
    breaks: list[RelmanError] = []
    with Proxy(running.address) as proxy, Client(proxy.address, credentials=admin.credentials) as client:
        feed = Feed(client, options=ResumeOptions(on_break=breaks.append))
        thread = threading.Thread(target=lambda: seen.extend(feed))
        thread.start()
        while not feed.cursor:
            thread.join(0.01)
        deployments = []
        for _ in range(5):
            deployments.append(create_deployment(admin))
            proxy.cut()
            admin.deployments.CancelDeployment(CancelDeploymentRequest(deployment=deployments[-1]))
        last = start_deployment(admin)
        while not seen or seen[-1].deployment_id != last or seen[-1].revision != 2:
            thread.join(0.01)
        feed.close()
        thread.join(10)
    assert breaks
    assert [(event.deployment_id, event.revision) for event in seen] == [
        (deployment, revision) for deployment in (*deployments, last) for revision in (1, 2)
    ]


def test_a_download_over_cut_connections_is_the_whole_log(
    running: ServerProcess, admin: Client, deployment: str
) -> None:
    lines = [f"line {number} {'x' * 1000}" for number in range(2_000)]
    with writer(admin, deployment, "build") as log:
        log.write("\n".join(lines))
    breaks: list[RelmanError] = []
    with Proxy(running.address) as proxy, Client(proxy.address, credentials=admin.credentials) as client:
        request = DownloadLogsRequest(deployment=deployment)
        saved = b""
        for part in Download(client, request, ResumeOptions(on_break=breaks.append)):
            saved += part
            if len(breaks) < 3:
                proxy.cut()
    assert breaks
    assert [line.split(" ", 2)[2] for line in saved.decode().splitlines()] == lines


async def test_connections_and_streams_that_are_made_anew_lose_and_repeat_nothing(
    database_url: str, tmp_path: Path, clock: MovableClock
) -> None:
    """Fails when a server never ends a stream: then nothing breaks here, and a new replica would get no work."""
    breaks: list[RelmanError] = []
    age = timedelta(seconds=0.3)
    async with (
        serving(database_url, tmp_path, clock, connection_age=age) as server,
        aio.Client(server.address, token=server.admin.token) as client,
    ):
        deployment = (await make_deployment(server.admin, server.admin)).id
        tail = aio.Tail(
            client, TailLogsRequest(deployment=deployment, follow=True), ResumeOptions(on_break=breaks.append)
        )
        texts: list[str] = []
        while len(breaks) < 3:
            entry = LogEntry(text=str(len(texts)))
            request = AppendLogsRequest(deployment=deployment, first_sequence=len(texts) + 1, entries=[entry])
            await client.logs.AppendLogs(request)
            event = await asyncio.wait_for(anext(tail), 20)
            assert isinstance(event, LogEntries)
            texts += [line.text for line in event.entries]
        await tail.close()
    assert texts == [str(number) for number in range(len(texts))]
    assert {error.reason for error in breaks} == {"SHUTTING_DOWN"}


async def test_a_tail_goes_on_when_the_login_expires(server: RunningServer, clock: MovableClock) -> None:
    """The server ends streams of expired tokens; without a refresh the tail would end there, too."""
    admin = server.admin
    deployment = (await make_deployment(admin, admin)).id
    entry = LogEntry(text="before")
    await admin.logs.AppendLogs(AppendLogsRequest(deployment=deployment, first_sequence=1, entries=[entry]))
    breaks: list[RelmanError] = []

    class Exchanged:
        """Credentials whose next access token comes from the test."""

        access_token = admin.token

        def refresh(self, rejected: str, exchange: object) -> bool:
            assert rejected == admin.token
            del exchange
            self.access_token = renewed.token
            return True

    async with aio.Client(server.address, credentials=Exchanged()) as client:
        tail = aio.Tail(
            client,
            TailLogsRequest(deployment=deployment, follow=True),
            ResumeOptions(on_break=breaks.append),
        )
        assert (await anext(tail)).entries[0].text == "before"  # type: ignore[union-attr]
        clock.advance(timedelta(minutes=16))
        renewed = await server.user(is_admin=True)
        entry = LogEntry(text="after")
        await renewed.logs.AppendLogs(AppendLogsRequest(deployment=deployment, first_sequence=2, entries=[entry]))
        texts: list[str] = []
        while "after" not in texts:
            event = await asyncio.wait_for(anext(tail), 20)
            assert isinstance(event, LogEntries)
            texts += [line.text for line in event.entries]
        await tail.close()
    assert texts == ["after"]
    assert breaks == []  # nobody is told of a connection that was lost: it was not


async def test_the_asyncio_client_follows_as_the_other_one_does(running: ServerProcess, admin: Client) -> None:
    deployment = await asyncio.to_thread(start_deployment, admin)
    async with aio.Client(running.address, credentials=admin.credentials) as client:
        request = AppendLogsRequest(
            deployment=deployment, first_sequence=1, entries=[LogEntry(text="one")], finish=True
        )
        await client.logs.AppendLogs(request)
        await asyncio.to_thread(complete, admin, deployment)
        tail = aio.Tail(client, TailLogsRequest(deployment=deployment, follow=True))
        events = [event async for event in tail]
        watched = [event async for event in aio.Watch(client, deployment, after_revision=0)]
    assert isinstance(events[-1], TailLogsResponse.End)
    assert revisions(watched[1:]) == [1, 2, 3]
    assert texts_of(admin, deployment) == ["one"]
