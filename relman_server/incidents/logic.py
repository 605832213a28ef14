"""Rules of incidents: what they are of, when they began and ended, and which deployment caused them."""

from datetime import datetime
from uuid import UUID

from relman_server.catalog import logic as catalog
from relman_server.deployments import store as deployments
from relman_server.environments import store as environments
from relman_server.incidents import blame, store
from relman_server.incidents.inputs import IncidentChange, NewIncident, Resolution
from relman_server.incidents.model import Incident
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import InvalidInput, Violation, wrong_state


def create_incident(tx: Transaction, new: NewIncident) -> Record:
    """Record an incident.

    Raises NotFound, PermissionDenied for someone outside the service's team, and InvalidInput for a deployment of
    another service or environment, and for a time to come.
    """
    service_id, environment_id = _place(tx, new)
    detected_at = new.detected_at or tx.now
    _require_order(tx, detected_at, None)
    incident = Incident(
        service_id=service_id,
        environment_id=environment_id,
        deployment_id=new.deployment,
        title=new.title,
        severity=new.severity,
        detected_at=detected_at,
        resolved_at=None,
        external_url=new.external_url,
        created_by=tx.caller.user_id,
    )
    tx.add(incident)
    tx.audit("incident.create", incident)
    _judge(tx, None, incident.deployment_id)
    return store.get_incident_by_id(tx, incident.id)


def _place(tx: Transaction, new: NewIncident) -> tuple[UUID, UUID]:
    """Return the service and the environment: those of the deployment where there is one."""
    cause = deployments.get_deployment_by_id(tx, new.deployment) if new.deployment else None
    missing = [
        Violation(name, "is required unless deployment is given")
        for name in ("service", "environment")
        if cause is None and getattr(new, name) is None
    ]
    if missing:
        raise InvalidInput(*missing)
    service = catalog.require_service(tx, new.service or str(cause.service_id if cause else ""))
    catalog.require_team(tx.caller, service)
    environment_id = environments.environment_id(tx, new.environment) if new.environment else None
    if cause is None:
        assert environment_id is not None
        return service.id, environment_id
    _require_same(cause, service.id, environment_id or cause.environment_id)
    return cause.service_id, cause.environment_id


def _require_same(cause: Record, service_id: UUID, environment_id: UUID) -> None:
    wrong = [
        Violation(name, f"must be that of the deployment, {there}")
        for name, found, expected, there in (
            ("service", service_id, cause.service_id, cause.service_name),
            ("environment", environment_id, cause.environment_id, cause.environment_name),
        )
        if found != expected
    ]
    if wrong:
        raise InvalidInput(*wrong)


def update_incident(tx: Transaction, change: IncidentChange) -> Record:
    """Change an incident: link it to what caused it, correct its times, open it again.

    Raises NotFound, PermissionDenied for someone outside the service's team, Aborted for a stale etag, and InvalidInput
    for a deployment of another service or environment, and for times to come or in the wrong order.
    """
    incident = _lock(tx, change.incident, change.etag)
    wanted = change.wanted()
    before = incident.deployment_id
    if "deployment" in wanted:
        wanted["deployment_id"] = _cause(tx, incident, wanted.pop("deployment"))
    for name, value in wanted.items():
        setattr(incident, name, value)
    _require_order(tx, incident.detected_at, incident.resolved_at)
    tx.flush()
    tx.audit("incident.update", incident)
    _judge(tx, before, incident.deployment_id)
    return store.get_incident_by_id(tx, incident.id)


def _judge(tx: Transaction, before: UUID | None, after: UUID | None) -> None:
    """Blame the deployment that an incident is linked to now, and look again at the one that it was linked to."""
    changed = {before, after} - {None} if before != after else set()
    if changed:
        blame.judge(tx, [each for each in changed if each])


def _cause(tx: Reading, incident: Incident, deployment_id: UUID | None) -> UUID | None:
    if deployment_id is None:
        return None
    cause = deployments.get_deployment_by_id(tx, deployment_id)
    if (cause.service_id, cause.environment_id) != (incident.service_id, incident.environment_id):
        there = f"{cause.service_name} into {cause.environment_name}"
        raise InvalidInput(
            Violation("deployment", f"must be of the incident's own service and environment; it is of {there}")
        )
    return deployment_id


def resolve_incident(tx: Transaction, resolution: Resolution) -> Record:
    """End an incident.

    Raises NotFound, PermissionDenied for someone outside the service's team, Aborted for a stale etag, InvalidInput for
    a time to come or before it began, and FailedPrecondition when it has ended.
    """
    incident = _lock(tx, resolution.incident, resolution.etag)
    if incident.resolved_at is not None:
        message = f"It was resolved at {incident.resolved_at:%Y-%m-%d %H:%M:%S} UTC; update it to correct that."
        raise wrong_state(str(incident.id), "RESOLVED", message)
    incident.resolved_at = resolution.resolved_at or tx.now
    _require_order(tx, incident.detected_at, incident.resolved_at)
    tx.flush()
    tx.audit("incident.resolve", incident)
    return store.get_incident_by_id(tx, incident.id)


def _lock(tx: Transaction, reference: str, etag: str) -> Incident:
    found = store.lock_incident(tx, reference)
    catalog.require_team(tx.caller, found)
    incident: Incident = found.Incident
    tx.match_etag(incident, etag)
    return incident


def _require_order(tx: Reading, detected_at: datetime, resolved_at: datetime | None) -> None:
    wrong = []
    if detected_at > tx.now:
        wrong.append(Violation("detected_at", "must not be in the future"))
    if resolved_at is not None and resolved_at > tx.now:
        wrong.append(Violation("resolved_at", "must not be in the future"))
    if resolved_at is not None and resolved_at < detected_at:
        wrong.append(Violation("resolved_at", "must not be before detected_at"))
    if wrong:
        raise InvalidInput(*wrong)
