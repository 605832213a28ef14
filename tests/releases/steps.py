"""What the tests of releases do all the time."""

from typing import Any

from relman_client.v1 import release_pb2 as pb
from tests.deployments.steps import FAILED, PRODUCTION, deploy
from tests.factories import Caller, RunningServer, make_environment, make_release

STATES = ("DRAFT", "PUBLISHED", "DEPLOYED", "FAILED", "ABANDONED")


def state(release: pb.Release) -> str:
    """Return a release's status without its prefix."""
    return pb.ReleaseStatus.Name(release.status).removeprefix("RELEASE_STATUS_")


async def get(caller: Caller, reference: str) -> pb.Release:
    """Read a release."""
    return await caller.releases.GetRelease(pb.GetReleaseRequest(release=reference))


async def publish(caller: Caller, release: pb.Release) -> pb.Release:
    """Publish a release."""
    return await caller.releases.PublishRelease(pb.PublishReleaseRequest(release=release.id))


async def abandon(caller: Caller, release: pb.Release) -> pb.Release:
    """Give a release up."""
    return await caller.releases.AbandonRelease(pb.AbandonReleaseRequest(release=release.id, reason="too late"))


async def quarantine(caller: Caller, release: pb.Release) -> pb.Release:
    """Hold a release."""
    return await caller.releases.QuarantineRelease(pb.QuarantineReleaseRequest(release=release.id, reason=" it leaks "))


async def clear(caller: Caller, release: pb.Release) -> pb.Release:
    """Let a held release go."""
    return await caller.releases.ClearQuarantine(pb.ClearQuarantineRequest(release=release.id, reason="plugged"))


async def make_in(server: RunningServer, wanted: str, **fields: Any) -> pb.Release:
    """Create a release and bring it into a state."""
    release = await make_release(server.admin, publish=wanted != "DRAFT", **fields)
    if wanted == "ABANDONED":
        await abandon(server.admin, release)
    if wanted in {"DEPLOYED", "FAILED"}:
        production = await make_environment(server.admin, environment_type=PRODUCTION)
        outcome = {} if wanted == "DEPLOYED" else {"outcome": FAILED}
        await deploy(server, release.id, production.name, **outcome)
    release = await get(server.admin, release.id)
    assert state(release) == wanted
    return release
