from typing import Any
from uuid import UUID

import grpc
from sqlalchemy import select

from relman_client.v1 import release_pb2 as pb
from relman_server.kernel.db.transaction import Transaction
from relman_server.releases.model import Release
from tests.deployments.steps import FAILED, deploy
from tests.factories import RunningServer, make_deployment, make_environment, make_release, make_service, refused
from tests.statements import statements


async def _history(server: RunningServer, release: pb.Release, **fields: Any) -> pb.GetReleaseHistoryResponse:
    return await server.admin.releases.GetReleaseHistory(pb.GetReleaseHistoryRequest(release=release.id, **fields))


def _ids(history: pb.GetReleaseHistoryResponse) -> list[str]:
    return [entry.release.id for entry in history.entries]


async def _chain(server: RunningServer, length: int) -> list[pb.Release]:
    """Create releases of one service, each after the one before."""
    service = await make_service(server.admin)
    return [await make_release(server.admin, service=service.name) for _ in range(length)]


async def test_the_chain_is_followed_from_the_newest_to_the_first(server: RunningServer) -> None:
    chain = await _chain(server, 4)
    history = await _history(server, chain[-1])
    assert _ids(history) == [release.id for release in reversed(chain)]
    assert [entry.depth for entry in history.entries] == [0, 1, 2, 3]
    assert not history.truncated
    assert history.entries[0].release == chain[-1]
    assert _ids(await _history(server, chain[1])) == [chain[1].id, chain[0].id]


async def test_the_chain_follows_what_was_said_not_the_time(server: RunningServer) -> None:
    first, second, _ = await _chain(server, 3)
    hotfix = await make_release(server.admin, service=first.service_name, previous_release=first.id)
    assert _ids(await _history(server, hotfix)) == [hotfix.id, first.id]
    assert second.id not in _ids(await _history(server, hotfix))


async def test_a_chain_that_goes_on_beyond_the_depth_says_so(server: RunningServer) -> None:
    chain = await _chain(server, 3)
    for depth, length, truncated in ((1, 1, True), (2, 2, True), (3, 3, False), (500, 3, False), (2**31 - 1, 3, False)):
        history = await _history(server, chain[-1], max_depth=depth)
        assert (len(history.entries), history.truncated) == (length, truncated)
    refusal = await refused(_history(server, chain[-1], max_depth=-1))
    assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"max_depth"})


def _close(tx: Transaction, first: str, last: str) -> None:
    (release,) = tx.entities(select(Release).where(Release.id == UUID(first)))
    release.previous_release_id = UUID(last)
    tx.audit("release.update", release)


async def test_a_chain_of_large_releases_fits_into_an_answer_and_goes_on(server: RunningServer) -> None:
    changes = [pb.Change(commit="a" * 40, author="x" * 190, title="t" * 490) for _ in range(1000)]
    service = await make_service(server.admin)
    chain = [await make_release(server.admin, service=service.name, changes=changes) for _ in range(6)]
    first = await _history(server, chain[-1])
    assert first.truncated
    rest = await _history(server, pb.Release(id=first.entries[-1].release.previous_release_id))
    assert [*_ids(first), *_ids(rest)] == [release.id for release in reversed(chain)]


async def test_a_circle_in_the_database_ends_where_it_repeats(server: RunningServer) -> None:
    chain = await _chain(server, 3)
    await server.app.db.write(_close, chain[0].id, chain[2].id)
    for depth in (0, 3, 500):
        history = await _history(server, chain[1], max_depth=depth)
        assert _ids(history) == [chain[1].id, chain[0].id, chain[2].id]
        assert not history.truncated
    assert (await _history(server, chain[1], max_depth=2)).truncated


async def test_a_release_that_comes_before_itself_in_the_database_is_shown_once(server: RunningServer) -> None:
    (release,) = await _chain(server, 1)
    await server.app.db.write(_close, release.id, release.id)
    assert _ids(await _history(server, release)) == [release.id]


async def test_history_says_where_each_release_went_last_newest_first(server: RunningServer) -> None:
    first, second = await _chain(server, 2)
    testing, staging = await make_environment(server.admin), await make_environment(server.admin)
    await deploy(server, first.id, testing.name, outcome=FAILED)
    again = await deploy(server, first.id, testing.name)
    later = await deploy(server, first.id, staging.name, outcome=FAILED)
    waiting = await make_deployment(server.admin, server.admin, release=second.id, environment=testing.name)
    history = await _history(server, second)
    assert [
        [(found.deployment_id, found.environment_name, found.status) for found in entry.deployments]
        for entry in history.entries
    ] == [
        [(waiting.id, testing.name, waiting.status)],
        [(later.id, staging.name, later.status), (again.id, testing.name, again.status)],
    ]
    assert history.entries[1].deployments[1].completed_at == again.completed_at
    assert not history.entries[0].deployments[0].HasField("completed_at")


async def test_history_costs_three_statements_whatever_its_length(server: RunningServer) -> None:
    for length in (1, 5):
        chain = await _chain(server, length)
        with statements(server.app.db) as seen:
            await _history(server, chain[-1])
        assert len(seen) == 3


async def test_the_history_of_an_unknown_release_is_not_found(server: RunningServer) -> None:
    request = pb.GetReleaseHistoryRequest(release="nothing@1.0.0")
    refusal = await refused(server.admin.releases.GetReleaseHistory(request))
    assert (refusal.code, refusal.resource.resource_name) == (grpc.StatusCode.NOT_FOUND, "nothing@1.0.0")
