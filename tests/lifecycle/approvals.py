"""Steps of approvals, and of changes that void them."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from relman_client.v1 import approval_pb2
from relman_client.v1 import deployment_pb2 as pb
from tests.lifecycle.surroundings import Surroundings
from tests.lifecycle.things import Deployment

KINDS = {"": pb.DEPLOYMENT_KIND_UNSPECIFIED, "PLANNED": pb.DEPLOYMENT_KIND_PLANNED, "HOTFIX": pb.DEPLOYMENT_KIND_HOTFIX}

people = st.sampled_from(["maintainer", "member", "ada", "grace"])


def some_wait(machine: "Approvals") -> bool:
    """Return whether a deployment waits."""
    return any(found.waits for found in machine.model.deployments)


class Approvals(Surroundings):
    """Steps of who approves."""

    @precondition(some_wait)
    @rule(data=st.data(), who=people)
    def approve(self, data: st.DataObject, who: str) -> None:
        """Approve a deployment."""
        found = self.a_deployment(data, lambda found: found.waits and not all(each.by for each in found.requests))
        self.approve_it(found, who)

    def approve_it(self, found: Deployment, who: str) -> None:
        """Approve this deployment."""
        request = pb.ApproveDeploymentRequest(deployment=found.id)
        call = self.world.people[who].deployments.ApproveDeployment
        self.both("deployment.approve", call, request, self.model.approve, found, who)

    @precondition(some_wait)
    @rule(data=st.data(), who=people)
    def reject(self, data: st.DataObject, who: str) -> None:
        """Reject a deployment."""
        found = self.a_deployment(data, lambda found: found.over)
        request = pb.RejectDeploymentRequest(deployment=found.id)
        call = self.world.people[who].deployments.RejectDeployment
        self.both("deployment.reject", call, request, self.model.reject, found, who)

    @precondition(some_wait)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        """Ask for an approval once more."""
        found = self.a_deployment(
            data, lambda found: found.waits and any(each.until <= self.model.now for each in found.requests)
        )
        request = approval_pb2.CreateApprovalRequest(deployment=found.id)
        self.both("approval.create", self.admin.approvals.CreateApproval, request, self.model.ask, found)

    @precondition(some_wait)
    @rule(
        data=st.data(),
        labels=st.sampled_from([None, {}, {"build": "1"}, {"build": "2"}]),
        kind=st.sampled_from(["", "", "PLANNED", "HOTFIX"]),
    )
    def change(self, data: st.DataObject, labels: dict[str, str] | None, kind: str) -> None:
        """Change what is approved of a deployment."""
        if labels is None and not kind:
            labels = {"build": "3"}
        found = self.a_deployment(data, lambda found: found.waits)
        request = pb.UpdateDeploymentRequest(deployment=found.id)
        if labels is not None:
            request.labels.update(labels)
            request.update_mask.paths.append("labels")
        if kind:
            request.kind = KINDS[kind]
            request.update_mask.paths.append("kind")
        call = self.admin.deployments.UpdateDeployment
        self.both("deployment.update", call, request, self.model.change, found, labels=labels, kind=kind)
