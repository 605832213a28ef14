"""The machine: one step after the other on the server and on the model, which must agree on every answer.

Here is how a step is compared, and what must hold after each.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any, TypeVar

from google.protobuf.message import Message
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relman_client.v1 import deployment_pb2 as pb
from relman_client.v1 import policy_pb2
from tests.deployments import steps
from tests.deployments.steps import gates, state
from tests.factories import Caller, make_release
from tests.lifecycle.gates import Refused
from tests.lifecycle.model import Model
from tests.lifecycle.things import Deployment, Release
from tests.lifecycle.world import LOOK, Method, World

T = TypeVar("T")


class Machine(RuleBasedStateMachine):
    """What all steps have in common."""

    def __init__(self, world: World, taken: Counter[str]) -> None:
        super().__init__()
        self.world = world
        self.taken = taken
        self.noticed = True  # the reconciler has looked since time passed
        self.model: Model

    @property
    def admin(self) -> Caller:
        """Someone who may do everything but approve."""
        return self.world.admin

    def make_release(self, service: str, author: str, *, publish: bool = True) -> Release:
        """Make a release, on the server and in the model."""
        made = self.world.must(make_release, self.world.people[author], service=service, publish=publish)
        release = Release(made.id, service, author, "PUBLISHED" if publish else "DRAFT")
        self.model.releases.append(release)
        return release

    def both(
        self, action: str, method: Method, request: Message, act: Callable[..., Any], *args: Any, **more: Any
    ) -> tuple[Any, Any]:
        """Take a step; return the server's answer and what the model made, both None when they refuse it.

        Args:
            action: What the audit log calls it; a name without a dot for what is not audited.
            method: Takes it on the server.
            request: What it is told.
            act: Takes it on the model.
            *args: What that is told.
            **more: The same, by name.
        """
        self.world.clock.advance(timedelta(milliseconds=1))  # no two steps are taken at the same time
        expected, made = "OK", None
        try:
            made = act(*args, **more)
        except Refused as refused:
            expected = str(refused)
        answer, status, message = self.world.ask(method, request)
        note(f"    {action}: {status} {message}")
        assert status == expected, f"{action}: {expected} says the model, {status} the server: {message}"
        assert status != "OK" or "." not in action or self.world.audited(action), f"{action} is not audited"
        self.taken[action if status == "OK" else f"{action} {status}"] += 1
        return answer, made

    def pick(self, data: st.DataObject, fitting: Iterable[T], every: Sequence[T]) -> T:
        """Choose one with which a step goes well, or sometimes any."""
        return data.draw(st.sampled_from([*fitting] * 6 + [*every]))

    def a_deployment(self, data: st.DataObject, fits: Callable[[Deployment], object]) -> Deployment:
        """Choose a deployment."""
        return self.pick(data, filter(fits, self.model.deployments), self.model.deployments)

    @invariant()
    def agree(self) -> None:
        """Compare every deployment: its state, its kind, and while it waits what the gates say."""
        if not hasattr(self, "model"):
            return
        shown = self._shown()
        at_work = Counter(found.queue for found in self.model.deployments if state(shown[found.id]) == "IN_PROGRESS")
        assert set(at_work.values()) <= {1}
        for found in self.model.deployments:
            there = shown[found.id]
            assert (steps.kind(there), dict(there.labels)) == (found.kind, found.labels)
            if not found.waits:
                assert (state(there), gates(there)) == (found.status, [])
                continue
            closed = self.model.gates(found)
            assert gates(self.world.must(steps.check, self.admin, there)) == closed
            if self.noticed:
                assert (state(there), gates(there)) == ("PENDING" if closed else "READY", closed)

    def _shown(self) -> dict[str, pb.Deployment]:
        """Return the server's deployments by id."""
        request = pb.ListDeploymentsRequest(page_size=500)
        request.start_date.FromDatetime(self.world.began)
        listed = self.world.must(self.admin.deployments.ListDeployments, request)
        assert {each.id for each in listed.deployments} == {each.id for each in self.model.deployments}
        return {each.id: each for each in listed.deployments}

    def teardown(self) -> None:
        """Compare what takes longer to compare, and clear away what would go on."""
        if not hasattr(self, "model"):
            return
        for found in self.model.deployments:
            self._compare_history(found)
        for release in self.model.releases:
            assert self.world.must(steps.release_state, self.admin, release.id) == release.status
        for found in self.model.deployments[::-1]:
            if not found.over:
                self.world.must(steps.cancel, self.admin, pb.Deployment(id=found.id))
        for policy in self.world.policies:
            remove = policy_pb2.DeleteDeployPolicyRequest(deploy_policy=policy)
            self.world.must(self.admin.policies.DeleteDeployPolicy, remove)

    def _compare_history(self, found: Deployment) -> None:
        """Its revisions have no gaps, and once it has ended only a rollback that succeeds changes its state."""
        there = self.world.must(steps.get, self.admin, pb.Deployment(id=found.id))
        events = self.world.must(steps.events_of, self.admin, there)
        assert (events[-1].deployment, events[-1].revision) == (there, len(events))
        request = pb.GetDeploymentStagesRequest(deployment=found.id)
        listed = self.world.must(self.admin.deployments.GetDeploymentStages, request)
        assert [steps.stage_state(stage) for stage in listed.stages] == [stage.status for stage in found.stages]
        states = [status for status, _ in groupby(state(event.deployment) for event in events)]
        ended = [status for status in states if status not in {"PENDING", "READY", "IN_PROGRESS"}]
        undone = found.status == "ROLLED_BACK"
        assert ended == ([found.outcome, found.status] if undone else [found.status] * found.over)
        assert states[len(states) - len(ended) :] == ended

    @rule(looks=st.sampled_from([2, 5, 16]))
    def wait(self, looks: int) -> None:
        """Let time pass, while the server looks at what is due."""
        for _ in range(looks):
            self.world.clock.advance(LOOK)
            self.world.look()
            self.model.look()
        self.noticed = True

    @rule(spans=st.sampled_from([3, 16]))
    def pass_unnoticed(self, spans: int) -> None:
        """Let time pass of which the server takes no notice until it is asked."""
        self.world.clock.advance(spans * LOOK)
        self.noticed = False
