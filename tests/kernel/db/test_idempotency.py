"""A request that names itself is carried out once, however often it comes."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
from sqlalchemy import func, select

from relman_client.v1 import auth_pb2, team_pb2
from relman_server.kernel.db import Reading, idempotency
from relman_server.kernel.db.audit import AuditEntry
from relman_server.kernel.db.idempotency import Answer
from relman_server.kernel.identity import Access, Identity
from relman_server.teams.model import Team
from tests.conftest import MovableClock
from tests.contract import RPCS, call
from tests.factories import Caller, RunningServer, make_team, refused, unique
from tests.requests import PASSWORD, VALID
from tests.test_contract import UNIMPLEMENTED

# Tried on its own, below: it ends the very token it comes with.
CHANGE_PASSWORD = "AuthService/ChangePassword"


def _audited(tx: Reading, action: str) -> int:
    return int(tx.scalar(select(func.count()).where(AuditEntry.action == action)))


def _teams(tx: Reading) -> int:
    return int(tx.scalar(select(func.count()).select_from(Team)))


def _kept(tx: Reading) -> list[bytes]:
    return [bytes(part) for row in tx.rows(select(Answer.fingerprint, Answer.answer)) for part in row]


def test_every_mutating_rpc_that_is_offered_is_tried() -> None:
    missing = {f"{service}/{method}" for service, methods in UNIMPLEMENTED.items() for method in methods}
    offered = {rpc.name for rpc in RPCS if rpc.mutating and rpc.has_request_id} - missing
    assert set(VALID) | {CHANGE_PASSWORD} == offered


async def test_a_repeated_request_has_one_effect_and_the_first_answer(server: RunningServer) -> None:
    """Fails for an RPC whose servicer writes without `into=`, and when the answer is not kept beside its effect."""
    wrong = []
    for rpc in (rpc for rpc in RPCS if rpc.name in VALID):
        request: Any = await VALID[rpc.name](server)
        request.request_id = str(uuid4())
        before = await server.app.db.read(_audited, rpc.policy.action)
        first = await call(server.channel, rpc, request, server.admin.metadata)
        second = await call(server.channel, rpc, request, server.admin.metadata)
        effects = await server.app.db.read(_audited, rpc.policy.action) - before
        if first.status != "OK" or second.answers != first.answers or effects > 1:
            message = first.refusal.message if first.refusal else ""
            wrong.append(f"{rpc.name}: {first.status} {message}, then {second.status}, {effects} effects")
    assert not wrong


async def test_a_request_id_of_another_request_is_refused(server: RunningServer) -> None:
    """Fails when only the id is remembered, and not what was asked with it."""
    used = str(uuid4())
    await server.admin.teams.CreateTeam(team_pb2.CreateTeamRequest(name=unique("team"), request_id=used))
    wrong = []
    for rpc in (rpc for rpc in RPCS if rpc.name in VALID and rpc.policy.access is not Access.PUBLIC):
        request: Any = await VALID[rpc.name](server)
        request.request_id = used
        outcome = await call(server.channel, rpc, request, server.admin.metadata)
        if (outcome.status, outcome.reason) != ("INVALID_ARGUMENT", "REQUEST_ID_REUSED"):
            wrong.append(f"{rpc.name}: {outcome.status} {outcome.reason}")
    assert not wrong


async def test_the_same_call_with_another_field_is_another_request(server: RunningServer) -> None:
    used, name = str(uuid4()), unique("team")
    await server.admin.teams.CreateTeam(team_pb2.CreateTeamRequest(name=name, request_id=used))
    refusal = await refused(
        server.admin.teams.CreateTeam(team_pb2.CreateTeamRequest(name=name, description="x", request_id=used))
    )
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert set(refusal.violations) == {"request_id"}


async def test_request_ids_of_others_are_their_own(server: RunningServer) -> None:
    used, ann, bob = str(uuid4()), await server.user(), await server.user()
    first = await make_team(ann, request_id=used)
    second = await make_team(bob, request_id=used)
    assert first.id != second.id


async def test_a_hundred_concurrent_repeats_have_one_effect(server: RunningServer) -> None:
    """Fails when the id is looked up before it is claimed: some repeats would run at the same moment."""
    before = await server.app.db.read(_teams)
    request = team_pb2.CreateTeamRequest(name=unique("team"), request_id=str(uuid4()))
    answers = await asyncio.gather(*(server.admin.teams.CreateTeam(request) for _ in range(100)))
    assert len({answer.id for answer in answers}) == 1
    assert await server.app.db.read(_teams) == before + 1


async def test_a_request_that_was_refused_may_be_repeated_with_its_id(server: RunningServer) -> None:
    """The id is claimed in the transaction of the effect, so what was rolled back was never claimed."""
    name, used = unique("team"), str(uuid4())
    taken = await make_team(server.admin, name=name)
    request = team_pb2.CreateTeamRequest(name=name, request_id=used)
    assert (await refused(server.admin.teams.CreateTeam(request))).code == grpc.StatusCode.ALREADY_EXISTS
    await server.admin.teams.DeleteTeam(team_pb2.DeleteTeamRequest(team=taken.name))
    assert (await server.admin.teams.CreateTeam(request)).name == name


async def test_a_request_id_is_remembered_for_a_day(server: RunningServer, clock: MovableClock) -> None:
    expires = clock.now() + timedelta(days=9)
    admin = server.caller(Identity(server.admin.user_id or uuid4(), "root-admin", 1, expires, is_admin=True))
    request = team_pb2.CreateTeamRequest(name=unique("team"), request_id=str(uuid4()))
    first = await admin.teams.CreateTeam(request)
    clock.advance(timedelta(hours=23, minutes=59))
    assert await admin.teams.CreateTeam(request) == first
    clock.advance(timedelta(minutes=2))
    assert (await refused(admin.teams.CreateTeam(request))).code == grpc.StatusCode.ALREADY_EXISTS


async def test_an_answer_that_is_no_longer_promised_is_removed(server: RunningServer, clock: MovableClock) -> None:
    await make_team(server.admin, request_id=str(uuid4()))
    assert await server.app.db.read(_kept)
    clock.advance(timedelta(hours=25))
    await server.app.db.write(idempotency.forget)
    assert not await server.app.db.read(_kept)


async def test_a_repeated_change_of_password_is_answered_to_a_newer_token(server: RunningServer) -> None:
    name, new_password = unique("person"), f"{PASSWORD}!"
    await server.nobody.auth.Register(
        auth_pb2.RegisterRequest(email=f"{name}@example.com", username=name, password=PASSWORD)
    )
    old = await server.nobody.auth.Login(auth_pb2.LoginRequest(login=name, password=PASSWORD))
    request = auth_pb2.ChangePasswordRequest(
        current_password=PASSWORD, new_password=new_password, request_id=str(uuid4())
    )
    caller = Caller(server.channel, old.access_token)
    await caller.auth.ChangePassword(request)
    assert (await refused(caller.auth.ChangePassword(request))).reason == "TOKEN_REVOKED"
    new = await server.nobody.auth.Login(auth_pb2.LoginRequest(login=name, password=new_password))
    again = Caller(server.channel, new.access_token)
    await again.auth.ChangePassword(request)
    assert (await again.auth.GetCurrentUser(auth_pb2.GetCurrentUserRequest())).username == name


async def test_what_is_kept_of_a_request_does_not_tell_its_password(server: RunningServer) -> None:
    request = auth_pb2.RegisterRequest(
        email="canary@example.com", username="canary", password="canary-password-1", request_id=str(uuid4())
    )
    await server.nobody.auth.Register(request)
    kept = await server.app.db.read(_kept)
    assert kept
    assert b"canary-password-1" not in b"".join(kept)
