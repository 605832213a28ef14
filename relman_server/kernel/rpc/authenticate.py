"""Seventh step: who calls. Streams are watched to their end: an expired or revoked token ends them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from relman_server.kernel.errors import RelmanError, Unauthenticated
from relman_server.kernel.identity import Access, Call, Identity
from relman_server.kernel.rpc.chain import Context, Proceed
from relman_server.kernel.rpc.request_id import metadata_of
from relman_server.kernel.streams.lifetime import Lifetimes

SCHEME = "bearer "
MAX_TOKEN = 4096


class Verifier(Protocol):
    """Knows tokens; the folder `auth` has the one that is used."""

    def verify(self, token: str) -> Identity:
        """Return whose token it is; raise Unauthenticated for anything but a valid one."""

    def check(self, identity: Identity, now: datetime) -> None:
        """Raise Unauthenticated when a token that was valid has expired or been revoked."""


class Authenticate:
    """Reads `authorization: Bearer TOKEN`."""

    def __init__(self, verifier: Verifier, lifetimes: Lifetimes, now: Callable[[], datetime]) -> None:
        self._verifier = verifier
        self._lifetimes = lifetimes
        self._now = now

    async def __call__(self, call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        """Fill in `identity`, and in streams `lifetime`."""
        if call.policy is not None:
            public = call.policy.access is Access.PUBLIC
            header = metadata_of(context).get("authorization", "")
            call.identity = self._welcome(header) if public else self._require(header)
        if not call.streaming:
            return await proceed(call, request, context)
        user = call.identity.user_id if call.identity else None
        with self._lifetimes.live(lambda: self._gone(call.identity), user) as lifetime:
            call.lifetime = lifetime
            return await proceed(call, request, context)

    def _require(self, header: str) -> Identity:
        if not header:
            raise Unauthenticated("Log in first: this call needs a token.", reason="TOKEN_MISSING")
        if header[: len(SCHEME)].lower() != SCHEME or len(header) > MAX_TOKEN:
            raise Unauthenticated("The authorization must be `Bearer TOKEN`.")
        return self._verifier.verify(header[len(SCHEME) :].strip())

    def _welcome(self, header: str) -> Identity | None:
        """Public calls are open to those with a bad token, too: how else would they get a good one."""
        try:
            return self._require(header)
        except Unauthenticated:
            return None

    def _gone(self, identity: Identity | None) -> RelmanError | None:
        if identity is None:
            return None
        try:
            self._verifier.check(identity, self._now())
        except Unauthenticated as error:
            return error
        return None
