"""The smoke test of a deployed client: through the wheel that was installed, ask the server how it is."""

import os

import relman_client
from relman_client import Client
from relman_client.v1.common_pb2 import HealthStatus
from relman_client.v1.system_pb2 import GetHealthRequest

print("using", os.path.relpath(relman_client.__file__))
with Client(os.environ["RELMAN_SERVER"]) as client:
    health = client.system.GetHealth(GetHealthRequest())
print("the server is", HealthStatus.Name(health.status).removeprefix("HEALTH_STATUS_").lower())
if health.status != HealthStatus.HEALTH_STATUS_HEALTHY:
    raise SystemExit(1)
