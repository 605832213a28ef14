"""Steps of rollbacks; with them the machine is complete."""

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from relman_client.v1 import rollback_pb2 as pb
from tests.lifecycle.pipelines import Pipelines
from tests.lifecycle.surroundings import AUTHORS, authors
from tests.lifecycle.things import Deployment, Release


class Lifecycle(Pipelines):
    """All that happens to deployments."""

    @initialize(depth=st.sampled_from([2, 1, 0]))
    def prepare(self, depth: int) -> None:
        """Begin in a world that has a past: two releases went through staging, to production, and one came back."""
        self.model = self.world.prepare()
        staging, production, _ = self.model.environments
        releases = [self.make_release(service, author) for service in self.world.services for author in AUTHORS]
        for release in releases[:2]:
            self.create_it(release, staging, "maintainer")
            self.go_on(whole=True)
        if depth > 0:
            self.wait(looks=16)
            for release in releases[:2]:
                self.create_it(release, production, "maintainer", timeouts=[30])
                self.go_on(whole=True)
        if depth > 1:
            self.roll_back_it(self.model.deployments[-1], "member")
            self.go_on(whole=True)

    @precondition(lambda self: any(found.outcome for found in self.model.deployments))
    @rule(data=st.data(), author=authors, named=st.booleans(), quarantine=st.booleans(), if_newest=st.booleans())
    def roll_back(self, data: st.DataObject, author: str, named: bool, quarantine: bool, if_newest: bool) -> None:
        """Roll a deployment back, to what ran before or to a release that is named."""
        found = self.a_deployment(data, lambda found: found.status in {"SUCCEEDED", "FAILED"})
        target = None
        if named:
            ours = [release for release in self.model.releases if release.service == found.release.service]
            ran = {done.release for done in self.model.deployments if done.queue == found.queue and done.outcome}
            target = self.pick(data, [release for release in ours if release in ran - {found.release}], ours)
        self.roll_back_it(found, author, target, quarantine=quarantine, if_newest=if_newest)

    def roll_back_it(
        self,
        found: Deployment,
        author: str,
        target: Release | None = None,
        *,
        quarantine: bool = True,
        if_newest: bool = False,
    ) -> None:
        """Roll this deployment back."""
        request = pb.CreateRollbackRequest(
            deployment=found.id,
            target_release=target.id if target else "",
            quarantine=quarantine,
            expected_current_deployment=found.id if if_newest else "",
        )
        call = self.world.people[author].rollbacks.CreateRollback
        more = {"quarantine": quarantine, "if_newest": if_newest}
        answer, made = self.both("rollback.create", call, request, self.model.roll_back, found, author, target, **more)
        if made is not None:
            made.id, made.rollback_id = answer.rollback_deployment_id, answer.id

    @precondition(lambda self: any(found.undoes and not found.over for found in self.model.deployments))
    @rule(data=st.data())
    def cancel_rollback(self, data: st.DataObject) -> None:
        """Call a rollback off."""
        found = data.draw(st.sampled_from([found for found in self.model.deployments if found.undoes]))
        request = pb.CancelRollbackRequest(rollback=found.rollback_id)
        self.both("rollback.cancel", self.admin.rollbacks.CancelRollback, request, self.model.cancel, found)
