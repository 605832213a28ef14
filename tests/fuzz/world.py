"""What is there to refer to: callers, resources, and requests that would be carried out.

Requests use it up: they delete, finish, revoke. So it is made anew every so often.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from relman_client.v1 import (
    auth_pb2,
    common_pb2,
    deployment_pb2,
    log_pb2,
    policy_pb2,
    stage_pb2,
    team_pb2,
    user_pb2,
)
from relman_server.app import App
from relman_server.kernel.rpc import descriptors
from tests.contract import RPCS, Rpc, call
from tests.factories import (
    Caller,
    RunningServer,
    make_deployment,
    make_environment,
    make_release,
    make_service,
    make_team,
    unique,
)
from tests.fuzz.known import Known
from tests.requests import PASSWORD, VALID


class _Remember(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, known: Known) -> None:
        self._known = known

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = await continuation(client_call_details, request)
        answer = await call
        self._known.learn(request)
        self._known.learn(answer)
        return call


@dataclass
class World:
    """What operations refer to.

    Attributes:
        tokens: Of callers, by role.
        valid: Requests that would be carried out when an admin sends them, by RPC.
        known: What can be referred to.
        namespace: Of the request ids that requests to the same RPC share.
        missing: What could not be prepared, since operations before stand in its way: with everything frozen, say.
    """

    tokens: dict[str, str] = field(default_factory=dict)
    valid: dict[str, Message] = field(default_factory=dict)
    known: Known = field(default_factory=Known)
    namespace: UUID = field(default_factory=uuid4)
    missing: list[str] = field(default_factory=list)

    @contextmanager
    def tolerant(self, what: str) -> Iterator[None]:
        """Do without something that the server refuses."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            why, _, _ = (error.details() or "").partition(".")
            self.missing.append(f"{what}: {error.code().name} {why}")


async def make_world(app: App, address: str, rpcs: Sequence[Rpc] = RPCS) -> World:
    """Make callers and resources of all kinds, one after the other, so that the same come every time.

    Args:
        app: Over the database and the keys of the server; it makes users and tokens.
        address: Of the server.
        rpcs: What will be called: for nothing else are valid requests prepared.
    """
    names = {rpc.name for rpc in rpcs}
    world = World()
    async with grpc.aio.insecure_channel(address, interceptors=[_Remember(world.known)]) as channel:
        server = RunningServer(app, address, channel)
        server.admin = await server.user(unique("admin"), is_admin=True)
        callers = {"admin": server.admin, "auditor": await server.user(is_auditor=True)}
        callers |= {role: await server.user() for role in ("maintainer", "member", "outsider")}
        with world.tolerant("an end of freezes"):
            await _lift_freezes(address, server.admin)
        world.tokens = {role: caller.token for role, caller in callers.items()}
        with world.tolerant("a household"):
            await _household(callers)
        with world.tolerant("a login"):
            await _log_in(server.admin, world.valid)
        for name in (name for name in VALID if name in names):
            with world.tolerant(name):
                world.valid[name] = await VALID[name](server)
                world.known.learn(world.valid[name])
    async with grpc.aio.insecure_channel(address) as channel:
        for rpc in rpcs:
            request = await _continued(channel, rpc, server.admin, world.known)
            if request is not None:
                world.valid[rpc.name] = request
    return world


async def _lift_freezes(address: str, admin: Caller) -> None:
    """Delete what operations before said about all environments there are, and will be."""
    async with grpc.aio.insecure_channel(address) as channel:
        caller = Caller(channel, admin.token)
        found = await caller.policies.ListDeployPolicies(policy_pb2.ListDeployPoliciesRequest(page_size=500))
        for policy in found.deploy_policies:
            await caller.policies.DeleteDeployPolicy(policy_pb2.DeleteDeployPolicyRequest(deploy_policy=policy.id))


async def _household(callers: dict[str, Caller]) -> None:
    """Make a team with a service, and deployments of it in every state: what members, too, may change."""
    admin, member = callers["admin"], callers["member"]
    team = await make_team(admin)
    for role, said in (("maintainer", team_pb2.TEAM_ROLE_MAINTAINER), ("member", team_pb2.TEAM_ROLE_MEMBER)):
        await admin.teams.AddTeamMember(
            team_pb2.AddTeamMemberRequest(team=team.name, user=callers[role].username, role=said)
        )
    service = await make_service(admin, team=team.name)
    first = await make_environment(admin)
    second = await make_environment(admin, promotes_from=first.name)
    await make_release(member, service=service.name, publish=False)
    for outcome in (common_pb2.OUTCOME_SUCCEEDED, common_pb2.OUTCOME_FAILED, common_pb2.OUTCOME_UNSPECIFIED):
        release = await make_release(member, service=service.name)
        there = {"release": release.id, "environment": first.name, "stages": ["build", "test"]}
        await _run(member, (await make_deployment(member, admin, **there)).id, outcome)
    release = await make_release(member, service=service.name)
    await make_deployment(member, admin, release=release.id, environment=second.name)


async def _run(caller: Caller, deployment: str, outcome: common_pb2.Outcome.ValueType) -> None:
    """Start a deployment under a lease, write lines, and complete it if there is an outcome."""
    start = deployment_pb2.StartDeploymentRequest(deployment=deployment)
    start.lease_ttl.FromSeconds(3600)
    await caller.deployments.StartDeployment(start)
    entries = [log_pb2.LogEntry(text=text) for text in ("one", "two", "three")]
    await caller.logs.AppendLogs(
        log_pb2.AppendLogsRequest(deployment=deployment, stream_name="main", first_sequence=1, entries=entries)
    )
    for name in ("build", "test") if outcome == common_pb2.OUTCOME_SUCCEEDED else ():
        stage = f"{deployment}/{name}"
        await caller.stages.StartStage(stage_pb2.StartStageRequest(stage=stage))
        await caller.stages.CompleteStage(stage_pb2.CompleteStageRequest(stage=stage, outcome=outcome))
    if outcome:
        await caller.deployments.CompleteDeployment(
            deployment_pb2.CompleteDeploymentRequest(deployment=deployment, outcome=outcome)
        )


async def _log_in(admin: Caller, valid: dict[str, Message]) -> None:
    """Prepare a login of a user with a password, and a refresh of one who is logged in."""
    name = unique("person")
    await admin.users.CreateUser(
        user_pb2.CreateUserRequest(email=f"{name}@example.com", username=name, password=PASSWORD)
    )
    login = auth_pb2.LoginRequest(login=name, password=PASSWORD)
    valid["AuthService/Login"] = login
    token = await admin.auth.Login(login)
    valid["AuthService/RefreshToken"] = auth_pb2.RefreshTokenRequest(refresh_token=token.refresh_token)


async def _continued(channel: grpc.aio.Channel, rpc: Rpc, admin: Caller, known: Known) -> Message | None:
    """Return a request for what comes after the first of a list or a stream, where the RPC has such."""
    fields = rpc.method.input_type.fields_by_name
    place = next((name for name in ("page_token", "cursor") if name in fields), None)
    if place is None:
        return None
    request: Any = rpc.request()
    if "page_size" in fields:
        request.page_size = 1
    for each in fields.values():
        if descriptors.is_required(each) and each.type == FieldDescriptor.TYPE_STRING:
            setattr(request, each.name, next(iter(known.of(each)), ""))
    for answer in (await call(channel, rpc, request, admin.metadata)).answers:
        said: Any = rpc.response.FromString(answer)
        setattr(request, place, said.cursor if place == "cursor" else said.next_page_token)
    return request if getattr(request, place) else None
