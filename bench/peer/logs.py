"""Logs: a row a line, and a tail that polls."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from bench.peer.auth import CurrentUser
from bench.peer.database import Session
from bench.peer.models import Deployment, LogLine
from bench.peer.schemas import Committed, LogEntriesIn, LogLineOut

router = APIRouter(prefix="/api/deployments/{deployment_id}/logs")
POLL_SECONDS = 0.5
BATCH = 1_000


@router.post("")
async def append(deployment_id: UUID, said: LogEntriesIn, session: Session, user: CurrentUser) -> Committed:  # noqa: ARG001 - there must be one
    """Insert lines, in one statement; those that are there already stay as they are."""
    if await session.get(Deployment, deployment_id) is None:
        raise HTTPException(404, "no such deployment")
    rows = [
        {
            "deployment_id": deployment_id,
            "stream_name": said.stream_name,
            "sequence": said.first_sequence + index,
            "time": entry.time,
            "source": entry.source,
            "severity": entry.severity,
            "text": entry.text,
        }
        for index, entry in enumerate(said.entries)
    ]
    if rows:
        await session.execute(insert(LogLine).on_conflict_do_nothing(), rows)
        await session.commit()
    return Committed(committed_sequence=said.first_sequence + len(rows) - 1)


@router.get("/count")
async def count(deployment_id: UUID, session: Session, user: CurrentUser) -> int:  # noqa: ARG001 - there must be one
    """Return how many lines a log has."""
    return await session.scalar(select(func.count()).where(LogLine.deployment_id == deployment_id)) or 0


@router.get("/tail")
async def tail(
    deployment_id: UUID,
    request: Request,
    session: Session,
    user: CurrentUser,  # noqa: ARG001 - there must be one
    after: Annotated[int, Query(ge=0)] = 0,
    last_event_id: Annotated[int | None, Header()] = None,
) -> StreamingResponse:
    """Send lines as they come, as server-sent events whose ids are where to resume."""
    if await session.get(Deployment, deployment_id) is None:
        raise HTTPException(404, "no such deployment")
    await session.close()  # no connection is held while following
    start = after if last_event_id is None else last_event_id
    events = _events(request.app.state.sessions, deployment_id, start)
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})


async def _events(sessions: async_sessionmaker[AsyncSession], deployment_id: UUID, after: int) -> AsyncIterator[str]:
    statement = select(LogLine).where(LogLine.deployment_id == deployment_id).order_by(LogLine.id).limit(BATCH)
    while True:
        async with sessions() as session:
            lines = (await session.scalars(statement.where(LogLine.id > after))).all()
        if lines:
            after = lines[-1].id
            yield "".join(
                f"id: {line.id}\ndata: {LogLineOut.model_validate(line).model_dump_json()}\n\n" for line in lines
            )
        if len(lines) < BATCH:
            await asyncio.sleep(POLL_SECONDS)
