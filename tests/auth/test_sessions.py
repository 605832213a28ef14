"""Logging in, and staying so."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from relman_client.v1 import auth_pb2 as pb
from relman_client.v1 import user_pb2
from relman_server.app import HASHERS
from relman_server.users import passwords
from tests.conftest import MovableClock
from tests.factories import Caller, RunningServer, refused, unique

PASSWORD = "a password of some length"


async def _register(server: RunningServer, password: str = PASSWORD) -> user_pb2.User:
    name = unique("person")
    return await server.nobody.auth.Register(
        pb.RegisterRequest(email=f"{name}@example.com", username=name, password=password)
    )


async def _log_in(server: RunningServer, login: str, password: str = PASSWORD) -> pb.Token:
    return await server.nobody.auth.Login(pb.LoginRequest(login=login, password=password))


async def _refresh(server: RunningServer, token: pb.Token) -> pb.Token:
    return await server.nobody.auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=token.refresh_token))


def _caller(server: RunningServer, token: pb.Token) -> Caller:
    return Caller(server.channel, token.access_token)


async def test_passwords_that_are_hashed_keep_nobody_from_the_database(own_server: RunningServer) -> None:
    release = threading.Event()
    busy = [asyncio.ensure_future(own_server.app.hashers.run(release.wait)) for _ in range(HASHERS)]
    await asyncio.sleep(0)
    login = pb.LoginRequest(login="nobody", password=PASSWORD)
    logins = [asyncio.ensure_future(own_server.nobody.auth.Login(login)) for _ in range(20)]
    await asyncio.sleep(0.1)
    assert await _rename(own_server) == "Another Name"
    assert not any(login.done() for login in logins)
    release.set()
    await asyncio.gather(*busy)
    for each in logins:
        assert (await refused(each)).reason == "WRONG_CREDENTIALS"


async def test_no_password_is_hashed_or_compared_in_a_transaction(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite everyone else's writes would wait for it."""
    threads: list[str] = []

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def note(*arguments: Any) -> Any:
            threads.append(threading.current_thread().name)
            return call(*arguments)

        return note

    context = passwords._context
    monkeypatch.setattr(
        passwords,
        "_context",
        SimpleNamespace(hash=noting(context.hash), verify=noting(context.verify), needs_update=lambda _: True),
    )
    user = await _register(server)
    caller = _caller(server, await _log_in(server, user.username))
    change = pb.ChangePasswordRequest(current_password=PASSWORD, new_password="another long password")
    await caller.auth.ChangePassword(change)
    await server.admin.users.CreateUser(
        user_pb2.CreateUserRequest(username=unique("new"), email=f"{unique('new')}@example.com", password=PASSWORD)
    )
    assert len(threads) == 6, "registered; compared and renewed; compared and changed; created"
    assert {name.partition("_")[0] for name in threads} == {"relman-hash"}


async def _rename(server: RunningServer) -> str:
    change = user_pb2.UpdateUserRequest(user=server.admin.username, full_name="Another Name")
    await server.admin.users.UpdateUser(change)
    return (await server.admin.auth.GetCurrentUser(pb.GetCurrentUserRequest())).full_name


async def test_who_registers_logs_in_by_email_and_by_username(server: RunningServer) -> None:
    user = await _register(server)
    for login in (user.email, user.email.upper(), user.username):
        token = await _log_in(server, login)
        me = await _caller(server, token).auth.GetCurrentUser(pb.GetCurrentUserRequest())
        assert (me.id, me.is_admin, token.token_type) == (user.id, False, "Bearer")
        assert me.HasField("last_login_at")


async def test_a_wrong_password_and_an_unknown_login_are_answered_alike(server: RunningServer) -> None:
    user = await _register(server)
    wrong = await refused(_log_in(server, user.username, "another password altogether"))
    unknown = await refused(_log_in(server, unique("nobody")))
    too_long = await refused(_log_in(server, user.username, "x" * 4000))
    for refusal in (wrong, unknown, too_long):
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "WRONG_CREDENTIALS")
        assert refusal.message == wrong.message


@pytest.mark.parametrize(
    ("password", "accepted"),
    [("x" * 11, False), ("x" * 12, True), ("x" * 256, True), ("x" * 257, False), ("é" * 128, True), ("é" * 129, False)],
)
async def test_a_password_has_12_to_256_bytes(server: RunningServer, password: str, accepted: bool) -> None:
    if accepted:
        user = await _register(server, password)
        assert (await _log_in(server, user.username, password)).access_token
    else:
        refusal = await refused(_register(server, password))
        assert (refusal.code, set(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"password"})


async def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_session(
    own_server: RunningServer, clock: MovableClock
) -> None:
    """Fails when an old refresh token is only refused: then a thief goes on with the newer one."""
    server = own_server
    user = await _register(server)
    first = await _log_in(server, user.username)
    second = await _refresh(server, first)
    third = await _refresh(server, second)
    refusal = await refused(_refresh(server, first))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")
    assert (await refused(_refresh(server, third))).reason == "TOKEN_REVOKED"
    clock.advance(timedelta(seconds=1))
    assert (await _log_in(server, user.username)).access_token


async def test_a_client_that_lost_the_answer_tries_again_within_seconds(
    own_server: RunningServer, clock: MovableClock
) -> None:
    server = own_server
    user = await _register(server)
    first = await _log_in(server, user.username)
    await _refresh(server, first)
    clock.advance(timedelta(seconds=20))
    again = await _refresh(server, first)
    assert (await _refresh(server, again)).access_token
    late = await _log_in(server, user.username)
    await _refresh(server, late)
    clock.advance(timedelta(seconds=31))
    assert (await refused(_refresh(server, late))).reason == "TOKEN_REVOKED"


async def test_an_access_token_lasts_15_minutes_and_a_refresh_token_30_days(
    own_server: RunningServer, clock: MovableClock
) -> None:
    server = own_server
    user = await _register(server)
    token = await _log_in(server, user.username)
    caller = _caller(server, token)
    clock.advance(timedelta(minutes=14))
    await caller.auth.GetCurrentUser(pb.GetCurrentUserRequest())
    clock.advance(timedelta(minutes=2))
    assert (await refused(caller.auth.GetCurrentUser(pb.GetCurrentUserRequest()))).reason == "TOKEN_EXPIRED"
    clock.advance(timedelta(days=29))
    token = await _refresh(server, token)
    clock.advance(timedelta(days=31))
    assert (await refused(_refresh(server, token))).reason == "TOKEN_EXPIRED"


async def test_a_change_of_password_ends_every_session(server: RunningServer) -> None:
    user = await _register(server)
    tokens = [await _log_in(server, user.username) for _ in range(2)]
    caller = _caller(server, tokens[0])
    wrong = pb.ChangePasswordRequest(current_password="not this one at all", new_password="another long password")
    assert set((await refused(caller.auth.ChangePassword(wrong))).violations) == {"current_password"}
    right = pb.ChangePasswordRequest(current_password=PASSWORD, new_password="another long password")
    await caller.auth.ChangePassword(right)
    for token in tokens:
        call = _caller(server, token).auth.GetCurrentUser(pb.GetCurrentUserRequest())
        assert (await refused(call)).reason == "TOKEN_REVOKED"
        assert (await refused(_refresh(server, token))).reason == "TOKEN_REVOKED"
    assert (await refused(_log_in(server, user.username))).reason == "WRONG_CREDENTIALS"
    assert (await _log_in(server, user.username, "another long password")).access_token


async def test_who_is_deactivated_is_out_at_once_and_cannot_log_in(server: RunningServer) -> None:
    user = await _register(server)
    token = await _log_in(server, user.username)
    await server.admin.users.DeactivateUser(user_pb2.DeactivateUserRequest(user=user.username))
    call = _caller(server, token).auth.GetCurrentUser(pb.GetCurrentUserRequest())
    assert (await refused(call)).reason == "TOKEN_REVOKED"
    assert (await refused(_refresh(server, token))).reason == "TOKEN_REVOKED"
    assert (await refused(_log_in(server, user.username))).reason == "WRONG_CREDENTIALS"


@pytest.mark.parametrize("token", ["", "garbage", "a.b", "01a207b6-1254-7b79-ab5c-f059f5c2d3a7.secret"])
async def test_what_is_no_refresh_token_is_refused(server: RunningServer, token: str) -> None:
    refusal = await refused(server.nobody.auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=token)))
    expected = "TOKEN_INVALID" if token else "INVALID_INPUT"
    assert refusal.reason == expected
