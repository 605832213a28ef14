"""The feed of all deployments: every event once, in the order of commits, for whoever wants which."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from sqlalchemy import Connection
from sqlalchemy import event as sqlalchemy_event

from relman_client.v1 import deployment_pb2 as pb
from relman_server.deployments import feed as feeding
from relman_server.deployments import feed_store
from relman_server.deployments.feed_store import FeedPlace
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.errors import Unavailable
from relman_server.kernel.streams import hub
from tests.deployments import steps
from tests.deployments.steps import event_type, events_of, make_in
from tests.factories import Caller, RunningServer, refused


class Watcher:
    """Reads the feed; its first answer is a heartbeat, after which nothing is missed."""

    def __init__(self, caller: Caller, **fields: Any) -> None:
        self.call: Any = caller.deployments.WatchDeployments(pb.WatchDeploymentsRequest(**fields), timeout=60)
        self.cursor = ""

    async def begun(self) -> "Watcher":
        """Wait for the first answer."""
        assert event_type(await self.read()) == "HEARTBEAT"
        return self

    async def read(self) -> pb.DeploymentEvent:
        """Return the next answer."""
        found = await asyncio.wait_for(self.call.read(), timeout=20)
        assert isinstance(found, pb.DeploymentEvent), "the feed ended"
        self.cursor = found.cursor
        return found

    async def until(self, deployment: str, kind: str) -> list[tuple[str, int]]:
        """Return id and revision of the events up to that one."""
        seen = []
        while True:
            found = await self.read()
            if event_type(found) == "HEARTBEAT":
                continue
            seen.append((found.deployment_id, found.revision))
            if (found.deployment_id, event_type(found)) == (deployment, kind):
                return seen


async def _history(server: RunningServer, *deployments: pb.Deployment) -> list[tuple[str, int]]:
    return [
        (deployment.id, event.revision)
        for deployment in deployments
        for event in await events_of(server.admin, deployment)
    ]


async def test_what_happens_comes_to_all_who_watch_with_what_the_history_says(server: RunningServer) -> None:
    watchers = [await Watcher(server.admin).begun() for _ in range(3)]
    deployment = await make_in(server, "SUCCEEDED")
    history = await events_of(server.admin, deployment)
    for watcher in watchers:
        found = [await watcher.read() for _ in history]
        for event, said in zip(found, history, strict=True):
            event.cursor = said.cursor
        assert found == history
        watcher.call.cancel()


async def test_every_cursor_resumes_with_exactly_what_came_after(server: RunningServer) -> None:
    watcher = await Watcher(server.admin).begun()
    cursors = [watcher.cursor]
    first, second = await make_in(server, "SUCCEEDED"), await make_in(server, "CANCELLED")
    expected = await _history(server, first, second)
    for place in expected:
        found = await watcher.read()
        assert (found.deployment_id, found.revision) == place
        cursors.append(found.cursor)
    watcher.call.cancel()
    for index, cursor in enumerate(cursors[:-1]):
        resumed = await Watcher(server.admin, cursor=cursor).begun()
        assert resumed.cursor == cursor
        assert await resumed.until(second.id, "CANCELLED") == expected[index:]
        resumed.call.cancel()


async def test_who_resumes_far_behind_reads_the_database(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "RECENT_EVENTS", 2)
    monkeypatch.setattr(feeding, "BATCH", 3)
    staying = await Watcher(server.admin).begun()
    begin = staying.cursor
    made = [await make_in(server, "SUCCEEDED") for _ in range(4)]
    expected = await _history(server, *made)
    for watcher in (staying, await Watcher(server.admin, cursor=begin).begun()):
        assert await watcher.until(made[-1].id, "SUCCEEDED") == expected
        watcher.call.cancel()


async def test_a_look_that_fails_half_way_repeats_nothing(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when the reader forgets, with the look, what it has passed on already."""
    monkeypatch.setattr(feeding, "BATCH", 2)
    monkeypatch.setattr(hub, "AGAIN", 0.01)
    original, looks = feeding._settled, list[int]()

    def fail_the_second_time(tx: Reading, reached: feeding.Reached) -> Any:
        looks.append(len(looks))
        if len(looks) == 2:
            raise Unavailable("no database")
        return original(tx, reached)

    watcher = await Watcher(server.admin).begun()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.app.bus, "publish", lambda _topic, **_: None)
        made = [await make_in(server, "CANCELLED") for _ in range(3)]
    monkeypatch.setattr(feeding, "_settled", fail_the_second_time)
    server.app.bus.publish(feeding.TOPIC)
    assert await watcher.until(made[-1].id, "CANCELLED") == await _history(server, *made)
    watcher.call.cancel()


async def test_filters_leave_out_the_rest(server: RunningServer) -> None:
    wanted = await make_in(server, "READY")
    choices: list[dict[str, Any]] = [
        {"service": wanted.service_name},
        {"service": wanted.service_id, "environment": wanted.environment_name},
        {"environment": wanted.environment_id},
        {"release": f"{wanted.service_name}@{wanted.release_version}"},
        {"types": [pb.DEPLOYMENT_EVENT_TYPE_STARTED, pb.DEPLOYMENT_EVENT_TYPE_CANCELLED], "release": wanted.release_id},
    ]
    watchers = [await Watcher(server.admin, **choice).begun() for choice in choices]
    await make_in(server, "SUCCEEDED")
    await steps.start(server.admin, wanted)
    await make_in(server, "READY")
    await steps.cancel(server.admin, wanted)
    for watcher in watchers:
        assert await watcher.until(wanted.id, "CANCELLED") == [(wanted.id, 2), (wanted.id, 3)]
        watcher.call.cancel()


@pytest.mark.parametrize(
    ("field", "kind"), [("service", "service"), ("environment", "environment"), ("release", "release")]
)
async def test_a_filter_for_what_is_not_there_is_not_found(server: RunningServer, field: str, kind: str) -> None:
    refusal = await refused(Watcher(server.admin, **{field: str(uuid4())}).call)
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, kind)


async def test_a_cursor_of_elsewhere_is_unknown_and_a_damaged_one_is_wrong(server: RunningServer) -> None:
    watcher = await Watcher(server.admin).begun()
    watcher.call.cancel()
    feed_id, place = feeding.read_cursor(watcher.cursor)
    foreign = feeding.Reached(uuid4(), place).cursor(place)
    ahead = feeding.Reached(feed_id, place).cursor(place._replace(committed_in=2**50))
    for cursor in (foreign, ahead):
        refusal = await refused(Watcher(server.admin, cursor=cursor).call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_UNKNOWN")
    for cursor in ("x", watcher.cursor[:-2], "ä" * 60):
        refusal = await refused(Watcher(server.admin, cursor=cursor).call)
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"cursor"})


async def test_a_quiet_feed_beats_with_where_to_resume(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "HEARTBEAT", 0.05)
    watcher = await Watcher(server.admin, types=[pb.DEPLOYMENT_EVENT_TYPE_ROLLED_BACK]).begun()
    begin = watcher.cursor
    deployment = await make_in(server, "READY")
    async with asyncio.timeout(10):
        while watcher.cursor == begin:
            assert event_type(await watcher.read()) == "HEARTBEAT"
    watcher.call.cancel()
    await steps.cancel(server.admin, deployment)
    resumed = await Watcher(server.admin, cursor=watcher.cursor, service=deployment.service_id).begun()
    assert (await resumed.until(deployment.id, "CANCELLED"))[-1] == (deployment.id, 2)
    resumed.call.cancel()


async def test_numbers_of_deleted_events_are_not_given_out_again(server: RunningServer) -> None:
    """Fails on SQLite when a number is only higher than those that are left: what comes next would be passed over."""
    watcher = await Watcher(server.admin).begun()
    gone = await make_in(server, "CANCELLED")
    await watcher.until(gone.id, "CANCELLED")
    watcher.call.cancel()
    await server.admin.deployments.DeleteDeployment(pb.DeleteDeploymentRequest(deployment=gone.id))
    made = await make_in(server, "CANCELLED")
    resumed = await Watcher(server.admin, cursor=watcher.cursor).begun()
    assert await resumed.until(made.id, "CANCELLED") == await _history(server, made)
    resumed.call.cancel()


def _insert(connection: Connection, deployment: pb.Deployment) -> None:
    """Write an event as another process would, in a transaction that is under the test's control."""
    connection.exec_driver_sql(
        "INSERT INTO deployment_event (deployment_id, revision, type, deployment, time, message)"
        " SELECT deployment_id, 100, 'UPDATED', deployment, time, 'by hand' FROM deployment_event"
        " WHERE deployment_id = %s AND revision = 1",
        (deployment.id,),
    )


async def test_nothing_is_passed_over_when_transactions_commit_in_another_order_than_they_began(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older transaction commits later. The last lines show that a reader in plain order would lose its event."""
    db = server.app.db
    if db.engine == "sqlite":
        return  # one transaction at a time
    monkeypatch.setitem(hub.POLL, "postgresql", 0.1)
    old, young = await make_in(server, "READY"), await make_in(server, "READY")
    watcher = await Watcher(server.admin).begun()
    begin = feeding.read_cursor(watcher.cursor)[1]
    with db.writes.connect() as first, db.writes.connect() as second:
        _insert(first, old)  # takes its number
        _insert(second, young)
        await asyncio.to_thread(second.commit)
        await asyncio.sleep(0.3)  # several looks
        (seen_in_plain_order,) = await db.read(feed_store.events_since, begin, 10)
        assert (str(seen_in_plain_order.deployment_id), seen_in_plain_order.is_settled) == (young.id, False)
        await asyncio.to_thread(first.commit)
    assert [(await watcher.read()).deployment_id for _ in range(2)] == [old.id, young.id]
    watcher.call.cancel()
    assert not await db.read(feed_store.events_since, feed_store.place_of(seen_in_plain_order), 10)


async def test_nothing_is_lost_or_repeated_while_many_write(server: RunningServer) -> None:
    watchers = [await Watcher(server.admin).begun() for _ in range(3)]
    made = await asyncio.gather(*(make_in(server, "SUCCEEDED") for _ in range(12)))
    last = await make_in(server, "CANCELLED")
    expected = sorted(await _history(server, *made, last))
    orders = [await watcher.until(last.id, "CANCELLED") for watcher in watchers]
    assert sorted(orders[0]) == expected
    assert orders[0] == orders[1] == orders[2]
    for deployment in made:
        assert [revision for found, revision in orders[0] if found == deployment.id] == [1, 2, 3]
    for watcher in watchers:
        watcher.call.cancel()


async def test_one_reader_reads_for_all_and_by_the_index(server: RunningServer) -> None:
    db, seen = server.app.db, list[tuple[str, Any]]()
    watchers = [await Watcher(server.admin).begun() for _ in range(20)]

    def before(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if "is_settled" in statement:
            seen.append((statement, parameters))

    sqlalchemy_event.listen(db.reads, "before_cursor_execute", before)
    deployment = await make_in(server, "READY")
    for watcher in watchers:
        assert await watcher.until(deployment.id, "CREATED") == [(deployment.id, 1)]
        watcher.call.cancel()
    sqlalchemy_event.remove(db.reads, "before_cursor_execute", before)
    assert 1 <= len(seen) < len(watchers), len(seen)
    with db.reads.connect() as connection:
        explain = "explain query plan " if db.engine == "sqlite" else "explain "
        if db.engine == "postgresql":
            connection.exec_driver_sql("set enable_seqscan = off")  # the table is small
            connection.exec_driver_sql("set enable_sort = off")
        plan = str(connection.exec_driver_sql(explain + seen[0][0], seen[0][1]).all())
        if db.engine == "postgresql":
            connection.exec_driver_sql("reset all")
    assert "ix_deployment_event_feed" in plan, plan


def test_places_follow_each_other_by_transaction_first() -> None:
    low, high = UUID(int=1), UUID(int=2)
    ordered = [FeedPlace(1, high, 9), FeedPlace(2, low, 1), FeedPlace(2, low, 2), FeedPlace(2, high, 1)]
    assert sorted([ordered[2], ordered[3], ordered[0], ordered[1]]) == ordered
