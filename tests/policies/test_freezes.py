"""Which policies hold for a deployment: what its gate asks."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import event

from relman_client.v1 import policy_pb2 as pb
from relman_server.kernel.db.transaction import Reading
from relman_server.policies import store
from relman_server.policies.store import Pair
from relman_server.policies.windows import Freeze, OneTime, Weekly, Windows, open_until
from tests.factories import RunningServer, make_environment, make_policy, make_service

WEEKEND = pb.WeeklyWindow(
    days=[pb.DAY_OF_WEEK_SATURDAY, pb.DAY_OF_WEEK_SUNDAY], start="18:00", end="06:00", time_zone="Europe/Berlin"
)


def _names(tx: Reading, pairs: list[Pair]) -> dict[Pair, list[str]]:
    return {pair: [policy.name for policy in found] for pair, found in store.freezes_for(tx, pairs).items()}


async def test_a_policy_holds_for_what_it_names_and_for_all_when_it_names_none(server: RunningServer) -> None:
    services = [await make_service(server.admin) for _ in range(3)]
    environments = [await make_environment(server.admin) for _ in range(2)]
    (one, two, _), (here, there) = [each.name for each in services], [each.name for each in environments]
    for name, of, to in (
        ("all", [], []),
        ("both", [one, two], [here, there]),
        ("here", [], [here]),
        ("one", [one], []),
        ("two-there", [two], [there]),
    ):
        await make_policy(server.admin, name=name, services=of, environments=to)
    await make_policy(server.admin, name="off", is_active=False)
    pairs = {
        (service.name, environment.name): (UUID(service.id), UUID(environment.id))
        for service in services
        for environment in environments
    }
    found = await server.app.db.read(_names, list(pairs.values()))
    assert {key: found[pair] for key, pair in pairs.items()} == {
        (one, here): ["all", "both", "here", "one"],
        (one, there): ["all", "both", "one"],
        (two, here): ["all", "both", "here"],
        (two, there): ["all", "both", "two-there"],
        (services[2].name, here): ["all", "here"],
        (services[2].name, there): ["all"],
    }
    for pair, names in found.items():
        alone = await server.app.db.read(store.freezes, *pair)
        assert [policy.name for policy in alone] == names


async def test_however_many_are_asked_for_it_is_one_statement(own_server: RunningServer) -> None:
    service, environment = await make_service(own_server.admin), await make_environment(own_server.admin)
    for _ in range(3):
        await make_policy(own_server.admin, services=[service.name])
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    other = await make_service(own_server.admin)
    pairs = [(UUID(each.id), UUID(environment.id)) for each in (service, other)]
    event.listen(own_server.app.db.reads, "before_cursor_execute", note)
    found = await own_server.app.db.read(store.freezes_for, pairs)
    assert [len(found[pair]) for pair in pairs] == [3, 0]
    assert len([statement for statement in seen if "deploy_policy" in statement]) == 1


async def test_nothing_asked_for_is_nothing_found(server: RunningServer) -> None:
    assert await server.app.db.read(store.freezes_for, []) == {}


async def test_the_windows_of_a_policy_come_back_as_they_were_said(own_server: RunningServer) -> None:
    once = pb.OneTimeWindow()
    once.start.FromJsonString("2026-07-01T00:00:00Z")
    once.end.FromJsonString("2026-07-02T02:00:00+02:00")
    created = await make_policy(own_server.admin, weekly_windows=[WEEKEND], one_time_windows=[once])
    service, environment = await make_service(own_server.admin), await make_environment(own_server.admin)
    (policy,) = await own_server.app.db.read(store.freezes, UUID(service.id), UUID(environment.id))
    assert (policy.id, policy.name) == (UUID(created.id), created.name)
    assert policy.windows == Windows(
        (Weekly((5, 6), 18 * 60, 30 * 60, "Europe/Berlin"),),
        (OneTime(datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 2, tzinfo=UTC)),),
    )
    assert open_until(policy.windows, datetime(2026, 6, 6, 15, 59, tzinfo=UTC)) is None
    night = open_until(policy.windows, datetime(2026, 6, 6, 16, 0, tzinfo=UTC))
    assert night == Freeze(datetime(2026, 6, 7, 4, 0, tzinfo=UTC))
