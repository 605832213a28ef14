"""What followers of both kinds of clients do when their stream breaks, by a server that breaks it as the test says."""

import asyncio
import io
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from relman_client import (
    Client,
    ClientClosedError,
    ClientOptions,
    CursorUnknownError,
    Download,
    Feed,
    RelmanError,
    ResumeOptions,
    RetryOptions,
    Tail,
    aio,
)
from relman_client.resume import Breaks
from relman_client.v1.deployment_pb2 import DeploymentEvent, DeploymentEventType, WatchDeploymentsRequest
from relman_client.v1.log_pb2 import DownloadLogsRequest, DownloadLogsResponse, LogDownloadFormat, TailLogsRequest
from tests.client.proxy import Proxy
from tests.client.scripted import Fault, Scripted, scripted
from tests.client.writers import KINDS
from tests.services.relman import ServerProcess

FEED = "DeploymentService/WatchDeployments"
DOWNLOAD = "DeploymentLogService/DownloadLogs"
QUICK = ClientOptions(retries=RetryOptions(attempts=3, initial_delay=0.01))
UNAVAILABLE = Fault(grpc.StatusCode.UNAVAILABLE)
THE_END = Fault(grpc.StatusCode.NOT_FOUND, "NOT_FOUND")  # how a script ends that has no other end


def event(number: int) -> DeploymentEvent:
    return DeploymentEvent(type=DeploymentEventType.DEPLOYMENT_EVENT_TYPE_READY, revision=number, cursor=f"c{number}")


def heartbeat(cursor: str) -> DeploymentEvent:
    return DeploymentEvent(type=DeploymentEventType.DEPLOYMENT_EVENT_TYPE_HEARTBEAT, cursor=cursor)


class Told:
    """What a user interface would show."""

    def __init__(self) -> None:
        self.breaks: list[RelmanError] = []
        self.resumed = 0
        self.options = ResumeOptions(on_break=self.breaks.append, on_resume=self._resume)

    def _resume(self) -> None:
        self.resumed += 1


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def read(
    kind: str, script: Scripted, follower: str, *arguments: Any, credentials: Any = None
) -> tuple[list[Any], RelmanError | None]:
    """Follow by either kind of client, until it ends or raises; return what came, and what it raised."""
    found: list[Any] = []
    try:
        if kind == "asyncio":
            async with (
                aio.Client(script.address, credentials=credentials, options=QUICK) as client,
                getattr(aio, follower)(client, *arguments) as items,
            ):
                async for item in items:
                    found.append(item)  # noqa: PERF401 - they are wanted also when it raises
        else:
            with Client(script.address, credentials=credentials, options=QUICK) as caller:
                await asyncio.to_thread(
                    found.extend, {"Feed": Feed, "Download": Download}[follower](caller, *arguments)
                )
    except RelmanError as error:
        return found, error
    return found, None


async def revisions(kind: str, script: Scripted, *arguments: Any, credentials: Any = None) -> list[int]:
    """Of a feed that ends as scripts do."""
    events, error = await read(kind, script, "Feed", *arguments, credentials=credentials)
    assert error is not None
    assert error.reason == "NOT_FOUND"
    return [found.revision for found in events]


async def test_a_feed_goes_on_after_its_last_cursor_with_the_same_filters(kind: str) -> None:
    """Also after that of a heartbeat: a feed of which nothing came yet would otherwise miss what comes meanwhile."""
    parts: list[list[Message | Fault]] = [
        [heartbeat("c0"), UNAVAILABLE],
        [event(1), event(2), UNAVAILABLE],
        [event(3), heartbeat("c7")],  # ends without an error, which a feed never does
        [event(8), THE_END],
    ]
    request = WatchDeploymentsRequest(service="checkout", environment="production")
    told = Told()
    with scripted(FEED, WatchDeploymentsRequest, *parts) as script:
        assert await revisions(kind, script, request, told.options) == [1, 2, 3, 8]
    assert [asked.cursor for asked in script.requests] == ["", "c0", "c2", "c7"]
    assert {(asked.service, asked.environment) for asked in script.requests} == {("checkout", "production")}
    assert (len(told.breaks), told.resumed) == (3, 3)


@pytest.mark.parametrize(
    "fault",
    [
        UNAVAILABLE,
        Fault(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"),
        Fault(grpc.StatusCode.CANCELLED),
        Fault(grpc.StatusCode.UNKNOWN),
        Fault(grpc.StatusCode.INTERNAL),  # without a reason: of the connection
        Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", retry_after=0.01),
    ],
    ids=lambda fault: f"{fault.code.name} {fault.reason}",
)
async def test_what_passes_is_got_over_at_the_start_and_later(kind: str, fault: Fault) -> None:
    with scripted(FEED, WatchDeploymentsRequest, [fault], [event(1), fault], [fault], [event(2), THE_END]) as script:
        assert await revisions(kind, script) == [1, 2]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(grpc.StatusCode.OUT_OF_RANGE, "CURSOR_UNKNOWN"), CursorUnknownError),
        (Fault(grpc.StatusCode.NOT_FOUND, "NOT_FOUND"), RelmanError),
        (Fault(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"), RelmanError),
        (Fault(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED"), RelmanError),  # and there is no other token
        (Fault(grpc.StatusCode.INTERNAL, "INTERNAL"), RelmanError),
        (Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "LOG_QUOTA"), RelmanError),
    ],
    ids=lambda value: getattr(value, "reason", ""),
)
async def test_what_does_not_pass_is_raised_at_once(kind: str, fault: Fault, error: type[RelmanError]) -> None:
    with scripted(FEED, WatchDeploymentsRequest, [event(1), UNAVAILABLE], [fault]) as script:
        events, raised = await read(kind, script, "Feed")
    assert isinstance(raised, error)
    assert raised.reason == fault.reason
    assert len(events) == 1
    assert len(script.requests) == 2


class Renewing:
    """Credentials that have another token each time."""

    def __init__(self) -> None:
        self.access_token = "token-0"

    def refresh(self, rejected: str, exchange: object) -> bool:
        del exchange
        self.access_token = f"token-{int(rejected.removeprefix('token-')) + 1}"
        return True


async def test_a_token_that_expires_is_no_break(kind: str) -> None:
    expired = Fault(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    told = Told()
    with scripted(FEED, WatchDeploymentsRequest, [expired], [event(1), expired], [event(2), THE_END]) as script:
        assert await revisions(kind, script, None, told.options, credentials=Renewing()) == [1, 2]
    assert script.tokens == ["Bearer token-0", "Bearer token-1", "Bearer token-2"]
    assert told.breaks == []


def part(data: bytes, cursor: str) -> DownloadLogsResponse:
    return DownloadLogsResponse(data=data, cursor=cursor)


PARTS: list[list[Message | Fault]] = [
    [part(b"one\ntwo\n", "a"), UNAVAILABLE],
    [Fault(grpc.StatusCode.CANCELLED)],
    [part(b"three\n", "b"), part(b"", "c"), UNAVAILABLE],
    [part(b"four\n", "d")],
]
WANTED = DownloadLogsRequest(deployment="x", stage="build", format=LogDownloadFormat.LOG_DOWNLOAD_FORMAT_JSON_LINES)


async def test_a_download_goes_on_where_it_broke(kind: str) -> None:
    with scripted(DOWNLOAD, DownloadLogsRequest, *PARTS) as script:
        assert await read(kind, script, "Download", WANTED) == ([b"one\ntwo\n", b"three\n", b"four\n"], None)
    assert [asked.cursor for asked in script.requests] == ["", "a", "a", "c"]
    assert all(asked.stage == "build" and asked.format == WANTED.format for asked in script.requests)


async def test_a_download_is_saved_to_a_file(tmp_path: Path) -> None:
    with scripted(DOWNLOAD, DownloadLogsRequest, *PARTS) as script:
        with Client(script.address, options=QUICK) as client, io.BytesIO() as file:
            assert Download(client, WANTED).save(file) == 19
            assert file.getvalue() == b"one\ntwo\nthree\nfour\n"
        async with aio.Client(script.address, options=QUICK) as other:
            with (tmp_path / "log").open("wb") as target:
                assert await aio.Download(other, WANTED).save(target) == 5  # the script goes on with its last part
        assert (tmp_path / "log").read_bytes() == b"four\n"


def test_delays_grow_while_a_server_says_hello_and_breaks_again() -> None:
    """Beginning anew with every answer instead of with every news asks it again and again without a rest."""
    breaks = Breaks(ResumeOptions(), RetryOptions(initial_delay=1, max_delay=8))
    away = RelmanError(grpc.StatusCode.UNAVAILABLE, "away")
    delays = []
    for _ in range(4):
        breaks.opened()
        breaks.heard(is_news=False)
        delays.append(breaks.delay(away))
    assert delays[3] >= 4 > delays[0]
    breaks.heard(is_news=True)
    assert breaks.delay(away) <= 1


def test_a_server_that_is_away_for_long_is_asked_again_every_second() -> None:
    """Waiting longer and longer lets everyone wait for seconds after it is back."""
    breaks = Breaks(ResumeOptions(), RetryOptions(initial_delay=1, max_delay=8))
    away = RelmanError(grpc.StatusCode.UNAVAILABLE, "away")
    breaks.opened()
    breaks.heard(is_news=True)
    delays = [breaks.delay(away)]
    for _ in range(10):
        breaks.opened()
        delays.append(breaks.delay(away))
    assert max(delays) <= 1
    assert breaks.delay(RelmanError(grpc.StatusCode.UNAVAILABLE, "later", reason="SHUTTING_DOWN")) >= 4


@pytest.mark.parametrize("is_away", [False, True], ids=["waiting for an answer", "waiting for the server"])
def test_a_follower_is_closed_from_another_thread(
    running: ServerProcess, admin: Client, deployment: str, *, is_away: bool
) -> None:
    waiting = threading.Event()
    with Proxy(running.address) as proxy, Client(proxy.address, credentials=admin.credentials) as client:
        options = ResumeOptions(on_break=lambda _error: waiting.set())
        with Tail(client, TailLogsRequest(deployment=deployment, follow=True), options) as tail:
            seen: list[Any] = []
            thread = threading.Thread(target=lambda: seen.extend(tail))
            thread.start()
            while not tail.cursor:
                waiting.wait(0.01)
            if is_away:
                proxy.refuse()
                assert waiting.wait(10)
        thread.join(10)
        assert not thread.is_alive()
    assert seen == []


async def test_followers_of_a_client_that_is_closed_say_so(
    running: ServerProcess, admin: Client, deployment: str
) -> None:
    """They would try for ever, or (with asyncio) seem to be cancelled."""
    request = TailLogsRequest(deployment=deployment, follow=True)
    other = Client(running.address, credentials=admin.credentials)
    tail = Tail(other, request)
    failures: list[Exception] = []

    def follow() -> None:
        try:
            list(tail)
        except RelmanError as error:
            failures.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    while not tail.cursor:
        await asyncio.to_thread(thread.join, 0.01)
    other.close()
    await asyncio.to_thread(thread.join, 10)
    assert [type(failure) for failure in failures] == [ClientClosedError]

    client = aio.Client(running.address, credentials=admin.credentials)
    following = aio.Tail(client, request)
    task = asyncio.ensure_future(anext(following))
    while not following.cursor:
        await asyncio.wait([task], timeout=0.01)
    await client.close()
    with pytest.raises(ClientClosedError):
        await asyncio.wait_for(task, 10)
