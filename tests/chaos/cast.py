"""Everyone who takes part, and what they know in the end."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from relman_client import Client
from relman_client.credentials import Credentials
from relman_client.v1.deployment_pb2 import GetDeploymentRequest, WatchDeploymentsRequest
from tests.chaos.actors import Appender, Author, Writer
from tests.chaos.cluster import Cluster
from tests.chaos.evidence import deployments_of, events_of, find_changes, read_log
from tests.chaos.history import EventHistory, Findings, LogHistory, compare, summed
from tests.chaos.notes import Notes
from tests.chaos.pipelines import Pipeline
from tests.chaos.readers import FeedReader, Follower, Reader, Watcher
from tests.chaos.report import Checked
from tests.client.pipelines import create_deployment, start_deployment
from tests.client.writers import KINDS

LOGS = 2
WAYS_TO_READ = list(itertools.product(KINDS, (False, True)))
"""Each kind of client, and whether it leaves and comes back by its cursor."""


@dataclass
class Cast:
    """Everyone.

    Attributes:
        logs: Ids of the deployments whose logs are written.
        authors: Who writes them.
        followers: Who follows them.
        pipelines: Who makes changes.
        watchers: Who watches the deployments that pipelines change.
        feeds: Who watches all deployments.
    """

    logs: list[str]
    authors: list[Author]
    followers: list[Follower]
    pipelines: list[Pipeline]
    watchers: list[Watcher]
    feeds: list[FeedReader]

    def __str__(self) -> str:
        return (
            f"{len(self.authors)} writers of {len(self.logs)} logs, {len(self.followers)} followers,"
            f" {len(self.pipelines)} pipelines, {len(self.watchers) + len(self.feeds)} watchers"
        )

    @property
    def readers(self) -> Sequence[Reader]:
        """All who read."""
        return [*self.followers, *self.watchers, *self.feeds]

    @property
    def subjects(self) -> list[str]:
        """Ids of the deployments that pipelines change."""
        return [pipeline.subject for pipeline in self.pipelines]


def assemble(client: Client, cluster: Cluster, credentials: Credentials, seed: int, notes: Notes) -> Cast:
    """Make what they need, and everyone; each author has a way to the servers of their own."""
    logs = [start_deployment(client) for _ in range(LOGS)]
    pipelines = [_pipeline(client, number, seed, notes) for number in (1, 2)]
    watched = [pipeline.subject for pipeline in pipelines]
    beginning = next(iter(client.deployments.WatchDeployments(WatchDeploymentsRequest()))).cursor
    return Cast(
        logs,
        [author for number, log in enumerate(logs) for author in _authors(cluster, credentials, notes, log, number)],
        [Follower(kind, log, hops=hops) for log in logs for kind, hops in WAYS_TO_READ],
        pipelines,
        [Watcher(kind, subject, hops=hops) for subject in watched for kind, hops in WAYS_TO_READ],
        [FeedReader(kind, beginning, hops=hops) for kind, hops in WAYS_TO_READ],
    )


def _authors(cluster: Cluster, credentials: Credentials, notes: Notes, log: str, number: int) -> list[Author]:
    writers = [Writer(kind, cluster.way(), credentials, log, f"{kind}-{number}") for kind in KINDS]
    return [*writers, Appender(cluster.way(), credentials, log, f"by-hand-{number}", notes)]


def _pipeline(client: Client, number: int, seed: int, notes: Notes) -> Pipeline:
    subject = client.deployments.GetDeployment(GetDeploymentRequest(deployment=create_deployment(client)))
    return Pipeline(
        f"pipeline {number}", subject.id, subject.service_name, subject.environment_name, seed + number, notes
    )


def check(client: Client, cast: Cast) -> list[Checked]:
    """Compare what everyone knows with what the database has."""
    return [*_lines(client, cast), _events(client, cast), _feed(client, cast), _changes(client, cast)]


def _lines(client: Client, cast: Cast) -> list[Checked]:
    logs = [_log(client, cast, log) for log in cast.logs]
    acknowledged = sum(author.acknowledged for author in cast.authors)
    stored = [len(lines) for log in logs for lines in log.stored.values()]
    seen = [len(lines) for log in logs for lines in log.seen.values()]
    in_database = sum(len(log.stored["downloaded"]) for log in logs)
    return [
        Checked(
            "lines on disk, of those acknowledged", acknowledged, sum(stored), summed(log.on_disk() for log in logs)
        ),
        Checked("lines followed, of those on disk", in_database, sum(seen), summed(log.followed() for log in logs)),
    ]


def _log(client: Client, cast: Cast, log: str) -> LogHistory:
    authors = [author for author in cast.authors if author.deployment == log]
    followers = [follower for follower in cast.followers if follower.deployment == log]
    history = LogHistory(
        written={author.stream: author.written for author in authors},
        acknowledged={author.stream: author.acknowledged for author in authors},
        seen={follower.name: follower.lines for follower in followers},
        gaps_told=sum(follower.gaps for follower in followers),
    )
    read_log(client, log, history)
    return history


def _events(client: Client, cast: Cast) -> Checked:
    histories = []
    for subject in cast.subjects:
        watchers = [watcher for watcher in cast.watchers if watcher.deployment == subject]
        recorded = [event.revision for event in events_of(client, subject)]
        histories.append(EventHistory(recorded, {watcher.name: watcher.revisions for watcher in watchers}))
    return Checked(
        "events of one deployment, watched",
        sum(len(history.recorded) for history in histories),
        sum(len(revisions) for history in histories for revisions in history.seen.values()),
        summed(history.findings() for history in histories),
    )


def newest_revisions(client: Client, cast: Cast) -> dict[str, int]:
    """Return how many events there are of each deployment that pipelines made since the feeds began."""
    return {
        deployment.id: deployment.revision
        for pipeline in cast.pipelines
        for deployment in deployments_of(client, pipeline.service)
        if deployment.id != pipeline.subject
    }


def _feed(client: Client, cast: Cast) -> Checked:
    newest = newest_revisions(client, cast)
    found, told = Findings(), 0
    for feed in cast.feeds:
        for deployment, revision in newest.items():
            revisions = feed.revisions.get(deployment, [])
            found += compare(revisions, revision)
            told += len(revisions)
    return Checked("events of all deployments, watched", sum(newest.values()), told, found)


def _changes(client: Client, cast: Cast) -> Checked:
    for pipeline in cast.pipelines:
        find_changes(client, pipeline)
    histories = [pipeline.changes for pipeline in cast.pipelines]
    return Checked(
        "changes, of those acknowledged",
        sum(len(history.answered) for history in histories),
        sum(len(history.found) for history in histories),
        summed(history.findings() for history in histories),
    )
