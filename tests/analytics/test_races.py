"""What is kept for metrics is right whatever happens at the same moment."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from relman_client.v1 import deployment_pb2, incident_pb2
from relman_server.analytics import deliveries
from relman_server.analytics.model import DeliveredChange
from relman_server.catalog.model import Service
from relman_server.incidents import logic as incidents
from relman_server.kernel.db.transaction import Reading
from tests.analytics.steps import Delivery, change
from tests.deployments.steps import SUCCEEDED, complete, start
from tests.factories import make_deployment
from tests.statements import statements

PATIENCE = 0.5
"""Seconds in which what does not wait for a lock is over."""


async def _while_held(
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[object, str],
    first: Callable[[], Awaitable[Any]],
    second: Callable[[], Awaitable[Any]],
) -> None:
    """Let a second call run while the transaction of the first stands still after the function it calls."""
    original, held, goes_on = getattr(*where), threading.Event(), threading.Event()

    def hold(*args: Any) -> Any:
        found = original(*args)
        if not held.is_set():
            held.set()
            goes_on.wait(10)
        return found

    monkeypatch.setattr(*where, hold)
    one = asyncio.ensure_future(_awaited(first))
    await asyncio.to_thread(held.wait, 10)
    other = asyncio.ensure_future(_awaited(second))
    await asyncio.wait([other], timeout=PATIENCE)
    goes_on.set()
    await asyncio.gather(one, other)


async def _awaited(call: Callable[[], Awaitable[Any]]) -> None:
    await call()


def _delete(delivery: Delivery, deployment: Any) -> Callable[[], Awaitable[Any]]:
    request = deployment_pb2.DeleteDeploymentRequest(deployment=deployment.id)
    return lambda: delivery.admin.deployments.DeleteDeployment(request)


async def test_an_incident_that_is_linked_while_another_is_taken_away_counts(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = await delivery.deploy()
    await delivery.deploy()
    incident = await delivery.incident(deployment=bad.id)
    unlink = incident_pb2.UpdateIncidentRequest(incident=incident.id, deployment="")
    await _while_held(
        monkeypatch,
        (incidents, "_judge"),
        lambda: delivery.admin.incidents.UpdateIncident(unlink),
        lambda: delivery.incident(deployment=bad.id),
    )
    assert (await delivery.summary()).change_failure_rate.value == 0.5


async def test_two_deployments_that_are_deleted_do_not_meet(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = await delivery.release()
    _, *again = [await delivery.deploy(release) for _ in range(3)]  # which brought nothing new
    one, other = (_delete(delivery, each) for each in again)
    await _while_held(monkeypatch, (deliveries, "_find_anew"), one, other)
    assert (await delivery.summary()).deployment_frequency.sample_size == 1


async def test_what_brought_nothing_is_deleted_without_finding_anything_anew(delivery: Delivery) -> None:
    """Or everyone else's writes would wait for a whole service."""
    await delivery.deploy()
    failed = await delivery.deploy(fails=True)
    with statements(delivery.server.app.db) as seen:
        await _delete(delivery, failed)()
    assert not [statement for statement in seen if statement.startswith("DELETE FROM delivered_change")]


async def test_a_change_is_not_lost_when_what_brought_it_first_is_deleted_as_it_comes_again(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    await delivery.deploy()
    said = change(7, delivery.now - timedelta(hours=1))
    first = await delivery.deploy(await delivery.release([said]))
    again = await delivery.release([said])
    made = await make_deployment(delivery.admin, delivery.admin, release=again.id, environment=delivery.place)
    await start(delivery.admin, made)
    await _while_held(
        monkeypatch,
        (deliveries, "_find_anew"),
        _delete(delivery, first),
        lambda: complete(delivery.admin, made, SUCCEEDED),
    )

    def brought_by(tx: Reading) -> list[str]:
        of_service = select(Service.id).where(Service.name == delivery.service).scalar_subquery()
        key = deliveries.change_id(tx.scalar(select(of_service)), said.commit)
        rows = tx.rows(select(DeliveredChange.deployment_id).where(DeliveredChange.change_id == key))
        return [str(row.deployment_id) for row in rows]

    assert await delivery.server.app.db.read(brought_by) == [made.id]
