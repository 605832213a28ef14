"""A number explained: what it was computed from, what was left out, and the deployments behind it."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from relman_client.cli import dora_words as words
from relman_client.cli.dora_data import Asked, Key, summary_of
from relman_client.cli.output import Columns, as_json, print_json, print_rows, when, word
from relman_client.cli.session import Session
from relman_client.cli.text import coloured, has_colours, note, safe
from relman_client.v1 import deployment_pb2
from relman_client.v1.deployment_pb2 import DeploymentStatus
from relman_client.v1.incident_pb2 import ListIncidentsRequest

_MEMBERS = {
    "frequency": "The newest successes",
    "lead-time": "The newest deployments with which changes arrived",
    "failure-rate": "The newest deployments that failed",
    "restore": "The newest failures that are over",
    "rework": "The newest hotfixes and rollbacks",
    "pipeline-failures": "The newest failures that nobody felt",
}
_OF_FAILURES = {"failure-rate", "restore"}


@dataclass(frozen=True)
class Member:
    """A deployment behind a number, and what speaks against it."""

    deployment: deployment_pb2.Deployment
    why: str


MEMBERS: Columns[Member] = {
    "<id>": lambda member: member.deployment.id,
    "release": lambda member: f"{member.deployment.service_name}@{member.deployment.release_version}",
    "environment": lambda member: member.deployment.environment_name,
    "kind": lambda member: word(member.deployment, "kind"),
    "status": lambda member: word(member.deployment, "status"),
    "ended": lambda member: when(member.deployment, "completed_at"),
    "why": lambda member: member.why,
}


def show(session: Session, asked: Asked, key: Key, limit: int) -> None:
    """Print what a number comes from."""
    summary = summary_of(session.client, asked)
    metric = key.of(summary)
    ids = metric.contributing_deployment_ids[: limit or None]
    members = [_member(session, key, name) for name in ids]
    if session.wants_json:
        deployments = [as_json(member.deployment) | {"why": member.why} for member in members]
        print_json({"metric": as_json(metric), "deployments": deployments})
        return
    colours = has_colours(sys.stdout)
    title = f"{key.title}: {words.value_of(metric)} {words.band_of(metric)}".rstrip()
    sys.stdout.write(f"{coloured(title, 'bold') if colours else title}\n")
    for line in (
        key.means,
        f"{words.about(key, summary)}.",
        f"Of {words.scope(asked)}, {asked.first} to {asked.last}.",
    ):
        sys.stdout.write(f"  {safe(line)}\n")
    if not members:
        note("no deployments are behind it")
        return
    sys.stdout.write(f"\n{_MEMBERS[key.name]}:\n")
    print_rows(MEMBERS, members)
    if len(members) < len(metric.contributing_deployment_ids):
        note(f"the newest {len(members)} are shown; --limit 0 shows up to 100")


def _member(session: Session, key: Key, name: str) -> Member:
    request = deployment_pb2.GetDeploymentRequest(deployment=name)
    deployment = session.client.deployments.GetDeployment(request)
    why = "; ".join(_reasons(session, deployment)) if key.name in _OF_FAILURES else deployment.failure_reason
    return Member(deployment, why)


def _reasons(session: Session, deployment: deployment_pb2.Deployment) -> Iterator[str]:
    listed = session.client.incidents.ListIncidents(ListIncidentsRequest(deployment=deployment.id, page_size=3))
    for incident in listed.incidents:
        yield f"incident: {incident.title}" + ("" if incident.HasField("resolved_at") else " (open)")
    if deployment.status == DeploymentStatus.DEPLOYMENT_STATUS_ROLLED_BACK:
        yield "was rolled back"
    if deployment.production_impacted:
        yield f"failed: {deployment.failure_reason}" if deployment.failure_reason else "failed, and users felt it"
    elif not listed.incidents and deployment.status == DeploymentStatus.DEPLOYMENT_STATUS_SUCCEEDED:
        yield "was repaired by a hotfix"
