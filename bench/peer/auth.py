"""Who calls: a JWT that is decoded, and its user loaded, for every request."""

import asyncio
import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import jwt
from fastapi import APIRouter, Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select

from bench.peer.database import Session
from bench.peer.models import User
from bench.peer.schemas import LoginIn, TokenOut

router = APIRouter(prefix="/api/auth")
TTL = timedelta(hours=1)
KEY = secrets.token_bytes(32)
bearer = HTTPBearer()


def hash_password(password: str, salt: bytes) -> str:
    """Return what is kept of a password."""
    return f"{salt.hex()}:{hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1).hex()}"


@router.post("/login")
async def login(said: LoginIn, session: Session) -> TokenOut:
    """Return a token for a user and their password."""
    user = await session.scalar(select(User).where(User.username == said.login))
    salt = bytes.fromhex(user.password_hash.partition(":")[0]) if user else secrets.token_bytes(16)
    hashed = await asyncio.to_thread(hash_password, said.password, salt)
    if user is None or not hmac.compare_digest(hashed, user.password_hash):
        raise HTTPException(401, "wrong login or password")
    claims = {"sub": str(user.id), "exp": datetime.now(UTC) + TTL}
    return TokenOut(access_token=jwt.encode(claims, KEY, algorithm="HS256"))


async def _current_user(
    session: Session, credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]
) -> User:
    try:
        claims = jwt.decode(credentials.credentials, KEY, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise HTTPException(401, "invalid token") from None
    user = await session.get(User, UUID(claims["sub"]))
    if user is None or not user.is_active:
        raise HTTPException(401, "unknown user")
    return user


CurrentUser = Annotated[User, Depends(_current_user)]
