from typing import Any

import grpc

from relman_client.v1 import policy_pb2 as pb
from tests.factories import RunningServer, make_environment, make_policy, make_service, refused
from tests.statements import statements


async def _names(server: RunningServer, **filters: Any) -> list[str]:
    listed = await server.admin.policies.ListDeployPolicies(pb.ListDeployPoliciesRequest(**filters))
    return [policy.name for policy in listed.deploy_policies]


async def test_policies_are_listed_by_name_in_one_statement(own_server: RunningServer) -> None:
    service = await make_service(own_server.admin)
    for name in ("b", "a", "c"):
        await make_policy(own_server.admin, name=name, services=[service.name])
    with statements(own_server.app.db) as seen:
        assert await _names(own_server) == ["a", "b", "c"]
    assert len(seen) == 1
    assert await _names(own_server, order_by="created_at desc") == ["c", "a", "b"]
    assert set((await refused(_names(own_server, order_by="is_active"))).violations) == {"order_by"}


async def test_policies_are_filtered_by_what_they_hold_for(own_server: RunningServer) -> None:
    one, two = [(await make_service(own_server.admin)).name for _ in range(2)]
    here, there = [(await make_environment(own_server.admin)).name for _ in range(2)]
    for name, services, environments in (
        ("all", [], []),
        ("both", [one, two], [here, there]),
        ("here", [], [here]),
        ("one", [one], []),
        ("two-there", [two], [there]),
    ):
        await make_policy(own_server.admin, name=name, services=services, environments=environments)
    assert await _names(own_server, service=one) == ["all", "both", "here", "one"]
    assert await _names(own_server, environment=there) == ["all", "both", "one", "two-there"]
    assert await _names(own_server, service=two, environment=there) == ["all", "both", "two-there"]
    for unknown in ({"service": "ghosts"}, {"environment": "ghosts"}):
        assert (await refused(_names(own_server, **unknown))).code == grpc.StatusCode.NOT_FOUND


async def test_policies_are_filtered_by_activity_and_text(own_server: RunningServer) -> None:
    on = await make_policy(own_server.admin, description="Audit is coming")
    off = await make_policy(own_server.admin, is_active=False)
    for wanted, expected in (
        ({"is_active": True}, [on.name]),
        ({"is_active": False}, [off.name]),
        ({"query": "AUDIT"}, [on.name]),
        ({"query": off.name.upper()}, [off.name]),
        ({"query": "%"}, []),
    ):
        assert await _names(own_server, **wanted) == expected


async def test_pages_by_token_keep_to_the_filters_they_began_with(own_server: RunningServer) -> None:
    for _ in range(3):
        await make_policy(own_server.admin)
    api = own_server.admin.policies
    first = await api.ListDeployPolicies(pb.ListDeployPoliciesRequest(page_size=2))
    rest = pb.ListDeployPoliciesRequest(page_size=2, page_token=first.next_page_token)
    second = await api.ListDeployPolicies(rest)
    assert len({policy.id for policy in (*first.deploy_policies, *second.deploy_policies)}) == 3
    rest.is_active = True
    assert (await refused(api.ListDeployPolicies(rest))).reason == "INVALID_PAGE_TOKEN"
