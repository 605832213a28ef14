"""Steps of deployments, from their creation to their end."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import lease_pb2, stage_pb2
from tests.deployments.steps import FAILED, SUCCEEDED
from tests.lifecycle.approvals import KINDS, Approvals
from tests.lifecycle.gates import PASSABLE
from tests.lifecycle.surroundings import authors
from tests.lifecycle.things import Deployment, Environment, Release, Stage

OUTCOMES = {"SUCCEEDED": SUCCEEDED, "FAILED": FAILED}
STAGES = ("build", "check")
MAX_DEPLOYMENTS = 15


def some_live(machine: "Pipelines") -> bool:
    """Return whether a deployment waits or is in progress."""
    return not all(found.over for found in machine.model.deployments)


def some_at_work(machine: "Pipelines") -> bool:
    """Return whether a deployment is in progress."""
    return any(found.status == "IN_PROGRESS" for found in machine.model.deployments)


class Pipelines(Approvals):
    """Steps of deployments."""

    def created(self, answer: Any, made: Deployment | None) -> None:
        """Take down the id that the server gave a deployment."""
        if made is not None:
            made.id = answer.id

    @precondition(lambda self: len(self.model.deployments) < MAX_DEPLOYMENTS)
    @rule(
        data=st.data(),
        author=authors,
        kind=st.sampled_from(["", "", "PLANNED", "HOTFIX", "HOTFIX because"]),
        timeouts=st.lists(st.sampled_from([0, 30]), max_size=2),
        supersede=st.booleans(),
    )
    def create(self, data: st.DataObject, author: str, kind: str, timeouts: list[int], supersede: bool) -> None:
        """Create a deployment."""
        release = self.a_release(data, lambda release: not release.faults)
        there = self.an_environment(data)
        supersede &= self.noticed  # what is PENDING goes by what was noticed
        self.create_it(release, there, author, kind, timeouts, supersede=supersede)

    def create_it(
        self,
        release: Release,
        there: Environment,
        author: str,
        kind: str = "",
        timeouts: Sequence[int] = (),
        *,
        supersede: bool = False,
    ) -> None:
        """Create this deployment; kind may be followed by the reason of a hotfix."""
        name, _, reason = kind.partition(" ")
        stages = list(zip(STAGES, timeouts, strict=False))
        request = pb.CreateDeploymentRequest(
            release=release.id,
            environment=there.name,
            kind=KINDS[name],
            hotfix_reason=reason,
            stages=[stage_pb2.StageSpec(name=stage, timeout_seconds=timeout) for stage, timeout in stages],
            supersede=supersede,
        )
        call = self.world.people[author].deployments.CreateDeployment
        fresh = [Stage(stage, timedelta(seconds=timeout)) for stage, timeout in stages]
        more = {"hotfix": name == "HOTFIX", "reason": reason, "supersede": supersede}
        answer, made = self.both(
            "deployment.create", call, request, self.model.create, release, there, author, fresh, **more
        )
        self.created(answer, made)

    @precondition(some_live)
    @rule(
        data=st.data(),
        who=authors,
        override=st.sampled_from([(), (), PASSABLE, ("PROMOTION", "SOAK"), ("LOCK",)]),
        takeover=st.booleans(),
        ttl=st.sampled_from([None, None, 18]),
    )
    def start(self, data: st.DataObject, who: str, override: tuple[str, ...], takeover: bool, ttl: int | None) -> None:
        """Start a deployment, in spite of gates or not, or take it over."""
        found = self.a_deployment(
            data,
            lambda found: (
                (found.waits and set(self.model.gates(found)) <= set(override))
                or (takeover and found.status == "IN_PROGRESS")
            ),
        )
        self.start_it(found, who, override, ttl, takeover=takeover)

    def start_it(
        self,
        found: Deployment,
        who: str,
        override: tuple[str, ...] = (),
        ttl: int | None = None,
        *,
        takeover: bool = False,
    ) -> None:
        """Start this deployment."""
        request = pb.StartDeploymentRequest(deployment=found.id, takeover=takeover)
        if ttl:
            request.lease_ttl.CopyFrom(Duration(seconds=ttl))
        if override:
            kinds = [pb.BlockerKind.Value(f"BLOCKER_KIND_{kind}") for kind in override]
            request.override.CopyFrom(pb.GateOverride(reason="a test", kinds=kinds))
        answer, _ = self.both(
            "deployment.start",
            self.world.people[who].deployments.StartDeployment,
            request,
            self.model.start,
            found,
            who,
            override=override,
            takeover=takeover,
            ttl=timedelta(seconds=ttl) if ttl else None,
        )
        if answer is not None and answer.HasField("lease"):
            assert found.lease is not None
            assert answer.lease.fencing_token == found.lease.token
            found.leases.append(answer.lease.id)

    def a_lease(self, data: st.DataObject, found: Deployment) -> lease_pb2.Lease | None:
        """Choose one of the leases that a deployment gave out, mostly the newest, or none."""
        held = [lease_pb2.Lease(id=key, fencing_token=token) for token, key in enumerate(found.leases, start=1)]
        return self.pick(data, held[-1:], [None, *held])

    @precondition(lambda self: any(found.leases and not found.over for found in self.model.deployments))
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        """Renew a lease."""
        given = [found for found in self.model.deployments if found.leases]
        found = self.pick(data, [found for found in given if found.status == "IN_PROGRESS"], given)
        lease = self.a_lease(data, found) or lease_pb2.Lease(id=found.leases[0], fencing_token=1)
        request = pb.HeartbeatDeploymentRequest(deployment=found.id, lease=lease)
        call = self.admin.deployments.HeartbeatDeployment
        self.both("heartbeat", call, request, self.model.heartbeat, found, lease.fencing_token)

    @precondition(lambda self: any(found.stages and not found.over for found in self.model.deployments))
    @rule(data=st.data(), way=st.sampled_from(["SUCCEEDED", "FAILED", "start", "skip", "retry"]))
    def work(self, data: st.DataObject, way: str) -> None:
        """Start, end, skip or retry a stage."""
        staged = [found for found in self.model.deployments if found.stages]
        found = self.pick(data, [found for found in staged if found.status == "IN_PROGRESS"], staged)
        number = data.draw(st.integers(0, len(found.stages) - 1))
        self.work_on(found, number, way, self.a_lease(data, found))

    def work_on(self, found: Deployment, number: int, way: str, lease: lease_pb2.Lease | None = None) -> None:
        """Do something with this stage: one of start, skip and retry, or an outcome."""
        token = lease.fencing_token if lease else None
        stage, rest = f"{found.id}/{found.stages[number].name}", (found, number, token)
        calls, model = self.admin.stages, self.model
        if way == "start":
            step = stage_pb2.StartStageRequest(stage=stage, lease=lease)
            self.both("stage.start", calls.StartStage, step, model.start_stage, *rest)
        elif way == "skip":
            skip = stage_pb2.SkipStageRequest(stage=stage, lease=lease)
            self.both("stage.skip", calls.SkipStage, skip, model.skip_stage, *rest)
        elif way == "retry":
            again = stage_pb2.RetryStageRequest(stage=stage, lease=lease)
            self.both("stage.retry", calls.RetryStage, again, model.retry_stage, *rest)
        else:
            end = stage_pb2.CompleteStageRequest(outcome=OUTCOMES[way], stage=stage, lease=lease)
            self.both("stage.complete", calls.CompleteStage, end, model.complete_stage, *rest, way)

    @precondition(some_at_work)
    @rule(data=st.data(), outcome=st.sampled_from(["SUCCEEDED", "SUCCEEDED", "FAILED"]))
    def complete(self, data: st.DataObject, outcome: str) -> None:
        """End a deployment."""
        found = self.a_deployment(
            data,
            lambda found: (
                found.status == "IN_PROGRESS" and (outcome == "FAILED" or all(stage.passed for stage in found.stages))
            ),
        )
        self.complete_it(found, outcome, self.a_lease(data, found))

    def complete_it(self, found: Deployment, outcome: str, lease: lease_pb2.Lease | None = None) -> None:
        """End this deployment."""
        request = pb.CompleteDeploymentRequest(deployment=found.id, outcome=OUTCOMES[outcome], lease=lease)
        token = lease.fencing_token if lease else None
        call = self.admin.deployments.CompleteDeployment
        self.both("deployment.complete", call, request, self.model.complete, found, outcome, token)

    @precondition(some_live)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Call a deployment off."""
        found = self.a_deployment(data, lambda found: found.waits and "RELEASE" in self.model.gates(found))
        request = pb.CancelDeploymentRequest(deployment=found.id)
        self.both("deployment.cancel", self.admin.deployments.CancelDeployment, request, self.model.cancel, found)

    @precondition(lambda self: any(found.status in {"FAILED", "CANCELLED"} for found in self.model.deployments))
    @rule(data=st.data(), author=authors)
    def retry(self, data: st.DataObject, author: str) -> None:
        """Try a deployment again."""
        found = self.a_deployment(data, lambda found: found.status in {"FAILED", "CANCELLED"})
        request = pb.RetryDeploymentRequest(deployment=found.id)
        call = self.world.people[author].deployments.RetryDeployment
        answer, made = self.both("deployment.retry", call, request, self.model.retry, found, author)
        self.created(answer, made)

    @precondition(lambda self: any(self._next()))
    @rule(whole=st.booleans())
    def go_on(self, whole: bool) -> None:
        """Do what people and pipelines do when all goes well: the next step of a deployment, or all of them."""
        found = next(self._next())
        while not found.over:
            self._step(found)
            if not whole:
                break

    def _next(self) -> Iterator[Deployment]:
        """Yield those that are at work, or wait for nothing but approvals that may be given."""
        for found in self.model.deployments:
            unanswered = [request for request in found.requests if not request.by]
            closed = {"APPROVAL"} if all(self.model.now < request.until for request in unanswered) else set()
            if found.waits and len(found.requests) <= 2 and set(self.model.gates(found)) <= closed:
                yield found
            if found.status == "IN_PROGRESS" and not any(stage.status == "FAILED" for stage in found.stages):
                yield found

    def _step(self, found: Deployment) -> None:
        if found.waits and not all(request.by for request in found.requests):
            given = {request.by for request in found.requests}
            self.approve_it(found, next(who for who in ("ada", "grace") if who not in given))
        elif found.waits:
            self.start_it(found, "maintainer", ttl=18)
        else:
            number = next((number for number, stage in enumerate(found.stages) if not stage.passed), None)
            if number is None:
                self.complete_it(found, "SUCCEEDED")
            else:
                self.work_on(found, number, "start" if found.stages[number].status == "PENDING" else "SUCCEEDED")
