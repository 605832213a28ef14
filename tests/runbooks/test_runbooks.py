from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import func, select

from relman_client.v1 import catalog_pb2, environment_pb2, team_pb2
from relman_client.v1 import runbook_pb2 as pb
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading
from relman_server.runbooks.model import OldVersion
from tests.factories import (
    Caller,
    RunningServer,
    make_environment,
    make_runbook,
    make_service,
    make_team,
    refused,
    unique,
)
from tests.statements import statements


async def _get(caller: Caller, runbook: pb.Runbook, version: int = 0) -> pb.Runbook:
    return await caller.runbooks.GetRunbook(pb.GetRunbookRequest(runbook=runbook.id, version=version))


async def _update(caller: Caller, runbook: pb.Runbook, **fields: Any) -> pb.Runbook:
    return await caller.runbooks.UpdateRunbook(pb.UpdateRunbookRequest(runbook=runbook.id, **fields))


async def _delete(caller: Caller, runbook: pb.Runbook, **fields: Any) -> None:
    await caller.runbooks.DeleteRunbook(pb.DeleteRunbookRequest(runbook=runbook.id, **fields))


async def _titles(server: RunningServer, **fields: Any) -> list[str]:
    listed = await server.admin.runbooks.ListRunbooks(pb.ListRunbooksRequest(**fields))
    return [runbook.title for runbook in listed.runbooks]


async def test_a_runbook_is_read_as_it_was_written(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    created = await make_runbook(
        server.admin,
        title="  Kafka lag ",
        content="# Do\n\n1. this\n",
        service=service.name,
        environment=environment.id,
        tags=["kafka", "on-call", "kafka"],
    )
    with statements(server.app.db) as seen:
        assert await _get(server.admin, created) == created
    assert len(seen) == 1
    assert (created.title, created.content, list(created.tags)) == (
        "Kafka lag",
        "# Do\n\n1. this\n",
        ["kafka", "on-call"],
    )
    assert (created.service_id, created.service_name) == (service.id, service.name)
    assert (created.environment_id, created.environment_name) == (environment.id, environment.name)
    assert (created.version, created.is_active) == (1, True)
    assert created.created_by == created.updated_by == str(server.admin.user_id)
    assert created.created_at == created.updated_at


async def test_every_update_makes_a_version_and_older_ones_stay_readable(server: RunningServer) -> None:
    service = await make_service(server.admin)
    first = await make_runbook(server.admin, content="one", service=service.name, tags=["a"])
    second = await _update(server.admin, first, content="two", etag=first.etag)
    third = await _update(server.admin, second, title="Third", tags=["b", "c"], is_active=False)
    assert (second.version, second.content, second.title) == (2, "two", first.title)
    assert (third.version, third.content, list(third.tags), third.is_active) == (3, "two", ["b", "c"], False)
    assert len({first.etag, second.etag, third.etag}) == 3
    for before in (first, second):
        old = await _get(server.admin, first, before.version)
        assert old.etag == ""
        old.etag = before.etag
        assert old == before
    assert await _get(server.admin, first, 3) == await _get(server.admin, first) == third
    refusal = await refused(_get(server.admin, first, 4))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "runbook")


async def test_an_old_version_keeps_the_name_of_a_service_that_is_gone(server: RunningServer) -> None:
    service, other = await make_service(server.admin), await make_service(server.admin)
    runbook = await make_runbook(server.admin, service=service.name)
    await _update(server.admin, runbook, service=other.name)
    await server.admin.catalog.DeleteService(catalog_pb2.DeleteServiceRequest(service=service.name))
    assert (await _get(server.admin, runbook, 1)).service_name == service.name


async def test_a_mask_can_empty_what_presence_cannot(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    runbook = await make_runbook(
        server.admin, content="x", tags=["a"], service=service.name, environment=environment.name
    )
    mask = FieldMask(paths=["tags", "service", "content"])
    emptied = await _update(server.admin, runbook, title="Not set", update_mask=mask)
    assert (list(emptied.tags), emptied.service_id, emptied.service_name, emptied.content) == ([], "", "", "")
    assert (emptied.title, emptied.environment_name) == (runbook.title, environment.name)
    refusal = await refused(_update(server.admin, runbook, update_mask=FieldMask(paths=["version"])))
    assert set(refusal.violations) == {"update_mask"}


async def test_a_stale_etag_changes_nothing(server: RunningServer) -> None:
    runbook = await make_runbook(server.admin)
    newest = await _update(server.admin, runbook, content="theirs", etag=runbook.etag)
    for call in (
        _update(server.admin, runbook, content="mine", etag=runbook.etag),
        _delete(server.admin, runbook, etag=runbook.etag),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
        assert refusal.info.metadata["current_etag"] == newest.etag
    assert await _get(server.admin, runbook) == newest


async def test_a_repeated_update_makes_one_version(server: RunningServer) -> None:
    runbook = await make_runbook(server.admin)
    request_id = str(uuid4())
    once, again = [
        await _update(server.admin, runbook, content="x", etag=runbook.etag, request_id=request_id) for _ in range(2)
    ]
    assert once == again
    assert once.version == 2


async def test_a_deleted_runbook_is_gone_with_its_versions(server: RunningServer) -> None:
    runbook = await make_runbook(server.admin, tags=["gone"])
    await _update(server.admin, runbook, content="x")
    await _delete(server.admin, runbook)
    assert (await refused(_get(server.admin, runbook))).code == grpc.StatusCode.NOT_FOUND
    assert (await refused(_delete(server.admin, runbook))).code == grpc.StatusCode.NOT_FOUND
    assert await server.app.db.read(_versions_of, runbook.id) == 0


def _versions_of(tx: Reading, runbook_id: str) -> int:
    return int(tx.scalar(select(func.count()).where(OldVersion.runbook_id == UUID(runbook_id))))


@pytest.mark.parametrize("what", ["service", "environment"])
async def test_what_a_runbook_is_about_cannot_be_deleted(server: RunningServer, what: str) -> None:
    """With it gone, the runbook would be about all of them."""
    made = await (make_service if what == "service" else make_environment)(server.admin)
    await make_runbook(server.admin, **{what: made.name})
    call: Any
    if what == "service":
        call = server.admin.catalog.DeleteService(catalog_pb2.DeleteServiceRequest(service=made.name))
    else:
        request = environment_pb2.DeleteEnvironmentRequest(environment=made.name)
        call = server.admin.environments.DeleteEnvironment(request)
    refusal = await refused(call)
    assert refusal.reason == "IN_USE"
    assert "runbook" in refusal.message


# --- who may


async def _member(server: RunningServer) -> tuple[Caller, catalog_pb2.Service]:
    """Return a member of a team that does not maintain it, and the team's service."""
    owner, member = await server.user(), await server.user()
    team = await make_team(owner)
    role = team_pb2.TEAM_ROLE_MEMBER
    await owner.teams.AddTeamMember(team_pb2.AddTeamMemberRequest(team=team.name, user=member.username, role=role))
    return member, await make_service(server.admin, team=team.name, owner=owner.username)


async def test_members_write_about_their_service_and_everyone_reads(server: RunningServer) -> None:
    member, service = await _member(server)
    stranger = await server.user()
    runbook = await make_runbook(member, service=service.name)
    assert (await _update(member, runbook, content="x")).updated_by == str(member.user_id)
    for call in (
        make_runbook(stranger, service=service.name),
        _update(stranger, runbook, content="y"),
        _delete(stranger, runbook),
    ):
        refusal = await refused(call)
        assert (refusal.code, service.name in refusal.message) == (grpc.StatusCode.PERMISSION_DENIED, True)
    assert (await _get(stranger, runbook)).content == "x"
    await _delete(member, runbook)


async def test_only_admins_write_about_all_services(server: RunningServer) -> None:
    member, service = await _member(server)
    mine = await make_runbook(member, service=service.name)
    everyones = await make_runbook(server.admin)
    others = await make_service(server.admin)
    for call in (
        make_runbook(member),
        _update(member, everyones, content="x"),
        _update(member, everyones, service=service.name),
        _update(member, mine, update_mask=FieldMask(paths=["service"])),
        _update(member, mine, service=others.name),
        _delete(member, everyones),
    ):
        assert (await refused(call)).code == grpc.StatusCode.PERMISSION_DENIED
    assert (await _get(member, mine)).version == 1


# --- what is refused


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", "  "),
        ("title", "x" * 201),
        ("title", "two\nlines"),
        ("content", "\u00e4" * (128 * 1024) + "x"),
        ("tags[1]", ["a", "Not A Name"]),
        ("tags", [f"t{number}" for number in range(33)]),
    ],
)
async def test_what_does_not_fit_is_refused_by_its_name(server: RunningServer, field: str, value: Any) -> None:
    fields = {"title": "x"} | {field.partition("[")[0]: value}
    refusal = await refused(make_runbook(server.admin, **fields))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {field})


async def test_the_largest_content_is_taken_whatever_is_in_it(server: RunningServer) -> None:
    """PostgreSQL's tsvector holds 1 MiB: what is indexed of a content is bounded."""
    size = 256 * 1024
    different = " ".join(f"{number:x}q" for number in range(60_000)).encode()[:size].decode()
    letters = " ".join(chr(code) * 2 for code in range(0x400, 0x2000)) + "x" * 100_000
    for content in (different, letters, "\ufdfa" * (size // 3)):
        runbook = await make_runbook(server.admin, content=content)
        assert (await _get(server.admin, runbook)).content == content
        await _delete(server.admin, runbook)


# --- lists and audit


async def test_lists_are_filtered_and_ordered(server: RunningServer) -> None:
    service, environment = await make_service(server.admin), await make_environment(server.admin)
    tag = unique("tag")
    for title, more in (
        ("B", {"service": service.name, "tags": [tag]}),
        ("A", {"service": service.name, "environment": environment.name}),
        ("C", {"service": service.name, "is_active": False, "tags": [tag, "x"]}),
    ):
        await make_runbook(server.admin, title=title, **more)
    expected: tuple[tuple[dict[str, Any], list[str]], ...] = (
        ({}, ["A", "B", "C"]),
        ({"order_by": "title desc"}, ["C", "B", "A"]),
        ({"order_by": "created_at"}, ["B", "A", "C"]),
        ({"order_by": "updated_at desc"}, ["C", "A", "B"]),
        ({"environment": environment.id}, ["A"]),
        ({"tag": tag}, ["B", "C"]),
        ({"tag": "nothing"}, []),
        ({"is_active": True}, ["A", "B"]),
        ({"is_active": False}, ["C"]),
    )
    for fields, titles in expected:
        assert await _titles(server, service=service.name, **fields) == titles, fields
    refusal = await refused(_titles(server, service="nothing"))
    assert refusal.resource.resource_type == "service"


async def test_a_tag_that_was_taken_away_is_listed_no_more(server: RunningServer) -> None:
    old, new = unique("tag"), unique("tag")
    runbook = await make_runbook(server.admin, tags=[old])
    await _update(server.admin, runbook, tags=[new])
    assert (await _titles(server, tag=old), await _titles(server, tag=new)) == ([], [runbook.title])


async def test_changes_are_audited_with_the_digest_of_the_content(server: RunningServer) -> None:
    runbook = await make_runbook(server.admin, title="Old", content="secret recipe")
    await _update(server.admin, runbook, title="New", content="another")
    await _update(server.admin, runbook, tags=["x"])
    await _delete(server.admin, runbook)
    rows = await server.app.db.read(_audit_of, runbook.id)
    assert [row.action for row in rows] == ["runbook.create", *["runbook.update"] * 2, "runbook.delete"]
    created, updated, tagged, deleted = (row.details for row in rows)
    assert updated["changes"]["title"] == ["Old", "New"]
    assert updated["changes"]["version"] == [1, 2]
    assert created["content_sha256"][1] == updated["content_sha256"][0] != updated["content_sha256"][1]
    assert "content_sha256" not in tagged
    assert tagged["changes"]["tags"] == [[], ["x"]]
    assert deleted["content_sha256"] == [updated["content_sha256"][1], None]
    assert not any("recipe" in str(row.details) for row in rows)


def _audit_of(tx: Reading, resource_id: str) -> Any:
    columns = (AuditEntry.action, AuditEntry.details)
    return tx.rows(select(*columns).where(AuditEntry.resource_id == resource_id).order_by(AuditEntry.id))
