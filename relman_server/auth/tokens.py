"""Tokens: access tokens are signed and checked without the database, refresh tokens are secrets kept as hashes.

Access tokens are JWTs (RFC 7519, 9068) signed with HMAC-SHA-256 by the server's own key: only relman reads them, so
nothing is gained by a key pair, which would cost ten times the CPU at every call.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt

from relman_server.kernel.errors import Unauthenticated
from relman_server.kernel.identity import Identity

ACCESS_TTL = timedelta(minutes=15)
REFRESH_TTL = timedelta(days=30)
ISSUER = "relman"
AUDIENCE = "relman"
TYPE = "at+jwt"
ALGORITHM = "HS256"
CACHED = 10_000


@dataclass(frozen=True)
class AccessToken:
    """A signed token and when it ends."""

    text: str
    expires_at: datetime


@dataclass(frozen=True)
class Tokens:
    """What a login or a refresh answers."""

    access: AccessToken
    refresh_token: str
    refresh_expires_at: datetime


class Signer:
    """Issues and verifies access tokens.

    Args:
        key: At least 32 secret bytes, the same on every replica.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"relman access token", hashlib.sha256)
        # Tokens that were verified, by their hash: a pipeline sends the same one again and again.
        self._verified: dict[bytes, Identity] = {}

    def issue(self, identity: Identity, now: datetime) -> AccessToken:
        """Return a token for the identity, valid until the identity's `expires_at`."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(identity.user_id),
            "name": identity.username,
            "ver": identity.token_version,
            "adm": identity.is_admin,
            "aud_log": identity.is_auditor,
            "iat": int(now.timestamp()),
            "exp": int(identity.expires_at.timestamp()),
            "jti": secrets.token_urlsafe(12),
        }
        return AccessToken(
            jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"typ": TYPE}), identity.expires_at
        )

    def verify(self, token: str, now: datetime) -> Identity:
        """Return whose token it is; raise Unauthenticated TOKEN_INVALID or TOKEN_EXPIRED for anything else."""
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        identity = self._verified.get(digest)
        if identity is None:
            identity = self._read(token)
            if len(self._verified) >= CACHED:
                self._verified.clear()
            self._verified[digest] = identity
        if identity.expires_at <= now:
            self._verified.pop(digest, None)
            raise Unauthenticated("The token has expired; refresh it.", reason="TOKEN_EXPIRED")
        return identity

    def _read(self, token: str) -> Identity:
        try:
            if jwt.get_unverified_header(token).get("typ") != TYPE:
                raise jwt.InvalidTokenError
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                # The time is compared by `verify`, with the server's own clock.
                options={"require": ["exp", "iat", "sub", "aud", "iss"], "verify_exp": False, "verify_iat": False},
            )
            return Identity(
                user_id=UUID(claims["sub"]),
                username=str(claims["name"]),
                token_version=int(claims["ver"]),
                expires_at=datetime.fromtimestamp(claims["exp"], UTC),
                is_admin=claims["adm"] is True,
                is_auditor=claims["aud_log"] is True,
            )
        except (jwt.PyJWTError, KeyError, ValueError, TypeError, OverflowError) as error:
            raise Unauthenticated("The token is not one of this server's.") from error


def new_secret() -> str:
    """Return 256 random bits as text."""
    return urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def hash_secret(secret: str) -> bytes:
    """Return what is stored of a secret. Random ones of 256 bits need no slow hash."""
    return hashlib.sha256(secret.encode(errors="replace")).digest()
