"""Histories into the database, as rows: by RPC they would take minutes, and the machine's clock gives the times."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert

from relman_server.analytics import deliveries
from relman_server.catalog.model import Service
from relman_server.deployments.model import Deployment
from relman_server.incidents.model import Incident
from relman_server.kernel.db.transaction import Transaction
from relman_server.kernel.ids import new_id
from relman_server.releases.model import Release
from relman_server.rollbacks.model import Rollback
from tests.analytics import histories
from tests.analytics.histories import History
from tests.factories import RunningServer

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def write(server: RunningServer, told: Iterable[History], places: dict[str, UUID]) -> dict[str, UUID]:
    """Write histories; return the ids of their services by name.

    Args:
        server: Whose database.
        told: What happened.
        places: Ids of the environments, by name.
    """
    services = {name: new_id() for history in told for name in history.services}
    assert server.admin.user_id is not None
    with server.app.db.writes.begin() as connection:
        rows = Rows(connection, server.admin.user_id, services, places)
        rows.services()
        for history in told:
            rows.history(history)
    await server.app.db.write(_deliver, list(services.values()))
    return services


def _deliver(tx: Transaction, services: list[UUID]) -> None:
    tx.audit("deployment.import", services)
    for service in services:
        deliveries.rebuild(tx, service)


class Rows:
    """Writes rows."""

    def __init__(self, connection: Connection, owner: UUID, services: dict[str, UUID], places: dict[str, UUID]) -> None:
        self._connection = connection
        self._owner = owner
        self._services = services
        self._places = places

    def _insert(self, model: Any, rows: list[dict[str, Any]]) -> None:
        common = {"created_at": LONG_AGO, "updated_at": LONG_AGO, "row_version": 1}
        if rows:
            self._connection.execute(insert(model), [common | row for row in rows])

    def services(self) -> None:
        """Write the services."""
        texts = {"description": "", "repository_url": "", "slack_channel": ""}
        rows = [
            {"id": key, "name": name, "owner_id": self._owner, "is_active": True, **texts}
            for name, key in self._services.items()
        ]
        self._insert(Service, rows)

    def history(self, history: History) -> None:
        """Write what happened."""
        self._insert(Release, [self._release(each) for each in history.releases])
        self._insert(Deployment, [self._deployment(each) for each in history.deployments])
        self._insert(Incident, [self._incident(each) for each in history.incidents])
        by_id = {each.id: each for each in history.deployments}
        self._insert(Rollback, [self._rollback(each, by_id[each.made]) for each in history.rollbacks])

    def _release(self, release: histories.Release) -> dict[str, Any]:
        changes = [
            {
                "commit": change.commit,
                "author": "",
                "title": "",
                "committed_at": change.committed_at.isoformat() if change.committed_at else None,
            }
            for change in release.changes
        ]
        return {
            "id": release.id,
            "service_id": self._services[release.service],
            "version": release.version,
            "status": "PUBLISHED",
            "release_notes": "",
            "git_commit": release.git_commit,
            "changes": changes,
            "quarantine_reason": "",
            "created_at": release.created_at,
        }

    def _deployment(self, each: histories.Deployment) -> dict[str, Any]:
        return {
            "id": each.id,
            "release_id": each.release.id,
            "service_id": self._services[each.service],
            "environment_id": self._places[each.place],
            "status": "ROLLED_BACK" if each.rolled_back else each.outcome or "CANCELLED",
            "kind": each.kind,
            "outcome": each.outcome,
            "remediates": each.remediates,
            "failure_reason": "",
            "production_impacted": each.impacted,
            "blockers": [],
            "revision": 1,
            "completed_at": each.completed_at,
            "labels": {},
            "hotfix_reason": "",
        }

    def _incident(self, incident: histories.Incident) -> dict[str, Any]:
        return {
            "id": new_id(),
            "service_id": self._services[incident.service],
            "environment_id": self._places[incident.place],
            "deployment_id": incident.deployment,
            "title": "It went wrong",
            "severity": "ERROR",
            "detected_at": incident.detected_at,
            "resolved_at": incident.resolved_at,
            "external_url": "",
        }

    def _rollback(self, rollback: histories.Rollback, made: histories.Deployment) -> dict[str, Any]:
        return {
            "id": new_id(),
            "deployment_id": rollback.undone,
            "rollback_deployment_id": rollback.made,
            "target_release_id": made.release.id,
            "service_id": self._services[made.service],
            "environment_id": self._places[made.place],
            "reason": "",
            "quarantine": False,
            "status": "SUCCEEDED" if rollback.succeeded else "FAILED",
        }
