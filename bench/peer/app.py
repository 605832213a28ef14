"""The application."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy import select

from bench.peer import auth, logs, releases
from bench.peer.database import make_engine, make_sessions
from bench.peer.models import Base, User


def make_app(database_url: str, password: str) -> FastAPI:
    """Return the application; at its start it makes its tables and the user `admin`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = make_engine(database_url)
        app.state.sessions = make_sessions(engine)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with app.state.sessions() as session:
            if await session.scalar(select(User).where(User.username == "admin")) is None:
                hashed = auth.hash_password(password, secrets.token_bytes(16))
                session.add(User(username="admin", password_hash=hashed, is_admin=True))
                await session.commit()
        yield
        await engine.dispose()

    app = FastAPI(title="peer", lifespan=lifespan)
    for router in (auth.router, releases.router, logs.router):
        app.include_router(router)
    return app
