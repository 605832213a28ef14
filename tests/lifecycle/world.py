"""What the machine asks: a server on the event loop of the tests, from the thread of Hypothesis."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import exists, select

from relman_client.v1 import team_pb2
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.identity import Identity
from tests.deployments.steps import PRODUCTION
from tests.factories import Caller, Refusal, RunningServer, make_environment, make_service, make_team, unique
from tests.lifecycle.model import Model
from tests.lifecycle.things import Environment

LOOK = timedelta(seconds=4)  # between two looks of the reconciler
YEAR = timedelta(days=365)

Method = Callable[..., Awaitable[Any]]


class StandingClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def now(self) -> datetime:
        """Return the time."""
        return self.time

    def advance(self, span: timedelta) -> None:
        """Let time pass."""
        self.time += span


class World:
    """A service or two, two environments one after the other, and people, new for every example.

    All spans are off the beat of `LOOK`, so that no time ever comes by the little that passes from step to step.

    Attributes:
        began: When its first deployment may have been created.
        people: Who calls, by what they are: maintainer, member, and approvers who are neither.
    """

    SOAK, APPROVAL_TTL = timedelta(seconds=61), timedelta(seconds=90)

    def __init__(self, server: RunningServer, clock: StandingClock, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self.clock = clock
        self.people: dict[str, Caller] = {}
        self.policies: list[str] = []
        self.services: list[str] = []

    def ask(self, method: Method, *args: Any, **more: Any) -> tuple[Any, str, str]:
        """Make a call; return the answer, the status by name, and what is said of a refusal."""

        async def asked() -> Any:
            return await method(*args, **more)

        try:
            return asyncio.run_coroutine_threadsafe(asked(), self._loop).result(60), "OK", ""
        except grpc.aio.AioRpcError as error:
            refusal = Refusal(error)
            return None, refusal.code.name, refusal.message

    def must(self, method: Method, *args: Any, **more: Any) -> Any:
        """Make a call that nothing speaks against; return the answer."""
        answer, status, message = self.ask(method, *args, **more)
        assert status == "OK", message
        return answer

    def prepare(self) -> Model:
        """Make what the steps are about, and the model of it."""
        model: Model = self.must(self._prepare)
        return model

    async def _prepare(self) -> Model:
        self.clock.advance(timedelta(seconds=60))
        self.began = self.clock.now()
        self.admin = await self._person(is_admin=True)
        names = ("maintainer", "member", "ada", "grace")
        self.people = {name: await self._person() for name in names}
        team = (await make_team(self.people["maintainer"])).name
        await self._join(team, "member")
        approvers = (await make_team(self.admin)).name
        for name in names:
            await self._join(approvers, name)
        self.services = [(await make_service(self.admin, team=team)).name for _ in range(2)]
        model = Model(self.clock.now, "maintainer", set(names))
        ttl = self.APPROVAL_TTL
        staging = Environment((await make_environment(self.admin, approver_teams=[approvers])).name, approval_ttl=ttl)
        production = Environment(
            unique("production"), production=True, source=staging, soak=self.SOAK, required=2, approval_ttl=ttl
        )
        careful = Environment(unique("careful"), source=staging, required=1, approval_ttl=ttl, asks_for_rollbacks=True)
        for there in (production, careful):
            await make_environment(
                self.admin,
                name=there.name,
                promotes_from=staging.name,
                soak_time=_span(there.soak),
                required_approvals=there.required,
                approval_ttl=_span(there.approval_ttl),
                approver_teams=[approvers],
                rollbacks_need_approval=there.asks_for_rollbacks,
                **({"environment_type": PRODUCTION} if there.production else {}),
            )
        model.environments = [staging, production, careful]
        await self._server.app.reconciler.tick()
        return model

    async def _person(self, *, is_admin: bool = False) -> Caller:
        """Make someone whose token lasts for as long as the clock may be moved."""
        made = await self._server.user(is_admin=is_admin)
        assert made.user_id is not None
        until = self.clock.now() + YEAR
        return self._server.caller(Identity(made.user_id, made.username, 1, until, is_admin, is_auditor=False))

    async def _join(self, team: str, name: str) -> None:
        user = self.people[name].username
        await self.admin.teams.AddTeamMember(team_pb2.AddTeamMemberRequest(team=team, user=user))

    def look(self) -> None:
        """Let the reconciler do what is due."""
        self.must(self._server.app.reconciler.tick)

    def audited(self, action: str) -> bool:
        """Return whether something was audited right now."""
        found: bool = self.must(self._server.app.db.read, _audited, action)
        return found


def _audited(tx: Reading, action: str) -> bool:
    return bool(tx.scalar(select(exists().where(AuditEntry.action == action, AuditEntry.created_at == tx.now))))


def _span(of: timedelta) -> Duration:
    found = Duration()
    found.FromTimedelta(of)
    return found
