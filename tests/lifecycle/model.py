"""What a deployment's life is, said once more in plain Python: small, and without a thought of databases.

A method does what the RPC of that name does, or raises Refused with the status that the server must answer.
"""

from datetime import timedelta

from tests.lifecycle.gates import FOREVER, Gates, require
from tests.lifecycle.things import Deployment, Environment, Lease, Release, Request, Stage

PATIENCE = timedelta(seconds=30)  # of the server with silent pipelines, after it was away itself
MISSED = timedelta(seconds=5)  # it was away when it did not look for so long


class Model(Gates):
    """All that may happen to deployments."""

    # Deployments

    def create(
        self,
        release: Release,
        there: Environment,
        author: str,
        stages: list[Stage],
        *,
        hotfix: bool = False,
        reason: str = "",
        supersede: bool = False,
    ) -> Deployment:
        require(release.deployable)
        made = Deployment(release, there, author, stages, reason=reason)
        made.kind = "HOTFIX" if hotfix else self._ordinary_kind(made)
        if supersede:
            waiting = [older for older in self._queue(made) if older.waits and older.kind != "ROLLBACK"]
            for older in [older for older in waiting if self.gates(older)]:
                self._call_off(older, "CANCELLED")
        return self._add(made)

    def _add(self, made: Deployment) -> Deployment:
        made.number = len(self.deployments)
        wanted = made.environment.required if made.kind != "ROLLBACK" or made.environment.asks_for_rollbacks else 0
        made.requests = [self._request(made) for _ in range(wanted)]
        self.deployments.append(made)
        return made

    def _ordinary_kind(self, wanted: Deployment) -> str:
        there = [done for done in self._queue(wanted) if done.status == "SUCCEEDED"]
        newest = max(there, key=lambda done: done.completed_at, default=None)
        return "REDEPLOY" if newest and newest.release is wanted.release else "PLANNED"

    def change(self, which: Deployment, *, labels: dict[str, str] | None = None, kind: str = "") -> None:
        """Change labels and kind, which are approved: what was approved before counts no more."""
        require(which.waits)
        require(not kind or which.kind != "ROLLBACK")
        before = which.labels, which.kind
        which.labels = which.labels if labels is None else labels
        if kind:
            which.kind = "HOTFIX" if kind == "HOTFIX" else self._ordinary_kind(which)
            which.reason = which.reason if kind == "HOTFIX" else ""
        if (which.labels, which.kind) != before:
            given = [request for request in which.requests if request.by]
            still = [request for request in which.requests if not request.by]
            which.requests = still + [self._request(which) for _ in given]

    def start(
        self,
        which: Deployment,
        who: str,
        *,
        override: tuple[str, ...] = (),
        takeover: bool = False,
        ttl: timedelta | None = None,
    ) -> None:
        ttl = ttl or (timedelta(seconds=60) if takeover else None)
        if not (takeover and which.status == "IN_PROGRESS"):
            require(which.waits)
            require(not override or who == self.maintainer, "PERMISSION_DENIED")
            require(set(self.gates(which)) <= set(override))
            if which.kind in {"PLANNED", "REDEPLOY"}:
                which.kind = self._ordinary_kind(which)
            which.status, which.deployed_at = "IN_PROGRESS", self.now
        if ttl:
            token = which.lease.token + 1 if which.lease else 1
            which.lease = Lease(token, ttl, self.now + ttl)

    def heartbeat(self, which: Deployment, token: int) -> None:
        require(which.lease and token == which.lease.token, "ABORTED")
        require(which.status == "IN_PROGRESS")
        assert which.lease is not None
        which.lease.until = self.now + which.lease.ttl

    def complete(self, which: Deployment, outcome: str, token: int | None = None) -> None:
        self._require_lease(which, token)
        require(which.status == "IN_PROGRESS")
        require(outcome == "FAILED" or all(stage.passed for stage in which.stages))
        self._end(which, outcome)

    def _require_lease(self, which: Deployment, token: int | None) -> None:
        require(token is None or (which.lease and token == which.lease.token), "ABORTED")

    def _end(self, which: Deployment, outcome: str) -> None:
        self._call_off(which, outcome)
        which.outcome = outcome
        release = which.release
        if which.environment.production and outcome == "SUCCEEDED" and release.status in {"PUBLISHED", "FAILED"}:
            release.status = "DEPLOYED"
        if which.environment.production and outcome == "FAILED" and release.status == "PUBLISHED":
            release.status = "FAILED"
        if outcome == "SUCCEEDED" and which.undoes is not None:
            which.undoes.status = "ROLLED_BACK"
            which.undoes.release.held |= which.quarantine

    def cancel(self, which: Deployment) -> None:
        require(not which.over)
        self._call_off(which, "CANCELLED")

    def _call_off(self, which: Deployment, status: str) -> None:
        which.status, which.completed_at = status, self.now
        for stage in which.stages:
            if stage.status in {"PENDING", "RUNNING"}:
                stage.end("CANCELLED")
        if which.lease:
            which.lease.until = FOREVER

    def retry(self, old: Deployment, author: str) -> Deployment:
        require(old.kind != "ROLLBACK" and old.status in {"FAILED", "CANCELLED"})
        made = self.create(
            old.release, old.environment, author, old.fresh_stages(), hotfix=old.kind == "HOTFIX", reason=old.reason
        )
        made.labels = old.labels
        return made

    # Approvals

    def _request(self, of: Deployment) -> Request:
        return Request(self.now + of.environment.approval_ttl)

    def ask(self, which: Deployment) -> None:
        """Ask again for what nobody answered in time, else for one more."""
        require(which.waits)
        late = next((request for request in which.requests if not request.by and request.until <= self.now), None)
        if late:
            which.requests.remove(late)
        which.requests.append(self._request(which))

    def _request_for(self, which: Deployment, who: str) -> Request:
        """Return what someone's word on a deployment answers."""
        require(which.waits)
        require(who in self.approvers - {which.author, which.release.author}, "PERMISSION_DENIED")
        require(all(request.by != who for request in which.requests))
        waiting = [request for request in which.requests if not request.by and self.now < request.until]
        require(waiting)
        return waiting[0]

    def approve(self, which: Deployment, who: str) -> None:
        request = self._request_for(which, who)
        require(which.release.status != "DRAFT")
        request.by = who

    def reject(self, which: Deployment, who: str) -> None:
        self._request_for(which, who)
        self._call_off(which, "REJECTED")

    # Stages

    def start_stage(self, which: Deployment, number: int, token: int | None) -> None:
        stage = which.stages[number]
        self._require_lease(which, token)
        require(which.status == "IN_PROGRESS" and stage.status == "PENDING")
        require(all(before.passed for before in which.stages[:number]))
        stage.status, stage.due = "RUNNING", self.now + stage.timeout if stage.timeout else FOREVER

    def complete_stage(self, which: Deployment, number: int, token: int | None, outcome: str) -> None:
        self._require_lease(which, token)
        require(which.stages[number].status in {"RUNNING", outcome})
        which.stages[number].end(outcome)

    def skip_stage(self, which: Deployment, number: int, token: int | None) -> None:
        self._require_lease(which, token)
        require(which.stages[number].status == "PENDING")
        which.stages[number].end("SKIPPED")

    def retry_stage(self, which: Deployment, number: int, token: int | None) -> None:
        self._require_lease(which, token)
        require(which.status == "IN_PROGRESS" and which.stages[number].status == "FAILED")
        which.stages[number].end("PENDING")

    # Rollbacks

    def roll_back(
        self, undone: Deployment, author: str, target: Release | None, *, quarantine: bool, if_newest: bool
    ) -> Deployment:
        require(undone.status in {"SUCCEEDED", "FAILED"})
        require(not any(other.undoes is undone and not other.over for other in self.deployments))
        newer = [other for other in self._queue(undone) if other.deployed_at > undone.deployed_at]
        require(
            not if_newest or all(other.status in {"CANCELLED", "ROLLED_BACK"} for other in newer),
            "ABORTED",
        )
        example = self._before(undone) if target is None else self._success_of(undone, target)
        require(example.release.deployable)
        made = Deployment(example.release, undone.environment, author, example.fresh_stages(), kind="ROLLBACK")
        made.labels, made.undoes, made.quarantine = undone.labels, undone, quarantine
        return self._add(made)

    def _before(self, undone: Deployment) -> Deployment:
        """Return what ran before a deployment."""
        found = [
            done
            for done in self._queue(undone)
            if done.status == "SUCCEEDED"
            and done.release is not undone.release
            and done.release.deployable
            and done.completed_at <= undone.completed_at
        ]
        require(found)
        return max(found, key=lambda done: done.completed_at)

    def _success_of(self, undone: Deployment, target: Release) -> Deployment:
        found = [done for done in self._queue(undone) if done.release is target and done.outcome == "SUCCEEDED"]
        require(target is not undone.release and found, "INVALID_ARGUMENT")
        return max(found, key=lambda done: done.completed_at)

    # What the server does by itself

    def look(self) -> None:
        """End what nobody ended in time."""
        if self.now - self.last_look > MISSED:
            self.steady_since = self.now
        self.last_look = self.now
        for which in [found for found in self.deployments if found.status == "IN_PROGRESS"]:
            late = [stage for stage in which.stages if stage.due <= self.now]
            for stage in late:
                stage.end("TIMED_OUT")
            lost = which.lease and which.lease.until <= self.now and self.now - self.steady_since >= PATIENCE
            if late or lost:
                self._end(which, "FAILED")
