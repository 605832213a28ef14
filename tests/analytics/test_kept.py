"""What is kept for metrics while things happen is what is found of them afterwards."""

import random
import re
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from relman_client.v1 import deployment_pb2, incident_pb2, release_pb2
from relman_server.analytics import deliveries
from relman_server.analytics.model import Basis, DeliveredChange, DeliveryRoute
from relman_server.deployments.model import Deployment
from relman_server.kernel.db.transaction import Reading, Transaction
from tests.analytics.steps import HOTFIX, PRODUCTION, Delivery, change
from tests.factories import make_environment
from tests.statements import executed

Kept = tuple[Sequence[Any], Sequence[Any]]
"""The changes that arrived, with the places of their routes; and the deployments, with whether they are blamed."""

LOOK = "CAST(release.changes AS TEXT)"
"""Stands in the statement that looks a commit up in releases."""

PLACE_AND_TIME = {
    "sqlite": re.compile(r"ix_deployment_outcome \(service_id=\? AND environment_id=\? AND completed_at>\? AND comp"),
    "postgresql": re.compile(r"ix_deployment_outcome.*\n.*Index Cond: .*service_id.*environment_id.*completed_at"),
}


def _kept(tx: Reading, service_id: UUID) -> Kept:
    columns = [column for column in DeliveredChange.__table__.columns if column.name != "route_id"]
    delivered = select(*columns, DeliveryRoute.places).outerjoin_from(DeliveredChange, DeliveryRoute)
    blamed = select(Deployment.id, Deployment.blamed).where(Deployment.service_id == service_id)
    return (
        tx.rows(
            delivered.where(DeliveredChange.service_id == service_id).order_by(
                DeliveredChange.change_id, DeliveredChange.environment_id
            )
        ),
        tx.rows(blamed.order_by(Deployment.id)),
    )


def _before_and_after(tx: Transaction, service_id: UUID) -> tuple[Kept, Kept]:
    before = _kept(tx, service_id)
    tx.audit("deployment.import", [service_id])
    deliveries.rebuild(tx, service_id)
    return before, _kept(tx, service_id)


class Story:
    """What happens to a service by chance; the same seed makes the same story."""

    def __init__(self, delivery: Delivery, places: Sequence[str], seed: int) -> None:
        self._delivery = delivery
        self._places = places
        self._random = random.Random(seed)
        self._releases: list[release_pb2.Release] = []
        self._made: list[deployment_pb2.Deployment] = []
        self._incidents: list[incident_pb2.Incident] = []
        self._spoken_of: set[str] = set()
        self._undone: set[str] = set()

    async def go_on(self) -> None:
        """Let one thing happen."""
        steps = {self.deploy: 10, self._hotfix: 4, self._undo: 2, self._incident: 2, self._relink: 2, self._delete: 1}
        (step,) = self._random.choices(list(steps), list(steps.values()))
        await step()

    async def compare(self) -> Kept:
        """Find everything anew, and see that it is what was kept; return it."""
        before, after = await self._delivery.server.app.db.write(_before_and_after, UUID(self._made[0].service_id))
        assert before == after
        found: Kept = after
        return found

    async def deploy(self, place: str = "", **fields: Any) -> None:
        """Deploy a release somewhere, often to success."""
        place, fails = place or self._random.choice(self._places), self._often(0.15)
        release = await self._release()
        made = await self._delivery.deploy(release, environment=place, fails=fails, impacted=fails, **fields)
        self._made.append(made)

    def _often(self, chance: float) -> bool:
        return self._random.random() < chance

    async def _release(self) -> release_pb2.Release:
        """Return a release: of few commits, listed or not, each time with another time or none."""
        if self._releases and self._often(0.3):
            return self._random.choice(self._releases)
        numbers = self._random.sample(range(1, 6), self._random.choice((0, 0, 0, 1, 2)))
        changes = [change(each, self._delivery.now - timedelta(days=self._random.random())) for each in numbers]
        for each in changes:
            if self._often(0.2):
                each.ClearField("committed_at")
        commit = f"{self._random.randrange(1, 6):040x}" if self._often(0.9) else ""
        self._releases.append(await self._delivery.release(changes, git_commit=commit))
        return self._releases[-1]

    async def _hotfix(self) -> None:
        """Repair a deployment, named by the request or by a label, where it is or elsewhere."""
        repaired = self._random.choice(self._made)
        named = {"remediates": repaired.id}
        place = repaired.environment_name if self._often(0.7) else ""
        await self.deploy(place, kind=HOTFIX, **(named if self._often(0.5) else {"labels": named}))

    async def _undo(self) -> None:
        """Roll back what runs somewhere, if another release ran there before."""
        place = self._random.choice(self._places)
        ran = [each for each in self._made if each.environment_name == place and self._is_good(each)]
        if len({each.release_id for each in ran}) > 1:
            made = await self._delivery.undo(ran[-1])
            self._made.append(made)
            self._undone.add(ran[-1].id)
            self._spoken_of |= {ran[-1].id, made.id}

    def _is_good(self, deployment: deployment_pb2.Deployment) -> bool:
        return deployment.status == deployment_pb2.DEPLOYMENT_STATUS_SUCCEEDED and deployment.id not in self._undone

    async def _incident(self) -> None:
        cause = self._random.choice(self._made)
        self._incidents.append(await self._delivery.incident(deployment=cause.id))

    async def _relink(self) -> None:
        """Link an incident to another deployment of its place, or to none."""
        if not self._incidents:
            return
        number = self._random.randrange(len(self._incidents))
        incident = self._incidents[number]
        there = [each.id for each in self._made if each.environment_name == incident.environment_name]
        to = "" if self._often(0.4) else self._random.choice(there)
        request = incident_pb2.UpdateIncidentRequest(incident=incident.id, deployment=to)
        self._incidents[number] = await self._delivery.admin.incidents.UpdateIncident(request)

    async def _delete(self) -> None:
        """Delete a deployment of which nothing speaks; compare before, for with that all is found anew."""
        await self.compare()
        linked = {incident.deployment_id for incident in self._incidents}
        free = [each for each in self._made if each.id not in linked | self._spoken_of]
        if len(free) > 1:
            gone = self._random.choice(free)
            await self._delivery.admin.deployments.DeleteDeployment(
                deployment_pb2.DeleteDeploymentRequest(deployment=gone.id)
            )
            self._made.remove(gone)


async def _places(delivery: Delivery, number: int) -> list[str]:
    more = [await make_environment(delivery.admin, environment_type=PRODUCTION) for _ in range(number - 1)]
    return [delivery.place, *(each.name for each in more)]


@pytest.mark.parametrize("seed", [3, 10])
async def test_what_is_kept_step_by_step_is_what_is_found_anew(delivery: Delivery, seed: int) -> None:
    story = Story(delivery, await _places(delivery, 3), seed)
    await story.deploy()
    for _ in range(40):
        await story.go_on()
    delivered, deployments = await story.compare()
    assert {row.basis for row in delivered} == set(Basis)
    assert {row.is_opening for row in delivered} == {row.blamed for row in deployments} == {True, False}
    assert {len(row.places.split(",")) for row in delivered if row.places} == {1, 2}


async def test_a_commit_is_as_old_as_the_first_release_says_that_lists_it_also_where_it_was_before(
    delivery: Delivery,
) -> None:
    _, elsewhere, third = await _places(delivery, 3)
    commit, made = f"{9:040x}", delivery.now - timedelta(days=3)
    for place in (delivery.place, elsewhere, third):
        await delivery.deploy(environment=place)
    await delivery.deploy(await delivery.release(git_commit=commit))
    await delivery.deploy(await delivery.release([change(9, made)]))
    await delivery.deploy(await delivery.release([change(9, made - timedelta(days=1))]), environment=third)
    known = await delivery.deploy(await delivery.release(git_commit=commit), environment=elsewhere)
    row = await delivery.server.app.db.read(_of, UUID(known.id))
    assert (row.basis, row.committed_at) == (Basis.GIT_COMMIT, made.astimezone(UTC))


def _of(tx: Reading, deployment_id: UUID) -> Any:
    columns = select(DeliveredChange.basis, DeliveredChange.committed_at)
    return tx.row(columns.where(DeliveredChange.deployment_id == deployment_id))


async def test_releases_are_looked_through_only_for_a_commit_that_arrived_unlisted(
    delivery: Delivery, engine_name: str
) -> None:
    """And by index, from when it arrived."""
    there, elsewhere = await _places(delivery, 2)
    bare = await delivery.release(git_commit="abcdef1")
    listed = await delivery.release([change(9, delivery.now)], git_commit=f"{9:040x}")
    seen: list[tuple[str, Any]] = []
    with executed(delivery.server.app.db, lambda *statement: seen.append(statement)):
        for release, place in ((listed, there), (bare, there), (bare, there), (listed, elsewhere)):
            await delivery.deploy(release, environment=place)
        assert not [each for each in seen if LOOK in each[0]]
        await delivery.deploy(bare, environment=elsewhere)
    ((statement, parameters),) = [each for each in seen if LOOK in each[0]]
    with delivery.server.app.db.reads.connect() as connection:
        if engine_name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")
            connection.exec_driver_sql("SET enable_bitmapscan = off")
        explain = "EXPLAIN " if engine_name == "postgresql" else "EXPLAIN QUERY PLAN "
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + statement, parameters))
        connection.invalidate()
    assert PLACE_AND_TIME[engine_name].search(plan), plan
