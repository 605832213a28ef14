"""The engine, and a session for every request."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

POOL = 16
"""Connections: as many as relman has for reads and writes together."""


def make_engine(url: str) -> AsyncEngine:
    """Return the engine."""
    return create_async_engine(url, pool_size=POOL, max_overflow=0, pool_timeout=60)


def make_sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return what makes sessions; rows stay usable after the commit."""
    return async_sessionmaker(engine, expire_on_commit=False)


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session)]
