"""Logins that expire: the server's clock is moved. It runs in the tests' loop, so what blocks is done in threads."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest

from relman_client import Client, Login, RelmanError, Tokens, aio
from relman_client.v1.auth_pb2 import GetCurrentUserRequest, RegisterRequest
from tests.conftest import MovableClock
from tests.factories import RunningServer, unique

PASSWORD = "correct horse battery staple"
ME = GetCurrentUserRequest()


class MemoryStore:
    """Keeps tokens, and counts."""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self.saved = 0

    def load(self) -> Tokens | None:
        return self.tokens

    def save(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.saved += 1

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield


@pytest.fixture
async def username(server: RunningServer) -> str:
    """Someone who can log in."""
    name = unique("user")
    async with aio.Client(server.address) as client:
        await client.auth.Register(RegisterRequest(username=name, email=f"{name}@example.com", password=PASSWORD))
    return name


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[Client]:
    """A synchronous client; its calls belong into threads."""
    with Client(server.address) as client:
        yield client


async def test_an_expired_token_is_refreshed_once_for_all_threads(
    client: Client, username: str, clock: MovableClock
) -> None:
    """Without the lock each thread would exchange the same refresh token, and the session would end."""
    store = MemoryStore()
    await asyncio.to_thread(client.login, username, PASSWORD, store=store)
    for _ in range(2):
        clock.advance(timedelta(minutes=16))
        with ThreadPoolExecutor(8) as pool:
            calls = [asyncio.wrap_future(pool.submit(client.auth.GetCurrentUser, ME)) for _ in range(24)]
            assert {user.username for user in await asyncio.gather(*calls)} == {username}
    assert store.saved == 3  # the login and two refreshes


async def test_what_another_process_refreshed_is_used(
    server: RunningServer, username: str, clock: MovableClock
) -> None:
    store = MemoryStore()
    with Client(server.address) as first:
        await asyncio.to_thread(first.login, username, PASSWORD, store=store)
        assert store.tokens is not None
        clock.advance(timedelta(minutes=16))
        with Client(server.address, credentials=Login(store.tokens, store)) as second:
            for client in (first, second):
                assert (await asyncio.to_thread(client.auth.GetCurrentUser, ME)).username == username
    assert store.saved == 2


async def test_a_login_that_is_too_old_is_an_expired_token(client: Client, username: str, clock: MovableClock) -> None:
    await asyncio.to_thread(client.login, username, PASSWORD)
    clock.advance(timedelta(days=31))
    with pytest.raises(RelmanError) as refused:
        await asyncio.to_thread(client.auth.GetCurrentUser, ME)
    assert refused.value.reason == "TOKEN_EXPIRED"


async def test_a_plain_token_is_not_refreshed(server: RunningServer, clock: MovableClock) -> None:
    with Client(server.address, token=server.admin.token) as client:
        assert (await asyncio.to_thread(client.auth.GetCurrentUser, ME)).username == "root-admin"
        clock.advance(timedelta(minutes=16))
        with pytest.raises(RelmanError) as refused:
            await asyncio.to_thread(client.auth.GetCurrentUser, ME)
    assert refused.value.reason == "TOKEN_EXPIRED"
    assert not refused.value.is_passing


async def test_the_asyncio_client_refreshes_once_for_all_tasks(
    server: RunningServer, username: str, clock: MovableClock
) -> None:
    store = MemoryStore()
    async with aio.Client(server.address) as client:
        await client.login(username, PASSWORD, store=store)
        clock.advance(timedelta(minutes=16))
        users = await asyncio.gather(*(client.auth.GetCurrentUser(ME) for _ in range(20)))
    assert {user.username for user in users} == {username}
    assert store.saved == 2
