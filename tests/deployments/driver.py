"""Random steps, each taken on the server and on the model; what one allows and the other refuses is a fault."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import func, select

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import release_pb2, stage_pb2
from relman_server.deployments.model import Deployment, DeploymentStatus
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading
from tests.conftest import MovableClock
from tests.deployments import steps
from tests.deployments.model import FINAL, Model, ModelDeployment, ModelEnvironment, ModelRelease
from tests.deployments.steps import events_of, gates, stage_state, state
from tests.factories import Refusal, RunningServer, make_deployment, make_environment, make_release, make_service

STAGES = ("build", "deploy")


class Driver:
    """Takes one random step after the other, on the server and on the model."""

    def __init__(self, server: RunningServer, clock: MovableClock, seed: int) -> None:
        self.server = server
        self.admin = server.admin
        self.clock = clock
        self.random = random.Random(seed)
        self.model = Model()
        self.taken: Counter[str] = Counter()
        self.services: list[str] = []

    async def prepare(self) -> None:
        """Make what the steps are about."""
        self.services = [(await make_service(self.admin)).name for _ in range(2)]
        for kind in (steps.PRODUCTION, None):
            fields = {"environment_type": kind} if kind else {}
            environment = await make_environment(self.admin, **fields)
            self.model.environments.append(ModelEnvironment(environment.name, production=kind is not None))
        for service in self.services * 3:
            await self.new_release(service)

    async def new_release(self, service: str = "") -> None:
        """Create a draft."""
        service = service or self.random.choice(self.services)
        release = await make_release(self.admin, service=service, publish=False)
        self.model.releases.append(ModelRelease(release.id, service))

    async def attempt(self, name: str, call: Awaitable[Any], *, allowed: bool) -> Any:
        """Make a call that must be answered or, by its state, refused."""
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            refusal = Refusal(error)
            assert not allowed, f"{name}: {refusal.message}"
            assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION, f"{name}: {refusal.message}"
            self.taken[f"{name} refused"] += 1
            return None
        assert allowed, f"{name} was allowed"
        self.taken[name] += 1
        return answer

    def deployment(self) -> ModelDeployment | None:
        """Choose a deployment, mostly one that can go on."""
        alive = [found for found in self.model.deployments if found.status not in FINAL]
        moving = [found for found in alive if found.status == "IN_PROGRESS" or not self.model.gates(found)]
        for chosen, share in ((moving, 0.8), (alive, 0.9)):
            if chosen and self.random.random() < share:
                return self.random.choice(chosen)
        return self.random.choice(self.model.deployments) if self.model.deployments else None

    async def publish(self) -> None:
        """Publish a release."""
        drafts = [release for release in self.model.releases if release.status == "DRAFT"]
        release = self.random.choice(drafts if drafts and self.random.random() < 0.9 else self.model.releases)
        call = self.admin.releases.PublishRelease(release_pb2.PublishReleaseRequest(release=release.id))
        if await self.attempt("publish", call, allowed=release.status == "DRAFT"):
            release.status = "PUBLISHED"

    async def abandon(self) -> None:
        """Give a release up, seldom."""
        if self.random.random() < 0.9:
            return
        release = self.random.choice(self.model.releases)
        call = self.admin.releases.AbandonRelease(release_pb2.AbandonReleaseRequest(release=release.id))
        if await self.attempt("abandon", call, allowed=release.status not in {"DEPLOYED", "ABANDONED"}):
            release.status = "ABANDONED"
            await self.new_release(release.service)

    async def hold(self) -> None:
        """Put a release into quarantine, or take it out."""
        release = self.random.choice(self.model.releases)
        said: dict[str, Any] = {"release": release.id, "reason": "a test"}
        if self.random.random() < 0.2:
            call = self.admin.releases.QuarantineRelease(release_pb2.QuarantineReleaseRequest(**said))
            if await self.attempt("hold", call, allowed=not release.held):
                release.held = True
        else:
            clearing = self.admin.releases.ClearQuarantine(release_pb2.ClearQuarantineRequest(**said))
            if await self.attempt("clear", clearing, allowed=release.held):
                release.held = False

    async def lock(self) -> None:
        """Lock an environment for a while, or end that."""
        environment = self.random.choice(self.model.environments)
        if self.random.random() < 0.3:
            await steps.lock(self.server, environment.name, ttl=Duration(seconds=30))
            environment.locked, environment.locked_until = True, self.model.now + 30
            return
        holds = environment.lock_holds(self.model.now)
        await self.attempt("unlock", self._unlock(environment.name), allowed=holds)
        if holds:
            environment.locked = False

    async def _unlock(self, name: str) -> bool:
        await steps.unlock(self.server, name)
        return True

    async def wait(self) -> None:
        """Let time pass."""
        self.clock.advance(timedelta(seconds=20))
        self.model.now += 20

    async def create(self) -> None:
        """Create a deployment."""
        usable = [release for release in self.model.releases if not release.reasons]
        release = self.random.choice(usable if usable and self.random.random() < 0.9 else self.model.releases)
        environment = self.random.choice(self.model.environments)
        names = STAGES[: self.random.randint(0, 2)]
        call = make_deployment(
            self.admin, self.admin, release=release.id, environment=environment.name, stages=list(names)
        )
        created = await self.attempt("create", call, allowed=release.may_be_deployed)
        if created is None:
            return
        found = ModelDeployment(
            created.id, len(self.model.deployments), release, environment, stages=["PENDING"] * len(names)
        )
        self.model.deployments.append(found)
        assert gates(created) == self.model.gates(found)

    async def start(self) -> None:
        """Ask whether a deployment may start, and start it."""
        found = self.deployment()
        if found is None:
            return
        closed = self.model.gates(found)
        waits = found.status == "WAITING"
        handle = pb.Deployment(id=found.id)
        answer = await self.attempt("check", steps.check(self.admin, handle), allowed=waits)
        if waits:
            assert gates(answer) == closed
        found.changes += waits  # a refusal is audited, too
        if await self.attempt("start", steps.start(self.admin, handle), allowed=waits and not closed):
            found.status = "IN_PROGRESS"

    async def work(self) -> None:
        """Start, end, skip or retry a stage."""
        at_work = [found for found in self.model.deployments if found.status == "IN_PROGRESS" and found.stages]
        found = self.random.choice(at_work) if at_work and self.random.random() < 0.9 else self.deployment()
        if found is None or not found.stages or (found.status == "WAITING" and self.random.random() < 0.8):
            return
        index = self.random.randrange(len(found.stages))
        before = found.stages[index]
        reference = f"{found.id}/{STAGES[index]}"
        ways: dict[str, tuple[Callable[[], Awaitable[Any]], bool, str]] = {
            "start stage": (
                lambda: self.admin.stages.StartStage(stage_pb2.StartStageRequest(stage=reference)),
                self.model.can_start_stage(found, index),
                "RUNNING",
            ),
            "pass stage": (
                lambda: self.admin.stages.CompleteStage(
                    stage_pb2.CompleteStageRequest(stage=reference, outcome=steps.SUCCEEDED)
                ),
                before in {"RUNNING", "SUCCEEDED"},
                "SUCCEEDED",
            ),
            "fail stage": (
                lambda: self.admin.stages.CompleteStage(
                    stage_pb2.CompleteStageRequest(stage=reference, outcome=steps.FAILED)
                ),
                before in {"RUNNING", "FAILED"},
                "FAILED",
            ),
            "skip stage": (
                lambda: self.admin.stages.SkipStage(stage_pb2.SkipStageRequest(stage=reference)),
                before == "PENDING",
                "SKIPPED",
            ),
            "retry stage": (
                lambda: self.admin.stages.RetryStage(stage_pb2.RetryStageRequest(stage=reference)),
                before == "FAILED" and found.status == "IN_PROGRESS",
                "PENDING",
            ),
        }
        # Leaving a stage out is always easier than carrying it out.
        fitting = [name for name, (_, allowed, _) in ways.items() if allowed]
        if len(fitting) > 1 and self.random.random() < 0.8:
            fitting = [name for name in fitting if name != "skip stage"]
        name = self.random.choice(fitting if fitting and self.random.random() < 0.8 else list(ways))
        call, allowed, after = ways[name]
        stage = await self.attempt(name, call(), allowed=allowed)
        if stage is not None:
            found.stages[index] = after
            assert stage_state(stage) == after

    async def end(self) -> None:
        """Complete or cancel a deployment."""
        found = self.deployment()
        if found is None:
            return
        handle = pb.Deployment(id=found.id)
        way = self.random.choice(("SUCCEEDED", "FAILED", "CANCELLED"))
        if self.model.can_succeed(found) and self.random.random() < 0.5:
            way = "SUCCEEDED"
        if way == "CANCELLED":
            call, allowed = steps.cancel(self.admin, handle), found.status not in FINAL
        elif way == "FAILED":
            call, allowed = steps.complete(self.admin, handle, steps.FAILED), found.status == "IN_PROGRESS"
        else:
            call, allowed = steps.complete(self.admin, handle), self.model.can_succeed(found)
        ended = await self.attempt(way.lower(), call, allowed=allowed)
        if ended is not None:
            assert state(ended) == way
            found.changes += 1
            self.model.end(found, way)

    async def retry(self) -> None:
        """Try a deployment again."""
        if not self.model.deployments:
            return
        over = [found for found in self.model.deployments if found.status in {"FAILED", "CANCELLED"}]
        old = self.random.choice(over if over and self.random.random() < 0.8 else self.model.deployments)
        allowed = old.status in {"FAILED", "CANCELLED"} and old.release.may_be_deployed
        again = await self.attempt("retry", steps.retry(self.admin, pb.Deployment(id=old.id)), allowed=allowed)
        if again is not None:
            stages = ["PENDING"] * len(old.stages)
            number = len(self.model.deployments)
            found = ModelDeployment(again.id, number, old.release, old.environment, stages=stages)
            self.model.deployments.append(found)
            assert gates(again) == self.model.gates(found)

    async def step(self) -> None:
        """Do something."""
        ways = [self.publish, self.abandon, self.hold, self.lock, self.wait, self.wait, self.retry, self.create]
        ways += [self.hold] + [self.create] * 3 + [self.start] * 6 + [self.work] * 9 + [self.end] * 4
        await self.random.choice(ways)()
        assert await self.server.app.db.read(_in_progress_together) == 1

    async def compare(self) -> None:
        """Compare everything that is there with the model."""
        for found in self.model.deployments:
            handle = pb.Deployment(id=found.id)
            stored = await steps.get(self.admin, handle)
            if found.status != "WAITING":
                assert state(stored) == found.status
            else:
                answer = await steps.check(self.admin, handle)
                assert gates(answer) == self.model.gates(found)
                # A lock that ran out is noticed when someone asks; nothing else may be stale.
                assert set(gates(stored)) - {"LOCK"} == set(self.model.gates(found)) - {"LOCK"}
                assert set(gates(stored)) >= set(self.model.gates(found))
            events = await events_of(self.admin, handle)
            assert events[-1].revision == stored.revision
            assert events[-1].deployment == stored
            assert await self.server.app.db.read(_audited, found.id) >= found.changes
            stages = await self.admin.deployments.GetDeploymentStages(
                pb.GetDeploymentStagesRequest(deployment=found.id)
            )
            assert [stage_state(stage) for stage in stages.stages] == found.stages
        for release in self.model.releases:
            assert await steps.release_state(self.admin, release.id) == release.status


def _in_progress_together(tx: Reading) -> int:
    """Return how many deployments are in progress at most of one service in one environment; 1 also when none is."""
    together = (
        select(func.count().label("count"))
        .where(Deployment.status == DeploymentStatus.IN_PROGRESS)
        .group_by(Deployment.service_id, Deployment.environment_id)
        .subquery()
    )
    return max(1, tx.scalar(select(func.max(together.c.count))) or 0)


def _audited(tx: Reading, deployment: str) -> int:
    return int(tx.scalar(select(func.count()).where(AuditEntry.resource_id == deployment)))
