from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select

from relman_client.v1 import catalog_pb2, common_pb2, deployment_pb2
from relman_client.v1 import incident_pb2 as pb
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading
from tests.deployments.steps import complete, start
from tests.factories import Caller, RunningServer, make_deployment, make_environment, make_service, refused

ERROR, CRITICAL = common_pb2.SEVERITY_ERROR, common_pb2.SEVERITY_CRITICAL
UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"


def ago(**span: float) -> Timestamp:
    """Return a time so long ago; of a negative span, one to come."""
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC) - timedelta(**span))
    return moment


async def make_incident(caller: Caller, **fields: Any) -> pb.Incident:
    fields.setdefault("title", "Nobody can pay")
    return await caller.incidents.CreateIncident(pb.CreateIncidentRequest(**fields))


async def _update(server: RunningServer, incident: pb.Incident, **fields: Any) -> pb.Incident:
    return await server.admin.incidents.UpdateIncident(pb.UpdateIncidentRequest(incident=incident.id, **fields))


async def _place(server: RunningServer) -> dict[str, str]:
    environment = await make_environment(server.admin)
    return {"service": (await make_service(server.admin)).name, "environment": environment.name}


async def _titles(server: RunningServer, **filters: Any) -> list[str]:
    listed = await server.admin.incidents.ListIncidents(pb.ListIncidentsRequest(**filters))
    return [incident.title for incident in listed.incidents]


async def test_an_incident_is_read_as_it_was_written(server: RunningServer) -> None:
    place, noticed = await _place(server), ago(minutes=5)
    created = await make_incident(
        server.admin, **place, severity=CRITICAL, detected_at=noticed, external_url="https://status.example.com/42"
    )
    assert created == await server.admin.incidents.GetIncident(pb.GetIncidentRequest(incident=created.id))
    assert (created.service_name, created.environment_name) == (place["service"], place["environment"])
    assert (created.title, created.severity, created.detected_at) == ("Nobody can pay", CRITICAL, noticed)
    assert (created.deployment_id, created.HasField("resolved_at")) == ("", False)
    assert created.created_by == str(server.admin.user_id)


async def test_what_is_not_said_is_an_error_that_was_noticed_now(server: RunningServer) -> None:
    created = await make_incident(server.admin, **await _place(server))
    assert (created.severity, created.detected_at) == (ERROR, created.created_at)


async def test_an_incident_is_of_the_service_and_environment_of_its_deployment(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin)
    created = await make_incident(server.admin, deployment=deployment.id)
    assert created.deployment_id == deployment.id
    assert (created.service_id, created.environment_id) == (deployment.service_id, deployment.environment_id)


async def test_a_deployment_of_another_service_or_environment_is_refused(server: RunningServer) -> None:
    deployment, place = await make_deployment(server.admin, server.admin), await _place(server)
    refusal = await refused(make_incident(server.admin, deployment=deployment.id, **place))
    assert set(refusal.violations) == {"service", "environment"}
    elsewhere = await make_incident(server.admin, **place)
    refusal = await refused(_update(server, elsewhere, deployment=deployment.id))
    assert set(refusal.violations) == {"deployment"}


async def test_without_a_deployment_service_and_environment_are_required(server: RunningServer) -> None:
    assert set((await refused(make_incident(server.admin))).violations) == {"service", "environment"}


@pytest.mark.parametrize("url", ["ftp://example.com", "javascript:alert(1)", "https://", "https://me:word@example.com"])
async def test_a_url_is_of_the_web_and_without_a_password(server: RunningServer, url: str) -> None:
    refusal = await refused(make_incident(server.admin, **await _place(server), external_url=url))
    assert set(refusal.violations) == {"external_url"}


async def test_an_incident_is_linked_and_the_link_taken_away(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin)
    incident = await make_incident(server.admin, service=deployment.service_name, environment=deployment.environment_id)
    assert (await _update(server, incident, deployment=deployment.id)).deployment_id == deployment.id
    assert (await _update(server, incident, deployment="")).deployment_id == ""


async def test_an_incident_ends_once(server: RunningServer) -> None:
    incident = await make_incident(server.admin, **await _place(server), detected_at=ago(hours=1))
    request, end = pb.ResolveIncidentRequest(incident=incident.id, etag=incident.etag), ago(minutes=10)
    request.resolved_at.CopyFrom(end)
    resolved = await server.admin.incidents.ResolveIncident(request)
    assert (resolved.resolved_at, resolved.etag != incident.etag) == (end, True)
    again = await refused(server.admin.incidents.ResolveIncident(pb.ResolveIncidentRequest(incident=incident.id)))
    assert (again.code, again.info.metadata["state"]) == (grpc.StatusCode.FAILED_PRECONDITION, "RESOLVED")
    assert (await refused(server.admin.incidents.ResolveIncident(request))).reason == "STALE_ETAG"


async def test_a_correction_may_open_an_incident_again(server: RunningServer) -> None:
    incident = await make_incident(server.admin, **await _place(server))
    await server.admin.incidents.ResolveIncident(pb.ResolveIncidentRequest(incident=incident.id))
    opened = await _update(server, incident, update_mask=FieldMask(paths=["resolved_at"]))
    assert not opened.HasField("resolved_at")


async def test_an_incident_begins_before_it_ends_and_neither_is_to_come(server: RunningServer) -> None:
    place = await _place(server)
    refusal = await refused(make_incident(server.admin, **place, detected_at=ago(hours=-1)))
    assert set(refusal.violations) == {"detected_at"}
    incident = await make_incident(server.admin, **place, detected_at=ago(hours=1))
    for wrong in (ago(hours=2), ago(hours=-1)):
        assert set((await refused(_update(server, incident, resolved_at=wrong))).violations) == {"resolved_at"}
    await _update(server, incident, resolved_at=ago(minutes=30))
    assert set((await refused(_update(server, incident, detected_at=ago(minutes=20)))).violations) == {"resolved_at"}


async def test_incidents_are_filtered_and_ordered_by_how_serious_they_are(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin)
    place = {"service": deployment.service_name, "environment": deployment.environment_name}
    for title, severity, hours in (("a", CRITICAL, 3), ("b", common_pb2.SEVERITY_INFO, 2), ("c", ERROR, 1)):
        await make_incident(server.admin, **place, title=title, severity=severity, detected_at=ago(hours=hours))
    linked = await make_incident(server.admin, deployment=deployment.id, title="d")
    await server.admin.incidents.ResolveIncident(pb.ResolveIncidentRequest(incident=linked.id))
    service = {"service": deployment.service_name}
    assert await _titles(server, **service) == ["d", "c", "b", "a"]
    assert (await _titles(server, **service, order_by="severity desc"))[0] == "a"
    assert await _titles(server, **service, order_by="severity") == ["b", "c", "d", "a"]
    assert await _titles(server, **service, open=True, order_by="detected_at") == ["a", "b", "c"]
    assert await _titles(server, **service, linked=True) == await _titles(server, deployment=deployment.id) == ["d"]
    assert await _titles(server, **service, severity=CRITICAL) == ["a"]
    assert await _titles(server, **place, start_date=ago(minutes=150), end_date=ago(minutes=90)) == ["b"]
    assert (await refused(_titles(server, service="ghosts"))).code == grpc.StatusCode.NOT_FOUND


async def test_pages_ordered_by_severity_follow_each_other(server: RunningServer) -> None:
    place = await _place(server)
    for number in range(3):
        await make_incident(server.admin, **place, title=str(number))
    first = pb.ListIncidentsRequest(service=place["service"], page_size=2, order_by="severity")
    page = await server.admin.incidents.ListIncidents(first)
    first.page_token = page.next_page_token
    rest = await server.admin.incidents.ListIncidents(first)
    assert sorted(incident.title for incident in (*page.incidents, *rest.incidents)) == ["0", "1", "2"]


async def test_only_those_who_work_on_the_service_write_incidents_and_all_read_them(server: RunningServer) -> None:
    ann, place = await server.user(), await _place(server)
    incident = await make_incident(server.admin, **place)
    for call in (
        make_incident(ann, **place),
        ann.incidents.UpdateIncident(pb.UpdateIncidentRequest(incident=incident.id, title="Fine")),
        ann.incidents.ResolveIncident(pb.ResolveIncidentRequest(incident=incident.id)),
    ):
        assert (await refused(call)).code == grpc.StatusCode.PERMISSION_DENIED
    assert await ann.incidents.GetIncident(pb.GetIncidentRequest(incident=incident.id)) == incident


async def test_what_an_incident_speaks_of_stays(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin)
    await complete(server.admin, await start(server.admin, deployment))
    await make_incident(server.admin, deployment=deployment.id)
    delete = deployment_pb2.DeleteDeploymentRequest(deployment=deployment.id)
    assert (
        await refused(server.admin.deployments.DeleteDeployment(delete))
    ).code == grpc.StatusCode.FAILED_PRECONDITION


async def test_the_health_of_a_service_counts_what_is_open(server: RunningServer) -> None:
    deployment = await make_deployment(server.admin, server.admin)
    await complete(server.admin, await start(server.admin, deployment))
    there = {"service": deployment.service_name, "environment": deployment.environment_name}
    incidents = [await make_incident(server.admin, **there) for _ in range(2)]

    async def health() -> tuple[str, int]:
        asked = catalog_pb2.GetServiceHealthRequest(service=deployment.service_name)
        found = await server.admin.catalog.GetServiceHealth(asked)
        by_name = {each.environment_name: each for each in found.environments}
        here = by_name[deployment.environment_name]
        return common_pb2.HealthStatus.Name(here.status).removeprefix("HEALTH_STATUS_"), here.open_incidents

    assert await health() == ("DEGRADED", 2)
    for incident in incidents:
        await server.admin.incidents.ResolveIncident(pb.ResolveIncidentRequest(incident=incident.id))
    assert await health() == ("HEALTHY", 0)


async def test_the_audit_log_says_what_became_of_an_incident(server: RunningServer) -> None:
    incident = await make_incident(server.admin, **await _place(server))
    await _update(server, incident, severity=CRITICAL)
    await server.admin.incidents.ResolveIncident(pb.ResolveIncidentRequest(incident=incident.id))
    entries = await server.app.db.read(_audited, incident.id)
    assert [entry.action for entry in entries] == ["incident.create", "incident.update", "incident.resolve"]
    assert entries[1].details["changes"]["severity"] == ["ERROR", "CRITICAL"]


def _audited(tx: Reading, incident_id: str) -> list[Any]:
    entries = select(AuditEntry.action, AuditEntry.details).where(AuditEntry.resource_id == incident_id)
    return list(tx.rows(entries.order_by(AuditEntry.created_at)))


async def test_an_unknown_incident_is_not_found(server: RunningServer) -> None:
    refusal = await refused(server.admin.incidents.GetIncident(pb.GetIncidentRequest(incident=UNKNOWN)))
    assert (refusal.code, refusal.resource.resource_type) == (grpc.StatusCode.NOT_FOUND, "incident")
