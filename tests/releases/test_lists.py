import grpc

from relman_client.v1 import release_pb2 as pb
from tests.factories import RunningServer, make_release, make_service, refused, unique
from tests.releases.steps import abandon
from tests.statements import statements


async def _list(server: RunningServer, **fields: object) -> pb.ListReleasesResponse:
    return await server.admin.releases.ListReleases(pb.ListReleasesRequest(**fields))  # type: ignore[arg-type]


async def _versions(server: RunningServer, **fields: object) -> list[str]:
    return [release.version for release in (await _list(server, **fields)).releases]


async def _three(server: RunningServer) -> list[pb.Release]:
    """Create releases of one service, of which the last is a draft."""
    service = await make_service(server.admin)
    return [
        await make_release(server.admin, service=service.name, version="2.0.0", release_notes="100% Faster"),
        await make_release(server.admin, service=service.name, version="10.0.0", release_notes="1000 things"),
        await make_release(server.admin, service=service.name, version="1.0.0-RC.1", publish=False),
    ]


async def test_the_newest_come_first_and_other_orders_are_asked_for(server: RunningServer) -> None:
    service = (await _three(server))[0].service_name
    for order, versions in (
        ("", ["1.0.0-RC.1", "10.0.0", "2.0.0"]),
        ("created_at", ["2.0.0", "10.0.0", "1.0.0-RC.1"]),
        ("version desc", ["2.0.0", "10.0.0", "1.0.0-RC.1"]),
        ("status", ["1.0.0-RC.1", "2.0.0", "10.0.0"]),
    ):
        found = await _versions(server, service=service, order_by=order)
        assert sorted(found) == sorted(versions)
        if order != "status":
            assert found == versions
        else:
            assert found[0] == "1.0.0-RC.1"
    refusal = await refused(_list(server, order_by="release_notes"))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"order_by"})


async def test_lists_are_filtered(server: RunningServer) -> None:
    first, second, third = await _three(server)
    await abandon(server.admin, second)
    for fields, versions in (
        ({"service": first.service_id}, ["1.0.0-RC.1", "10.0.0", "2.0.0"]),
        ({"status": pb.RELEASE_STATUS_DRAFT}, ["1.0.0-RC.1"]),
        ({"status": pb.RELEASE_STATUS_ABANDONED}, ["10.0.0"]),
        ({"start_date": second.created_at}, ["1.0.0-RC.1", "10.0.0"]),
        ({"end_date": second.created_at}, ["2.0.0"]),
        ({"start_date": third.created_at, "end_date": third.created_at}, []),
        ({"query": "100% f"}, ["2.0.0"]),
        ({"query": "rc."}, ["1.0.0-RC.1"]),
        ({"query": "1_.0"}, []),
    ):
        assert await _versions(server, **{"service": first.service_name, **fields}) == versions, fields


async def test_a_list_of_an_unknown_service_is_not_found_and_of_an_empty_one_empty(server: RunningServer) -> None:
    refusal = await refused(_list(server, service="nothing"))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "service")
    listed = await _list(server, service=(await make_service(server.admin)).name)
    assert (listed.total_size, listed.total_is_exact, listed.next_page_token) == (0, True, "")


async def test_pages_go_on_where_the_one_before_ended_also_when_new_ones_come(server: RunningServer) -> None:
    service = (await _three(server))[0].service_name
    first = await _list(server, service=service, page_size=2)
    await make_release(server.admin, service=service, version="11.0.0")
    with statements(server.app.db) as seen:
        second = await _list(server, service=service, page_size=2, page_token=first.next_page_token)
    assert len(seen) == 1
    assert [release.version for release in (*first.releases, *second.releases)] == ["1.0.0-RC.1", "10.0.0", "2.0.0"]
    assert (second.page, second.total_size, second.total_pages, second.next_page_token) == (2, 3, 2, "")


async def test_a_token_belongs_to_its_filters(server: RunningServer) -> None:
    service = (await _three(server))[0].service_name
    first = await _list(server, service=service, page_size=1)
    for fields in (
        {"service": unique("other")},
        {"service": service, "query": "1"},
        {"service": service, "order_by": "version"},
    ):
        refusal = await refused(_list(server, page_size=1, page_token=first.next_page_token, **fields))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_a_page_costs_two_statements_at_most(server: RunningServer) -> None:
    service = (await _three(server))[0].service_name
    for fields, cost in (({}, 1), ({"page_size": 1}, 2), ({"query": "nothing like it"}, 2)):
        with statements(server.app.db) as seen:
            await _list(server, service=service, **fields)
        assert len(seen) <= cost


async def test_a_page_of_long_notes_ends_before_clients_refuse_it_and_goes_on(server: RunningServer) -> None:
    """Fails without the bound: an answer of over 4 MiB is refused by clients as they come."""
    service = await make_service(server.admin)
    versions = []
    for _ in range(70):
        notes = "x" * 64 * 1024
        versions.append(
            (await make_release(server.admin, publish=False, service=service.name, release_notes=notes)).version
        )
    first = await _list(server, service=service.name, page_size=500, order_by="created_at")
    rest = await _list(
        server, service=service.name, page_size=500, order_by="created_at", page_token=first.next_page_token
    )
    assert [release.version for page in (first, rest) for release in page.releases] == versions
    assert (first.total_size, rest.next_page_token) == (70, "")
