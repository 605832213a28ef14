"""Who makes changes, each with a request_id, and repeats them until there is an answer."""

import asyncio
import itertools
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from relman_client import aio
from relman_client.credentials import Credentials
from relman_client.v1.deployment_pb2 import CancelDeploymentRequest, CreateDeploymentRequest, UpdateDeploymentRequest
from relman_client.v1.release_pb2 import CreateReleaseRequest
from tests.chaos.actors import BY_HAND
from tests.chaos.history import ChangeHistory
from tests.chaos.notes import Notes

PACE = 0.05
LABEL = "change"
ONCE_MORE = 0.2
"""How many of those that were answered are sent again nevertheless, as by one who lost the answer."""


class Identified(Protocol):
    """An answer about a resource."""

    id: str


Answer = TypeVar("Answer", bound=Identified)


class Pipeline:
    """Makes releases, and deployments that it changes and cancels; and changes one deployment that others watch.

    Args:
        name: Of the pipeline.
        subject: Id of the deployment that others watch; only this pipeline changes it.
        service: Where to make releases.
        environment: Where to deploy to.
        seed: What chance comes from.
        notes: Where to note answers that say nothing.
    """

    def __init__(self, name: str, subject: str, service: str, environment: str, seed: int, notes: Notes) -> None:
        self.changes = ChangeHistory()
        self.subject = subject
        self.service = service
        self._name = name
        self._environment = environment
        self._random = random.Random(seed)
        self._notes = notes

    async def run(self, address: str, credentials: Credentials | None, stop: asyncio.Event) -> None:
        """Make one change after the other until told to stop."""
        async with aio.Client(address, credentials=credentials, options=BY_HAND) as client:
            for number in itertools.count(1):
                await self._release(client, number)
                await self._update_subject(client, number)
                deployment = await self._deploy(client, number)
                await self._cancel(client, deployment)
                if stop.is_set():
                    return

    async def _release(self, client: aio.Client, number: int) -> None:
        version = f"2.0.{number}"
        request = CreateReleaseRequest(service=self.service, version=version)
        await self._change(f"release {self.service} {version}", client.releases.CreateRelease, request)

    async def _update_subject(self, client: aio.Client, number: int) -> None:
        name = f"{self._name} update {number}"
        request = UpdateDeploymentRequest(deployment=self.subject, labels={LABEL: name})
        await self._change(name, client.deployments.UpdateDeployment, request)

    async def _deploy(self, client: aio.Client, number: int) -> str:
        name = f"{self._name} deployment {number}"
        request = CreateDeploymentRequest(
            release=f"{self.service}@1.0.0", environment=self._environment, labels={LABEL: name}
        )
        return (await self._change(name, client.deployments.CreateDeployment, request)).id

    async def _cancel(self, client: aio.Client, deployment: str) -> None:
        request = CancelDeploymentRequest(deployment=deployment)
        await self._change(f"cancel {deployment}", client.deployments.CancelDeployment, request)

    async def _change(self, name: str, call: Callable[[Any], Awaitable[Answer]], request: Message) -> Answer:
        request.request_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))  # type: ignore[attr-defined]
        self.changes.asked.add(name)
        answer = await self._notes.persist(lambda: call(request))
        self.changes.answered[name] = answer.id
        if self._random.random() < ONCE_MORE:
            again = await self._notes.persist(lambda: call(request))
            if again != answer:
                self._notes.faults.append(f"{name}: the answer to a repetition was another one")
        await asyncio.sleep(PACE)
        return answer
