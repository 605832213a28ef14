"""All of it: everyone at work, while things fail, and what it came to."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from relman_client import Client
from relman_client.credentials import Credentials
from relman_client.v1.deployment_pb2 import CancelDeploymentRequest
from tests.chaos.actors import PATIENCE
from tests.chaos.cast import Cast, assemble, check, newest_revisions
from tests.chaos.cluster import SETUPS, Cluster
from tests.chaos.faults import Crowd, Faults
from tests.chaos.notes import Notes
from tests.chaos.report import Report
from tests.fuzz.verdict import complaints
from tests.services.relman import ADMIN_EMAIL, ADMIN_PASSWORD

THREADS = 64
LOOK_EVERY = 0.1


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        seed: Decides what fails, when and for how long.
        kills: How many times a server is killed, those times not counted when all are.
        seconds: After which nothing new fails.
        with_others: Whether other things fail than servers.
    """

    seed: int = 1
    kills: int = 50
    seconds: float = 1200.0
    with_others: bool = True


async def chaos(cluster: Cluster, options: Options, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Let things fail while everyone is at work, and return what it came to.

    Args:
        cluster: What fails, and what they work with; nobody has used it yet.
        options: What to run.
        tell: Is told of every fault.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    with Client(cluster.servers[0].address) as client:
        credentials = await asyncio.to_thread(client.login, ADMIN_EMAIL, ADMIN_PASSWORD)
        return await _Run(cluster, options, client, credentials).play(tell)


class _Run:
    """A run. Its own client calls a server without detours."""

    def __init__(self, cluster: Cluster, options: Options, client: Client, credentials: Credentials) -> None:
        self._cluster = cluster
        self._options = options
        self._client = client
        self._credentials = credentials
        self._notes = Notes()
        self._stop = asyncio.Event()

    async def play(self, tell: Callable[[str], None]) -> Report:
        began, options = time.monotonic(), self._options
        cast = await asyncio.to_thread(
            assemble, self._client, self._cluster, self._credentials, options.seed, self._notes
        )
        report = Report(
            f"--setup {self._cluster.setup} --kills {options.kills} --seed {options.seed}",
            f"{SETUPS[self._cluster.setup]}; {cast}",
            indeterminate=self._notes.indeterminate,
            faults=self._notes.faults,
        )
        faults = Faults(self._cluster, Crowd(cast.authors, cast.followers), options.seed, self._notes)
        report.recoveries, report.starts = faults.recoveries, faults.starts
        await self._work(cast, faults, tell)
        report.given_up = faults.given_up
        report.kills, report.seconds = faults.kills, time.monotonic() - began
        report.checked = await asyncio.to_thread(check, self._client, cast)
        report.complaints = Counter(what for what, _ in complaints(self._cluster.logged()))
        return report

    async def _work(self, cast: Cast, faults: Faults, tell: Callable[[str], None]) -> None:
        """Let everyone work while things fail, then let them come to an end."""
        working = [self._task(author.stream, author.run(self._stop)) for author in cast.authors]
        working += [
            self._task("a pipeline", pipeline.run(self._cluster.way(), self._credentials, self._stop))
            for pipeline in cast.pipelines
        ]
        reading = [
            self._task(f"a reader with {reader.kind}", reader.run(self._cluster.way(), self._credentials))
            for reader in cast.readers
        ]
        with_an_end = reading[: len(reading) - len(cast.feeds)]
        try:
            options = self._options
            await faults.run(options.kills, options.seconds, tell, with_others=options.with_others)
            if options.with_others and not self._notes.faults:
                await faults.freeze_follower(self._credentials.access_token)
            self._stop.set()
            await self._patiently("who writes and changes", working)
            await asyncio.to_thread(self._end, [*cast.logs, *cast.subjects])
            await self._patiently("who follows to the end", with_an_end)
            await self._feeds_are_through(cast)
        finally:
            await _end_all([*working, *reading])

    def _task(self, who: str, work: Awaitable[None]) -> asyncio.Task[None]:
        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - whatever ended it must not have
                self._notes.faults.append(f"{who} ended: {error!r}")

        return asyncio.create_task(run())

    async def _patiently(self, who: str, tasks: Iterable[asyncio.Task[None]]) -> None:
        _, missing = await asyncio.wait(tasks, timeout=PATIENCE)
        if missing:
            self._notes.faults.append(f"{who}: {len(missing)} did not come to an end within {PATIENCE:.0f} s")

    def _end(self, deployments: Iterable[str]) -> None:
        for deployment in deployments:
            self._client.deployments.CancelDeployment(CancelDeploymentRequest(deployment=deployment))

    async def _feeds_are_through(self, cast: Cast) -> None:
        """Wait until feeds, which have no end, have told the last events; what is missing then is lost."""
        newest = await asyncio.to_thread(newest_revisions, self._client, cast)
        for _ in range(int(PATIENCE / LOOK_EVERY)):
            if all(feed.is_through(newest) for feed in cast.feeds):
                return
            await asyncio.sleep(LOOK_EVERY)


async def _end_all(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
