"""What the database has in the end, as any caller can ask for it."""

import json

from relman_client import Client, Download, each
from relman_client.v1.deployment_pb2 import (
    Deployment,
    DeploymentEvent,
    DeploymentEventType,
    DeploymentStatus,
    ListDeploymentEventsRequest,
    ListDeploymentsRequest,
)
from relman_client.v1.log_pb2 import DownloadLogsRequest, ListLogsRequest, LogDownloadFormat
from relman_client.v1.release_pb2 import ListReleasesRequest
from tests.chaos.history import Line, LogHistory, read_line
from tests.chaos.pipelines import LABEL, Pipeline

PAGE = 500


def read_log(client: Client, deployment: str, history: LogHistory) -> None:
    """Write down the log of a deployment, in both ways to have it."""
    history.stored["downloaded"] = _downloaded(client, deployment)
    history.stored["listed"] = _listed(client, deployment)


def _downloaded(client: Client, deployment: str) -> list[Line]:
    request = DownloadLogsRequest(deployment=deployment, format=LogDownloadFormat.LOG_DOWNLOAD_FORMAT_JSON_LINES)
    lines = (json.loads(line) for part in Download(client, request) for line in part.splitlines())
    return [read_line(line["text"], line["sequence"], line["stream_name"]) for line in lines]


def _listed(client: Client, deployment: str) -> list[Line]:
    request = ListLogsRequest(deployment=deployment, page_size=10_000)
    entries = each(client.logs.ListLogs, request, lambda page: page.entries)
    return [read_line(entry.text, entry.sequence) for entry in entries]


def events_of(client: Client, deployment: str) -> list[DeploymentEvent]:
    """Return the history of a deployment."""
    request = ListDeploymentEventsRequest(deployment=deployment, page_size=PAGE)
    return list(each(client.deployments.ListDeploymentEvents, request, lambda page: page.events))


def deployments_of(client: Client, service: str) -> list[Deployment]:
    """Return the deployments of a service."""
    request = ListDeploymentsRequest(service=service, page_size=PAGE)
    return list(each(client.deployments.ListDeployments, request, lambda page: page.deployments))


def find_changes(client: Client, pipeline: Pipeline) -> None:
    """Write down the effects of a pipeline's changes."""
    found = pipeline.changes.found
    releases = each(
        client.releases.ListReleases,
        ListReleasesRequest(service=pipeline.service, page_size=PAGE),
        lambda page: page.releases,
    )
    found += [
        (f"release {pipeline.service} {release.version}", release.id)
        for release in releases
        if release.version != "1.0.0"
    ]
    for deployment in deployments_of(client, pipeline.service):
        if deployment.id == pipeline.subject:
            continue
        found.append((deployment.labels[LABEL], deployment.id))
        if deployment.status == DeploymentStatus.DEPLOYMENT_STATUS_CANCELLED:
            found.append((f"cancel {deployment.id}", deployment.id))
    found += [
        (event.deployment.labels[LABEL], event.deployment_id)
        for event in events_of(client, pipeline.subject)
        if event.type == DeploymentEventType.DEPLOYMENT_EVENT_TYPE_UPDATED
    ]
