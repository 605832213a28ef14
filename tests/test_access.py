"""Who gets in: nobody by omission, and no token that is anything but a good one."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from relman_client.v1 import auth_pb2, deployment_pb2, system_pb2, user_pb2
from relman_server.auth import tokens
from relman_server.kernel.identity import Access, Identity
from tests.conftest import MovableClock
from tests.contract import RPCS, call, required
from tests.factories import Caller, Refusal, RunningServer, make_deployment, refused, unique

PUBLIC = {
    "AuthService/Register",
    "AuthService/Login",
    "AuthService/RefreshToken",
    "AuthService/ExchangeToken",
    "SystemService/GetHealth",
}
PASSWORD = "correct horse battery staple"


def test_few_calls_are_public() -> None:
    assert {rpc.name for rpc in RPCS if rpc.policy.access is Access.PUBLIC} == PUBLIC


async def test_nobody_gets_past_the_door(shared_server: RunningServer) -> None:
    """Fails when Authenticate is taken out of the chain, or lets a call pass because of its kind."""
    let_in = []
    for rpc in RPCS:
        outcome = await call(shared_server.channel, rpc, required(rpc))
        refused_at_the_door = (outcome.status, outcome.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")
        if refused_at_the_door == (rpc.name in PUBLIC):
            let_in.append((rpc.name, outcome.status, outcome.reason))
    assert not let_in


async def test_what_is_for_admins_is_for_nobody_else(shared_server: RunningServer) -> None:
    """Fails when Authorize is taken out of the chain: these requests would get NOT_FOUND or be carried out."""
    plain = await shared_server.user()
    auditor = await shared_server.user(is_auditor=True)
    admin_only = [rpc for rpc in RPCS if rpc.policy.access is Access.ADMIN]
    assert len(admin_only) > 5
    for rpc in admin_only:
        for caller in (plain, auditor):
            outcome = await call(shared_server.channel, rpc, required(rpc), caller.metadata)
            assert (outcome.status, outcome.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED"), rpc.name


async def test_the_audit_log_is_for_admins_and_auditors(shared_server: RunningServer) -> None:
    plain = await shared_server.user()
    auditor = await shared_server.user(is_auditor=True)
    for rpc in (rpc for rpc in RPCS if rpc.policy.access is Access.AUDITOR):
        refusal = await call(shared_server.channel, rpc, required(rpc), plain.metadata)
        assert refusal.status == "PERMISSION_DENIED", rpc.name
        for caller in (auditor, shared_server.admin):
            outcome = await call(shared_server.channel, rpc, required(rpc), caller.metadata)
            assert outcome.status != "PERMISSION_DENIED", rpc.name


async def test_a_token_without_the_permission_does_not_open_a_call(shared_server: RunningServer) -> None:
    """Fails when permissions of a token are not compared; until tokens of pipelines exist nothing else would show."""
    app = shared_server.app
    limited = Identity(
        uuid4(),
        "pipeline",
        1,
        app.clock.now() + tokens.ACCESS_TTL,
        is_admin=True,
        permissions=frozenset({"teams.read"}),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.verifier, "verify", lambda _: limited)
        for rpc in RPCS:
            outcome = await call(shared_server.channel, rpc, required(rpc), (("authorization", "Bearer x"),))
            denied = outcome.status == "PERMISSION_DENIED" and rpc.policy.permission in outcome.refusal.message  # type: ignore[union-attr]
            assert denied == (rpc.name not in PUBLIC and rpc.policy.permission != "teams.read"), rpc.name


# --- one token for another


def _claims(identity: Identity, server: RunningServer) -> dict[str, Any]:
    text = server.app.signer.issue(identity, server.app.clock.now()).text
    claims: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})
    return claims


def _segment(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _unsigned(claims: dict[str, Any], _key: bytes) -> str:
    return f"{_segment({'alg': 'none', 'typ': tokens.TYPE})}.{_segment(claims)}."


def _unsigned_in_capitals(claims: dict[str, Any], _key: bytes) -> str:
    return f"{_segment({'alg': 'NONE', 'typ': tokens.TYPE})}.{_segment(claims)}."


def _signed(claims: dict[str, Any], key: Any, algorithm: str = "HS256", header: dict[str, Any] | None = None) -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers={"typ": tokens.TYPE} | (header or {}))


def _signed_by_hand(claims: dict[str, Any], key: bytes, algorithm: str, digest: str) -> str:
    said = f"{_segment({'alg': algorithm, 'typ': tokens.TYPE})}.{_segment(claims)}"
    mac = base64.urlsafe_b64encode(hmac.digest(key, said.encode(), digest)).decode().rstrip("=")
    return f"{said}.{mac}"


def _rsa(claims: dict[str, Any], _key: bytes) -> str:
    return _signed(claims, rsa.generate_private_key(65537, 2048), "RS256")


def _tampered(claims: dict[str, Any], key: bytes) -> str:
    head, _, signature = _signed(claims, key).split(".")
    return f"{head}.{_segment(claims | {'name': 'mallory'})}.{signature}"


def _critical(claims: dict[str, Any], key: bytes) -> str:
    return _signed(claims, key, header={"crit": ["urn:example:new"], "urn:example:new": True})


def _without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in claims.items() if key != name}


GARBAGE = ["", "garbage", "a.b.c", "..", "%00%ff.%00.%00"]
FORGERIES: dict[str, Callable[[dict[str, Any], bytes], str]] = {
    "alg none": _unsigned,
    "alg NONE": _unsigned_in_capitals,
    "signed with another key": lambda claims, _: _signed(claims, b"x" * 32),
    "HS384": lambda claims, key: _signed_by_hand(claims, key, "HS384", "sha384"),
    "HS512": lambda claims, key: _signed_by_hand(claims, key, "HS512", "sha512"),
    "RS256": _rsa,
    "RS256 said of an HMAC": lambda claims, key: _signed_by_hand(claims, key, "RS256", "sha256"),
    "claims changed": _tampered,
    "wrong aud": lambda claims, key: _signed(claims | {"aud": "other"}, key),
    "wrong iss": lambda claims, key: _signed(claims | {"iss": "other"}, key),
    "no aud": lambda claims, key: _signed(_without(claims, "aud"), key),
    "no iss": lambda claims, key: _signed(_without(claims, "iss"), key),
    "no exp": lambda claims, key: _signed(_without(claims, "exp"), key),
    "no ver": lambda claims, key: _signed(_without(claims, "ver"), key),
    "exp that is no time": lambda claims, key: _signed(claims | {"exp": 10**30}, key),
    "exp that is no number": lambda claims, key: _signed(claims | {"exp": "soon"}, key),
    "exp that never comes": lambda claims, key: _signed(claims | {"exp": float("inf")}, key),
    "sub that is no id": lambda claims, key: _signed(claims | {"sub": "root-admin"}, key),
    "ver that is no number": lambda claims, key: _signed(claims | {"ver": None}, key),
    "typ JWT, as an id token": lambda claims, key: _signed(claims, key, header={"typ": "JWT"}),
    "typ of another kind": lambda claims, key: _signed(claims, key, header={"typ": "rt+jwt"}),
    "crit": _critical,
    "longer than tokens are": lambda claims, key: _signed(claims | {"more": "x" * 5000}, key),
}


@pytest.mark.parametrize("token", GARBAGE)
async def test_garbage_opens_nothing(shared_server: RunningServer, token: str) -> None:
    refusal = await _who_am_i(shared_server.nobody, f"Bearer {token}")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_token_opens_nothing(shared_server: RunningServer, forgery: str) -> None:
    """Forgeries are made with the server's real key wherever possible, so that one thing alone is wrong.

    Fails when a check is taken out of tokens.py, for example the comparison of `typ` or the list of algorithms.
    """
    app = shared_server.app
    admin = Identity(shared_server.admin.user_id or uuid4(), "root-admin", 1, app.clock.now() + timedelta(minutes=5))
    key, claims = app.signer._key, _claims(admin, shared_server)
    assert (await _current(Caller(shared_server.channel, _signed(claims, key)))).username == "root-admin"
    refusal = await _who_am_i(shared_server.nobody, f"Bearer {FORGERIES[forgery](claims, key)}")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


@pytest.mark.parametrize("header", ["Basic YWRtaW46YWRtaW4=", "Bearer", "Token x", "{token}", "Bearer  x y"])
async def test_a_header_that_is_no_bearer_token_opens_nothing(shared_server: RunningServer, header: str) -> None:
    refusal = await _who_am_i(shared_server.nobody, header.format(token=shared_server.admin.token))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def _current(caller: Caller) -> user_pb2.User:
    return await caller.auth.GetCurrentUser(auth_pb2.GetCurrentUserRequest())


async def _who_am_i(caller: Caller, authorization: str = "") -> Refusal:
    metadata = (("authorization", authorization),) if authorization else ()
    return await refused(caller.auth.GetCurrentUser(auth_pb2.GetCurrentUserRequest(), metadata=metadata))


async def _registered(server: RunningServer) -> tuple[Caller, auth_pb2.Token]:
    """Make a user who logged in with a password."""
    name = unique("person")
    await server.nobody.auth.Register(
        auth_pb2.RegisterRequest(email=f"{name}@example.com", username=name, password=PASSWORD)
    )
    token = await server.nobody.auth.Login(auth_pb2.LoginRequest(login=name, password=PASSWORD))
    return Caller(server.channel, token.access_token, name), token


async def test_a_refresh_token_is_no_access_token(server: RunningServer) -> None:
    _, token = await _registered(server)
    refusal = await _who_am_i(Caller(server.channel, token.refresh_token))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_an_access_token_is_no_refresh_token(server: RunningServer) -> None:
    _, token = await _registered(server)
    refusal = await refused(
        server.nobody.auth.RefreshToken(auth_pb2.RefreshTokenRequest(refresh_token=token.access_token))
    )
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_an_access_token_ends_after_a_quarter_of_an_hour(server: RunningServer, clock: MovableClock) -> None:
    caller, _ = await _registered(server)
    clock.advance(timedelta(minutes=14, seconds=50))
    assert (await _current(caller)).username == caller.username
    clock.advance(timedelta(seconds=15))
    refusal = await _who_am_i(caller)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_a_change_of_password_ends_the_tokens_from_before(server: RunningServer) -> None:
    caller, _ = await _registered(server)
    await caller.auth.ChangePassword(
        auth_pb2.ChangePasswordRequest(current_password=PASSWORD, new_password=f"{PASSWORD}!")
    )
    refusal = await _who_am_i(caller)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")


async def test_a_deactivated_user_has_no_access_until_a_login_after_activation(server: RunningServer) -> None:
    caller, _ = await _registered(server)
    await server.admin.users.DeactivateUser(user_pb2.DeactivateUserRequest(user=caller.username))
    assert (await _who_am_i(caller)).reason == "TOKEN_REVOKED"
    await server.admin.users.ActivateUser(user_pb2.ActivateUserRequest(user=caller.username))
    assert (await _who_am_i(caller)).reason == "TOKEN_REVOKED"
    again = await server.nobody.auth.Login(auth_pb2.LoginRequest(login=caller.username, password=PASSWORD))
    assert (await _current(Caller(server.channel, again.access_token))).username == caller.username


async def test_an_admin_who_no_longer_is_one_loses_the_tokens_that_say_so(server: RunningServer) -> None:
    other = await server.user(is_admin=True)
    await server.admin.users.UpdateUser(user_pb2.UpdateUserRequest(user=other.username, is_admin=False))
    assert (await _who_am_i(other)).reason == "TOKEN_REVOKED"


# --- streams that are open when access ends


async def _watching(server: RunningServer) -> tuple[Caller, Any]:
    """Open a watch that goes on, as someone whose access shall end; its first answer has come."""
    deployment = await make_deployment(server.admin, server.admin)
    watcher = await server.user()
    watch = watcher.deployments.WatchDeployment(
        deployment_pb2.WatchDeploymentRequest(deployment=deployment.id, keep_open=True)
    )
    answers = aiter(watch)
    await anext(answers)
    return watcher, watch


async def test_the_streams_of_a_deactivated_user_end_within_five_seconds(server: RunningServer) -> None:
    """Fails when nothing sweeps the open streams: the watch would go on until its deadline."""
    watcher, watch = await _watching(server)
    await server.admin.users.DeactivateUser(user_pb2.DeactivateUserRequest(user=watcher.username))
    ended = time.monotonic()
    refusal = await refused(watch)
    assert time.monotonic() - ended < 5
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")
    assert refusal.info.metadata["cursor"]


async def test_the_streams_of_an_expired_token_end_within_five_seconds(
    server: RunningServer, clock: MovableClock
) -> None:
    _, watch = await _watching(server)
    clock.advance(timedelta(minutes=16))
    ended = time.monotonic()
    refusal = await refused(watch)
    assert time.monotonic() - ended < 5
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_a_stream_whose_caller_left_is_forgotten(server: RunningServer) -> None:
    _, watch = await _watching(server)
    assert len(server.app.lifetimes) == 1
    watch.cancel()
    deadline = time.monotonic() + 5
    while len(server.app.lifetimes) and time.monotonic() < deadline:
        await server.nobody.system.GetHealth(system_pb2.GetHealthRequest())
    assert len(server.app.lifetimes) == 0
