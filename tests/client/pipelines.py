"""What a pipeline does before its first stage, by the synchronous client."""

import itertools

from relman_client import Client, LogWriter, Tail, WriterOptions
from relman_client.v1.catalog_pb2 import CreateServiceRequest
from relman_client.v1.deployment_pb2 import CreateDeploymentRequest, StartDeploymentRequest
from relman_client.v1.environment_pb2 import CreateEnvironmentRequest, EnvironmentType
from relman_client.v1.log_pb2 import LogEntries, LogEntry, TailLogsRequest, WriteLogsRequest
from relman_client.v1.release_pb2 import CreateReleaseRequest, PublishReleaseRequest
from relman_client.v1.stage_pb2 import StageSpec, StartStageRequest

_numbers = itertools.count(1)


def create_deployment(client: Client, *stages: str) -> str:
    """A deployment that is ready, of a release, service and environment of its own; answers its id."""
    number = next(_numbers)
    service, environment = f"pipeline-{number}", f"target-{number}"
    client.catalog.CreateService(CreateServiceRequest(name=service))
    client.environments.CreateEnvironment(
        CreateEnvironmentRequest(name=environment, environment_type=EnvironmentType.ENVIRONMENT_TYPE_TESTING)
    )
    client.releases.CreateRelease(CreateReleaseRequest(service=service, version="1.0.0"))
    client.releases.PublishRelease(PublishReleaseRequest(release=f"{service}@1.0.0"))
    request = CreateDeploymentRequest(
        release=f"{service}@1.0.0", environment=environment, stages=[StageSpec(name=stage) for stage in stages]
    )
    return client.deployments.CreateDeployment(request).id


def start_deployment(client: Client, *stages: str) -> str:
    """The same, in progress."""
    deployment = create_deployment(client, *stages)
    client.deployments.StartDeployment(StartDeploymentRequest(deployment=deployment))
    return deployment


def start_stage(client: Client, deployment: str, stage: str) -> None:
    """Let a stage run."""
    client.stages.StartStage(StartStageRequest(stage=f"{deployment}/{stage}"))


def writer(client: Client, deployment: str, stage: str = "", **options: float) -> LogWriter:
    """Write to the log of a deployment."""
    stream = WriteLogsRequest.Open(deployment=deployment, stage=stage)
    return LogWriter(client, stream, WriterOptions(**options))  # type: ignore[arg-type]


def log_of(client: Client, deployment: str) -> list[LogEntry]:
    """All lines there are."""
    chunks = (event for event in Tail(client, TailLogsRequest(deployment=deployment)) if isinstance(event, LogEntries))
    return [entry for chunk in chunks for entry in chunk.entries]


def texts_of(client: Client, deployment: str) -> list[str]:
    """Their texts."""
    return [entry.text for entry in log_of(client, deployment)]
