"""What the tests of metrics do all the time: deploy, let time pass, and ask."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from relman_client.v1 import analytics_pb2 as pb
from relman_client.v1 import deployment_pb2, environment_pb2, incident_pb2, release_pb2, rollback_pb2
from relman_server.auth.tokens import ACCESS_TTL
from relman_server.kernel.identity import Identity
from relman_server.kernel.rpc.writing import timestamp
from tests.conftest import MovableClock
from tests.deployments.steps import FAILED, SUCCEEDED, complete, start
from tests.factories import Caller, RunningServer, make_deployment, make_environment, make_release, make_service, unique

HOTFIX = deployment_pb2.DEPLOYMENT_KIND_HOTFIX
PRODUCTION = environment_pb2.ENVIRONMENT_TYPE_PRODUCTION
STAGING = environment_pb2.ENVIRONMENT_TYPE_STAGING


class Delivery:
    """A service and a production environment of its own, whose days a test lets pass."""

    def __init__(self, server: RunningServer, clock: MovableClock) -> None:
        self.server = server
        self.clock = clock

    @property
    def admin(self) -> Caller:
        """An admin, with a token of the hour."""
        return self.server.admin

    async def prepare(self, kind: environment_pb2.EnvironmentType.ValueType = PRODUCTION) -> "Delivery":
        """Make them."""
        self.service = (await make_service(self.admin)).name
        self.place = (await make_environment(self.admin, name=unique("place"), environment_type=kind)).name
        return self

    async def release(self, changes: Sequence[release_pb2.Change] = (), **fields: Any) -> release_pb2.Release:
        """Publish a release."""
        return await make_release(self.admin, service=self.service, changes=changes, **fields)

    async def deploy(
        self, release: release_pb2.Release | None = None, *, fails: bool = False, impacted: bool = False, **fields: Any
    ) -> deployment_pb2.Deployment:
        """Deploy a release, a new one unless it is named, to its end."""
        wanted = (release or await self.release()).id
        fields.setdefault("environment", self.place)
        made = await make_deployment(self.admin, self.admin, release=wanted, **fields)
        await start(self.admin, made)
        self.wait(minutes=5)
        outcome = FAILED if fails else SUCCEEDED
        return await complete(self.admin, made, outcome, production_impacted=impacted)

    async def hotfix(self, repaired: deployment_pb2.Deployment, **fields: Any) -> deployment_pb2.Deployment:
        """Repair a deployment."""
        return await self.deploy(kind=HOTFIX, remediates=repaired.id, **fields)

    async def undo(self, undone: deployment_pb2.Deployment) -> deployment_pb2.Deployment:
        """Roll a deployment back; return the one that did it."""
        request = rollback_pb2.CreateRollbackRequest(deployment=undone.id, quarantine=False)
        rollback = await self.admin.rollbacks.CreateRollback(request)
        made = await self.admin.deployments.GetDeployment(
            deployment_pb2.GetDeploymentRequest(deployment=rollback.rollback_deployment_id)
        )
        await start(self.admin, made)
        self.wait(minutes=5)
        return await complete(self.admin, made)

    async def incident(self, **fields: Any) -> incident_pb2.Incident:
        """Record an incident, linked to a deployment if one is named."""
        if "deployment" not in fields:
            fields |= {"service": self.service, "environment": self.place}
        request = incident_pb2.CreateIncidentRequest(title="Slow", **fields)
        found: incident_pb2.Incident = await self.admin.incidents.CreateIncident(request)
        return found

    async def resolve(self, incident: incident_pb2.Incident) -> incident_pb2.Incident:
        """End an incident."""
        request = incident_pb2.ResolveIncidentRequest(incident=incident.id)
        found: incident_pb2.Incident = await self.admin.incidents.ResolveIncident(request)
        return found

    def wait(self, **span: float) -> None:
        """Let time pass, more than tokens last."""
        self.clock.advance(timedelta(**span))
        admin = self.server.admin
        assert admin.user_id is not None
        until = self.clock.now() + ACCESS_TTL
        self.server.admin = self.server.caller(Identity(admin.user_id, admin.username, 1, until, is_admin=True))

    @property
    def now(self) -> datetime:
        """The time."""
        return self.clock.now()

    def question(self, **fields: Any) -> dict[str, Any]:
        """Fields of a question about the service: of the last 30 days."""
        return {"services": [self.service], "end_date": timestamp(self.now + timedelta(seconds=1))} | fields

    async def summary(self, **fields: Any) -> pb.MetricsSummary:
        """Ask for the metrics."""
        asked = pb.GetMetricsSummaryRequest(**self.question(**fields))
        found: pb.MetricsSummary = await self.admin.analytics.GetMetricsSummary(asked)
        return found


def change(number: int, committed_at: datetime) -> release_pb2.Change:
    """Return a commit, made at a time."""
    return release_pb2.Change(commit=f"{number:040x}", committed_at=timestamp(committed_at))


def band(metric: pb.Metric) -> str:
    """Return a band without its prefix."""
    return pb.Band.Name(metric.band).removeprefix("BAND_")


def seconds(start: deployment_pb2.Deployment, end: deployment_pb2.Deployment) -> float:
    """Return the time between the ends of two deployments."""
    return (end.completed_at.ToDatetime() - start.completed_at.ToDatetime()).total_seconds()
