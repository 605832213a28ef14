"""Releases between the contract and Python."""

from relman_client.v1 import release_pb2 as pb
from relman_server.kernel.db.transaction import Record
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import fitting, page_writer, timestamp, writer
from relman_server.releases.inputs import Abandonment, History, Hold, ListReleases, NewRelease, ReleaseChange
from relman_server.releases.model import Chain

new_release = reader(pb.CreateReleaseRequest, NewRelease)
release_change = change_reader(pb.UpdateReleaseRequest, ReleaseChange)
list_releases = reader(pb.ListReleasesRequest, ListReleases)
abandonment = reader(pb.AbandonReleaseRequest, Abandonment)
quarantine = reader(pb.QuarantineReleaseRequest, Hold)
clearance = reader(pb.ClearQuarantineRequest, Hold)
history = reader(pb.GetReleaseHistoryRequest, History)


def _quarantine(row: Record) -> pb.Quarantine | None:
    if row.quarantined_at is None:
        return None
    by = str(row.quarantined_by) if row.quarantined_by else ""
    return pb.Quarantine(reason=row.quarantine_reason, by=by, at=timestamp(row.quarantined_at))


release = writer(pb.Release, quarantine=_quarantine)
releases = page_writer(pb.ListReleasesResponse, "releases", release)
release_deployment = writer(pb.ReleaseDeployment)


def chain(found: Chain) -> pb.GetReleaseHistoryResponse:
    """Write a release's history, as much of it as an answer holds."""
    entries = fitting(
        pb.ReleaseHistoryEntry(
            release=release(row),
            depth=row.depth,
            deployments=[release_deployment(deployed) for deployed in found.deployments.get(row.id, ())],
        )
        for row in found.releases
    )
    truncated = found.truncated or len(entries) < len(found.releases)
    return pb.GetReleaseHistoryResponse(entries=entries, truncated=truncated)
