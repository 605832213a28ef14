"""Who the caller is: a fixed token, or a login that is refreshed when its access token expires."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Tokens:
    """What a login answered."""

    access_token: str
    refresh_token: str = ""

    def __repr__(self) -> str:  # tokens must not end up in logs
        return "Tokens(...)"


class TokenStore(Protocol):
    """Keeps tokens between processes. Refresh tokens are used once, so `lock` must exclude other processes."""

    def load(self) -> Tokens | None:
        """The newest tokens, when there are any."""

    def save(self, tokens: Tokens) -> None:
        """Keep new tokens."""

    def lock(self) -> AbstractContextManager[object]:
        """Held from loading to saving."""


class Credentials(Protocol):
    """What a client asks for tokens."""

    @property
    def access_token(self) -> str:
        """Sent with the next call; empty to send none."""

    def refresh(self, rejected: str, exchange: Callable[[str], Tokens]) -> bool:
        """Replace an access token that was rejected as expired.

        `exchange` turns a refresh token into the next pair. Called from any thread; answers whether there is
        another access token now.
        """


class StaticToken:
    """An access token or API token that is what it is."""

    def __init__(self, token: str) -> None:
        self._token = token

    @property
    def access_token(self) -> str:
        """The token."""
        return self._token

    def refresh(self, rejected: str, exchange: Callable[[str], Tokens]) -> bool:
        """There is nothing to refresh with."""
        del rejected, exchange
        return False


class Login:
    """Tokens of a login, refreshed once for all threads, and for all processes that share a store."""

    def __init__(self, tokens: Tokens, store: TokenStore | None = None) -> None:
        self._tokens = tokens
        self._store = store
        self._lock = threading.Lock()

    @property
    def access_token(self) -> str:
        """The newest access token."""
        return self._tokens.access_token

    @property
    def tokens(self) -> Tokens:
        """The newest pair."""
        return self._tokens

    def refresh(self, rejected: str, exchange: Callable[[str], Tokens]) -> bool:
        """Take what another thread or process has got meanwhile, else exchange the refresh token."""
        with self._lock:
            if self._tokens.access_token != rejected:
                return True
            with self._store.lock() if self._store else nullcontext():
                stored = self._store.load() if self._store else None
                if stored and stored.access_token != rejected:
                    self._tokens = stored
                    return True
                if not self._tokens.refresh_token:
                    return False
                self._tokens = exchange(self._tokens.refresh_token)
                if self._store:
                    self._store.save(self._tokens)
                return True
