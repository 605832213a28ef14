"""What every call asks: is this token good, now. Answered from memory, without a query."""

from datetime import datetime
from uuid import UUID

from relman_server.auth.tokens import Signer
from relman_server.kernel.clock import Clock
from relman_server.kernel.db import Database
from relman_server.kernel.errors import Unauthenticated
from relman_server.kernel.identity import Identity
from relman_server.users import store as users


class TokenVerifier:
    """Verifies access tokens, and knows which users' tokens have ended before their time.

    Of users whose credentials ever changed it keeps the version that is good now. Changes made by this process arrive
    at the commit (`ended`); those made by other processes with the next `load`.
    """

    def __init__(self, signer: Signer, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock
        self._versions: dict[UUID, int | None] = {}
        self._ended: dict[UUID, int | None] = {}  # since the last load began

    async def load(self, db: Database) -> None:
        """Read the versions from the database."""
        self._ended = {}
        self._versions = await db.read(users.token_versions)
        # What was read may be older than what ended meanwhile.
        self._versions.update(list(self._ended.items()))

    def ended(self, user_id: UUID, token_version: int | None) -> None:
        """From now on a user's tokens are good from a version on; None: none is. From any thread."""
        self._ended[user_id] = token_version
        self._versions[user_id] = token_version

    def verify(self, token: str) -> Identity:
        """Return whose token it is; raise Unauthenticated for anything but a valid one."""
        now = self._clock.now()
        identity = self._signer.verify(token, now)
        self.check(identity, now)
        return identity

    def check(self, identity: Identity, now: datetime) -> None:
        """Raise Unauthenticated when a token that was valid has expired or been revoked."""
        if identity.expires_at <= now:
            raise Unauthenticated("The token has expired; refresh it.", reason="TOKEN_EXPIRED")
        version = self._versions.get(identity.user_id, 0)
        if version is None or identity.token_version < version:
            raise Unauthenticated("The token was revoked; log in again.", reason="TOKEN_REVOKED")
