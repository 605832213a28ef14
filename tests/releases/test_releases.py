import uuid
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import release_pb2 as pb
from tests.factories import (
    RunningServer,
    make_deployment,
    make_environment,
    make_release,
    make_service,
    refused,
    unique,
)
from tests.releases.steps import STATES, get, make_in
from tests.statements import statements


async def _update(server: RunningServer, release: pb.Release, **fields: Any) -> pb.Release:
    return await server.admin.releases.UpdateRelease(pb.UpdateReleaseRequest(release=release.id, **fields))


async def _delete(server: RunningServer, release: pb.Release, **fields: Any) -> None:
    await server.admin.releases.DeleteRelease(pb.DeleteReleaseRequest(release=release.id, **fields))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("1.4.2", "1.4.2"),
        ("v1.4.2", "1.4.2"),
        ("2.0.0-rc.1", "2.0.0-rc.1"),
        ("1.0.0+build.7", "1.0.0+build.7"),
        ("v1.0.0-alpha-a.b+exp.sha.5114f85", "1.0.0-alpha-a.b+exp.sha.5114f85"),
        ("0.0.0", "0.0.0"),
    ],
)
async def test_a_version_is_semver_and_loses_its_leading_v(server: RunningServer, said: str, kept: str) -> None:
    release = await make_release(server.admin, version=said, publish=False)
    assert release.version == kept
    for version in (kept, f"v{kept}"):
        assert (await get(server.admin, f"{release.service_name}@{version}")).id == release.id


async def test_what_is_not_semver_is_refused(server: RunningServer) -> None:
    service = await make_service(server.admin)
    too_long = f"1.0.0-{'x' * 123}"
    for version in ("1", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "vv1.2.3", "1.2.3 ", "1.2.3\n", "latest", too_long):
        refusal = await refused(make_release(server.admin, service=service.name, version=version))
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"version"}), version


async def test_a_version_is_given_once_in_a_service(server: RunningServer) -> None:
    release = await make_release(server.admin, version="1.0.0")
    refusal = await refused(make_release(server.admin, service=release.service_name, version="v1.0.0"))
    assert refusal.code == grpc.StatusCode.ALREADY_EXISTS
    assert refusal.resource.resource_name == f"{release.service_name}@1.0.0"
    for version in ("1.0.0+build", "1.0.0-rc.1"):
        await make_release(server.admin, service=release.service_name, version=version)
    await make_release(server.admin, version="1.0.0")


async def test_a_draft_cannot_take_the_version_of_another(server: RunningServer) -> None:
    release = await make_release(server.admin, version="1.0.0")
    draft = await make_release(server.admin, service=release.service_name, publish=False)
    refusal = await refused(_update(server, draft, version="1.0.0"))
    assert refusal.code == grpc.StatusCode.ALREADY_EXISTS
    assert refusal.resource.resource_name == f"{release.service_name}@1.0.0"


async def test_a_release_keeps_what_was_said_of_it(server: RunningServer) -> None:
    committed = Timestamp(seconds=1_700_000_000, nanos=250_000_000)
    change = pb.Change(commit="abcdef1", author="Ann", title="A fix", committed_at=committed)
    release = await make_release(
        server.admin, publish=False, git_commit="0" * 40, release_notes="# Notes\n", changes=[change]
    )
    found = await get(server.admin, release.id)
    assert found == release
    assert list(found.changes) == [change]
    assert (found.git_commit, found.release_notes, found.status) == ("0" * 40, "# Notes\n", pb.RELEASE_STATUS_DRAFT)
    assert found.created_by == str(server.admin.user_id)


async def test_every_violation_of_a_new_release_comes_at_once(server: RunningServer) -> None:
    refusal = await refused(
        server.admin.releases.CreateRelease(
            pb.CreateReleaseRequest(
                version="1",
                git_commit="xyz",
                release_notes="é" * 32 * 1024 + "e",
                changes=[pb.Change(author="a\nb"), pb.Change(commit="abcdef1", title="x" * 501)],
            )
        )
    )
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {
        "service",
        "version",
        "git_commit",
        "release_notes",
        "changes[0].commit",
        "changes[0].author",
        "changes[1].title",
    }


async def test_changes_are_a_thousand_at_most(server: RunningServer) -> None:
    service = await make_service(server.admin)
    changes = [pb.Change(commit="abcdef1")] * 1001
    refusal = await refused(make_release(server.admin, service=service.name, changes=changes))
    assert set(refusal.violations) == {"changes"}
    release = await make_release(server.admin, service=service.name, changes=changes[1:])
    assert len(release.changes) == 1000


async def test_unknown_services_and_releases_are_not_found(server: RunningServer) -> None:
    refusal = await refused(make_release(server.admin, service="nothing"))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "service")
    for reference in ("nothing@1.0.0", "nothing", "@1.0.0", "nothing@", str(uuid.uuid4())):
        refusal = await refused(get(server.admin, reference))
        assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "release")
        assert refusal.resource.resource_name == reference


async def test_a_release_is_found_in_one_statement(server: RunningServer) -> None:
    release = await make_release(server.admin)
    for reference in (release.id, f"{release.service_name}@{release.version}"):
        with statements(server.app.db) as seen:
            assert await get(server.admin, reference) == release
        assert len(seen) == 1


async def test_creating_a_release_costs_six_statements_at_most(server: RunningServer) -> None:
    service = await make_service(server.admin)
    with statements(server.app.db) as seen:
        await make_release(server.admin, service=service.name, publish=False)
    assert len(seen) <= 6


async def test_the_release_before_is_the_one_published_last(server: RunningServer) -> None:
    first = await make_release(server.admin, version="2.0.0")
    assert first.previous_release_id == ""
    newest = await make_release(server.admin, service=first.service_name, version="1.0.0")
    await make_release(server.admin, service=first.service_name, publish=False)
    third = await make_release(server.admin, service=first.service_name)
    assert (newest.previous_release_id, third.previous_release_id) == (first.id, newest.id)


async def test_the_release_before_may_be_said(server: RunningServer) -> None:
    first = await make_release(server.admin, version="1.0.0")
    await make_release(server.admin, service=first.service_name)
    for reference in (first.id, f"{first.service_name}@1.0.0"):
        release = await make_release(server.admin, service=first.service_name, previous_release=reference)
        assert release.previous_release_id == first.id


async def test_the_release_before_is_of_the_same_service(server: RunningServer) -> None:
    other = await make_release(server.admin)
    draft = await make_release(server.admin, publish=False)
    for call in (
        make_release(server.admin, service=draft.service_name, previous_release=other.id),
        _update(server, draft, previous_release=other.id),
    ):
        refusal = await refused(call)
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"previous_release"})


async def test_releases_do_not_come_before_each_other_in_a_circle(server: RunningServer) -> None:
    first = await make_release(server.admin, publish=False)
    service = first.service_name
    second = await make_release(server.admin, service=service, previous_release=first.id, publish=False)
    third = await make_release(server.admin, service=service, previous_release=second.id, publish=False)
    for before in (first, second, third):
        refusal = await refused(_update(server, first, previous_release=before.id))
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"previous_release"})
    assert (await _update(server, third, previous_release=first.id)).previous_release_id == first.id


async def test_a_drafts_fields_change_and_a_mask_empties_them(server: RunningServer) -> None:
    before = await make_release(server.admin)
    draft = await make_release(
        server.admin,
        service=before.service_name,
        publish=False,
        git_commit="abcdef1",
        release_notes="Notes",
        changes=[pb.Change(commit="abcdef1")],
    )
    updated = await _update(server, draft, version="v9.0.0", git_commit="abcdef2", etag=draft.etag)
    assert (updated.version, updated.git_commit, updated.release_notes) == ("9.0.0", "abcdef2", "Notes")
    assert updated.etag != draft.etag
    assert updated.previous_release_id == before.id
    mask = FieldMask(paths=["changes", "git_commit", "previous_release", "release_notes"])
    emptied = await _update(server, draft, version="8.0.0", update_mask=mask)
    assert (emptied.version, emptied.git_commit, emptied.release_notes) == ("9.0.0", "", "")
    assert (list(emptied.changes), emptied.previous_release_id) == ([], "")


async def test_a_mask_of_everything_asks_for_a_version(server: RunningServer) -> None:
    draft = await make_release(server.admin, publish=False)
    refusal = await refused(_update(server, draft, update_mask=FieldMask(paths=["*"])))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"version"})


@pytest.mark.parametrize("path", ["id", "status", "quarantine", "service_id", "release", "nothing"])
async def test_a_mask_of_what_cannot_be_set_is_refused(server: RunningServer, path: str) -> None:
    draft = await make_release(server.admin, publish=False)
    refusal = await refused(_update(server, draft, update_mask=FieldMask(paths=[path])))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"update_mask"})


async def test_notes_change_always_the_rest_in_drafts_only(server: RunningServer) -> None:
    for before in STATES:
        release = await make_in(server, before)
        assert (await _update(server, release, release_notes="New")).release_notes == "New"
        for fields in (
            {"version": f"7.0.{before.count('')}"},
            {"git_commit": "abcdef1"},
            {"changes": [pb.Change(commit="abcdef1")]},
            {"previous_release": ""},
        ):
            if before == "DRAFT":
                await _update(server, release, **fields)
                continue
            refusal = await refused(_update(server, release, **fields))
            assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, before)
            assert next(iter(fields)) in refusal.message


async def test_only_drafts_are_deleted(server: RunningServer) -> None:
    for before in STATES:
        release = await make_in(server, before)
        if before == "DRAFT":
            await _delete(server, release, etag=release.etag)
            assert (await refused(get(server.admin, release.id))).code == grpc.StatusCode.NOT_FOUND
        else:
            refusal = await refused(_delete(server, release))
            assert (refusal.code, refusal.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, before)


async def test_a_draft_that_something_refers_to_stays(server: RunningServer) -> None:
    deployed = await make_release(server.admin, publish=False)
    environment = await make_environment(server.admin)
    await make_deployment(server.admin, server.admin, release=deployed.id, environment=environment.name)
    before = await make_release(server.admin, publish=False)
    await make_release(server.admin, service=before.service_name, previous_release=before.id)
    for draft in (deployed, before):
        refusal = await refused(_delete(server, draft))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_USE")
        assert refusal.conditions[0][:2] == ("IN_USE", f"{draft.service_name}@{draft.version}")
        assert await get(server.admin, draft.id) == draft


async def test_a_stale_etag_stops_every_change(server: RunningServer) -> None:
    draft = await make_release(server.admin, publish=False)
    await _update(server, draft, release_notes="newer")
    said: dict[str, Any] = {"release": draft.id, "etag": draft.etag}
    releases = server.admin.releases
    for call in (
        _update(server, draft, release_notes="older", etag=draft.etag),
        _delete(server, draft, etag=draft.etag),
        releases.PublishRelease(pb.PublishReleaseRequest(**said)),
        releases.AbandonRelease(pb.AbandonReleaseRequest(**said)),
        releases.QuarantineRelease(pb.QuarantineReleaseRequest(**said, reason="no")),
        releases.ClearQuarantine(pb.ClearQuarantineRequest(**said, reason="yes")),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert (await get(server.admin, draft.id)).release_notes == "newer"


async def test_a_repeated_request_id_creates_one_release(server: RunningServer) -> None:
    service = await make_service(server.admin)
    request = pb.CreateReleaseRequest(
        service=service.name, version=f"1.0.0-{unique('rc')}", request_id=str(uuid.uuid4())
    )
    assert await server.admin.releases.CreateRelease(request) == await server.admin.releases.CreateRelease(request)
