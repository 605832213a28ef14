"""What the tests of rollbacks do all the time."""

from typing import Any

from relman_client.v1 import deployment_pb2, environment_pb2, release_pb2
from relman_client.v1 import rollback_pb2 as pb
from tests.deployments.steps import PRODUCTION, complete, deploy, get, start
from tests.factories import RunningServer, make_environment, make_release, make_service


class Scene:
    """A service in an environment, where its releases came one after the other.

    Attributes:
        server: Where.
        service: Its name.
        environment: Where it runs.
        releases: Its releases by version.
        deployments: How each came there, by version.
    """

    def __init__(self, server: RunningServer, service: str, environment: environment_pb2.Environment) -> None:
        self.server = server
        self.service = service
        self.environment = environment
        self.releases: dict[str, release_pb2.Release] = {}
        self.deployments: dict[str, deployment_pb2.Deployment] = {}

    async def release(self, version: str) -> release_pb2.Release:
        """Publish a release."""
        made = await make_release(self.server.admin, service=self.service, version=version)
        self.releases[version] = made
        return made

    async def ship(self, version: str, **fields: Any) -> deployment_pb2.Deployment:
        """Publish a release and carry it there, to whatever end."""
        release = await self.release(version)
        done = await deploy(self.server, release.id, self.environment.name, **fields)
        self.deployments[version] = done
        return done

    async def roll_back(self, version: str, **fields: Any) -> pb.Rollback:
        """Roll back the deployment that brought a version."""
        request = pb.CreateRollbackRequest(deployment=self.deployments[version].id, **fields)
        return await self.server.admin.rollbacks.CreateRollback(request)

    async def carry_out(self, rollback: pb.Rollback, **fields: Any) -> deployment_pb2.Deployment:
        """Start and complete the deployment that a rollback made."""
        made = await self.made(rollback)
        await start(self.server.admin, made)
        return await complete(self.server.admin, made, **fields)

    async def made(self, rollback: pb.Rollback) -> deployment_pb2.Deployment:
        """Return the deployment that a rollback made."""
        return await get(self.server.admin, deployment_pb2.Deployment(id=rollback.rollback_deployment_id))

    async def now(self, version: str) -> deployment_pb2.Deployment:
        """Return the deployment that brought a version, as it is now."""
        return await get(self.server.admin, self.deployments[version])

    async def again(self, rollback: pb.Rollback) -> pb.Rollback:
        """Return a rollback as it is now."""
        return await self.server.admin.rollbacks.GetRollback(pb.GetRollbackRequest(rollback=rollback.id))


async def shipped(server: RunningServer, *versions: str, **fields: Any) -> Scene:
    """Ship versions one after the other, all with success; `fields` are those of the environment."""
    fields.setdefault("environment_type", PRODUCTION)
    environment = await make_environment(server.admin, **fields)
    scene = Scene(server, (await make_service(server.admin)).name, environment)
    for version in versions:
        await scene.ship(version)
    return scene


def status(rollback: pb.Rollback | pb.GetRollbackStatusResponse) -> str:
    """Return a rollback's status without its prefix."""
    return pb.RollbackStatus.Name(rollback.status).removeprefix("ROLLBACK_STATUS_")
