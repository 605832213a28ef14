"""Steps of what deployments depend on: releases and environments."""

from collections.abc import Callable
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from relman_client.v1 import environment_pb2, policy_pb2, release_pb2
from tests.factories import unique
from tests.lifecycle.machine import Machine
from tests.lifecycle.things import Environment, Release

MAX_RELEASES = 12
AUTHORS = ("maintainer", "member")

authors = st.sampled_from(AUTHORS)


class Surroundings(Machine):
    """Steps that open and close gates."""

    def a_release(self, data: st.DataObject, fits: Callable[[Release], bool]) -> Release:
        """Choose a release."""
        return self.pick(data, filter(fits, self.model.releases), self.model.releases)

    def an_environment(self, data: st.DataObject) -> Environment:
        """Choose an environment."""
        return data.draw(st.sampled_from(self.model.environments))

    @precondition(lambda self: len(self.model.releases) < MAX_RELEASES)
    @rule(data=st.data(), author=authors, publish=st.booleans())
    def release(self, data: st.DataObject, author: str, publish: bool) -> None:
        """Make one more release."""
        self.make_release(data.draw(st.sampled_from(self.world.services)), author, publish=publish)

    def _publish(self, data: st.DataObject) -> None:
        """Make a draft deployable."""
        release = self.a_release(data, lambda release: release.status == "DRAFT")
        request = release_pb2.PublishReleaseRequest(release=release.id)
        self.both("release.publish", self.admin.releases.PublishRelease, request, self.model.publish, release)

    @precondition(lambda self: self.model.deployments)
    @rule(data=st.data())
    def shut(self, data: st.DataObject) -> None:
        """Shut a gate, in one of many ways."""
        ways = [self._lock, self._freeze, self._hold, self._lock, self._freeze, self._hold, self._abandon, self._leave]
        data.draw(st.sampled_from(ways))(data)

    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        """Open a gate: all that are closed, sooner or later."""
        closed = [there for there in self.model.environments if not there.active]
        locked = [there for there in self.model.environments if there.locked_until > self.model.now]
        held = [release for release in self.model.releases if release.held]
        drafts = [release for release in self.model.releases if release.status == "DRAFT"]
        ways = [self._enter] * 9 * len(closed) + [self._unlock] * 3 * len(locked) + [self._let_go] * 2 * len(held)
        ways += [self._publish] * len(drafts)
        data.draw(st.sampled_from([*ways, self._unlock, self._let_go, self._publish]))(data)

    def _abandon(self, data: st.DataObject) -> None:
        """Give a release up."""
        release = self.a_release(data, lambda release: release.status in {"DRAFT", "FAILED"})
        request = release_pb2.AbandonReleaseRequest(release=release.id)
        self.both("release.abandon", self.admin.releases.AbandonRelease, request, self.model.abandon, release)

    def _hold(self, data: st.DataObject) -> None:
        """Put a release into quarantine."""
        release = data.draw(st.sampled_from(self.model.releases))
        request = release_pb2.QuarantineReleaseRequest(release=release.id, reason="a test")
        self.both("release.quarantine", self.admin.releases.QuarantineRelease, request, self.model.hold, release)

    def _let_go(self, data: st.DataObject) -> None:
        """Take a release out of quarantine."""
        release = self.a_release(data, lambda release: release.held)
        request = release_pb2.ClearQuarantineRequest(release=release.id, reason="a test")
        call = self.admin.releases.ClearQuarantine
        self.both("release.clear_quarantine", call, request, self.model.let_go, release)

    def _lock(self, data: st.DataObject) -> None:
        """Lock an environment, for a while or until someone unlocks it."""
        there, ttl = self.an_environment(data), data.draw(st.sampled_from([45, None]))
        span = Duration(seconds=ttl) if ttl else None
        request = environment_pb2.LockEnvironmentRequest(environment=there.name, reason="a test", ttl=span)
        lasts = timedelta(seconds=ttl) if ttl else None
        call = self.admin.environments.LockEnvironment
        self.both("environment.lock", call, request, self.model.lock, there, lasts)

    def _unlock(self, data: st.DataObject) -> None:
        """Unlock an environment."""
        locked = [there for there in self.model.environments if there.locked_until > self.model.now]
        there = self.pick(data, locked, self.model.environments)
        request = environment_pb2.UnlockEnvironmentRequest(environment=there.name)
        self.both("environment.unlock", self.admin.environments.UnlockEnvironment, request, self.model.unlock, there)

    def _freeze(self, data: st.DataObject) -> None:
        """Let nothing start in an environment for a while, now or soon."""
        there = self.an_environment(data)
        begins = self.model.now + timedelta(seconds=data.draw(st.sampled_from([30, -30])))
        ends = begins + timedelta(seconds=data.draw(st.sampled_from([45, 77])))
        window = policy_pb2.OneTimeWindow()
        window.start.FromDatetime(begins)
        window.end.FromDatetime(ends)
        request = policy_pb2.CreateDeployPolicyRequest(
            name=unique("freeze"), environments=[there.name], one_time_windows=[window]
        )
        call = self.admin.policies.CreateDeployPolicy
        made, _ = self.both("deploy_policy.create", call, request, there.freezes.append, (begins, ends))
        self.world.policies.append(made.id)

    def _leave(self, data: st.DataObject) -> None:
        """Make an environment inactive."""
        self._set_active(self.an_environment(data), active=False)

    def _enter(self, data: st.DataObject) -> None:
        """Make an environment active again."""
        self._set_active(
            data.draw(st.sampled_from([each for each in self.model.environments if not each.active])), active=True
        )

    def _set_active(self, there: Environment, *, active: bool) -> None:
        request = environment_pb2.UpdateEnvironmentRequest(environment=there.name, is_active=active)
        call = self.admin.environments.UpdateEnvironment
        self.both("environment.update", call, request, setattr, there, "active", active)
