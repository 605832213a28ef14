"""Services, releases and deployments."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from bench.peer.auth import CurrentUser
from bench.peer.database import Session
from bench.peer.models import AuditLog, Deployment, Release, Service, User
from bench.peer.schemas import DeploymentIn, DeploymentOut, ReleaseIn, ReleaseOut, ReleasePage, ServiceIn, ServiceOut

router = APIRouter(prefix="/api")


def _audit(request: Request, user: User, action: str, resource_id: UUID, details: dict[str, object]) -> AuditLog:
    return AuditLog(
        user_id=user.id,
        action=action,
        resource_type=action.partition(".")[0],
        resource_id=resource_id,
        details=details,
        ip_address=request.client.host if request.client else "",
        user_agent=request.headers.get("user-agent", ""),
    )


def _answer(release: Release) -> ReleaseOut:
    return ReleaseOut(
        id=release.id,
        service_id=release.service_id,
        service_name=release.service.name,
        version=release.version,
        status=release.status,
        release_notes=release.release_notes,
        git_commit=release.git_commit,
        created_by=release.created_by,
        created_at=release.created_at,
        updated_at=release.updated_at,
    )


@router.post("/services", status_code=201)
async def create_service(said: ServiceIn, request: Request, session: Session, user: CurrentUser) -> ServiceOut:
    """Create a service."""
    service = Service(name=said.name, owner_id=user.id)
    session.add(service)
    await session.flush()
    session.add(_audit(request, user, "service.create", service.id, {"name": service.name}))
    await session.commit()
    return ServiceOut.model_validate(service)


@router.post("/releases", status_code=201)
async def create_release(said: ReleaseIn, request: Request, session: Session, user: CurrentUser) -> ReleaseOut:
    """Create a release, with its audit row."""
    service = await session.scalar(select(Service).where(Service.name == said.service))
    if service is None:
        raise HTTPException(404, "no such service")
    if service.owner_id != user.id and not user.is_admin:
        raise HTTPException(403, "not your service")
    release = Release(
        service=service,
        version=said.version,
        git_commit=said.git_commit,
        release_notes=said.release_notes,
        created_by=user.id,
    )
    session.add(release)
    try:
        await session.flush()
    except IntegrityError:
        raise HTTPException(409, "the service has that version") from None
    session.add(_audit(request, user, "release.create", release.id, said.model_dump()))
    await session.commit()
    return _answer(release)


@router.get("/releases/{release_id}")
async def get_release(release_id: UUID, session: Session, user: CurrentUser) -> ReleaseOut:  # noqa: ARG001 - must be one
    """Return a release."""
    release = await session.get(Release, release_id)
    if release is None:
        raise HTTPException(404, "no such release")
    return _answer(release)


@router.get("/releases")
async def list_releases(
    session: Session,
    user: CurrentUser,  # noqa: ARG001 - there must be one
    service: str,
    page: Annotated[int, Query(ge=1)] = 1,
    page_size: Annotated[int, Query(ge=1, le=500)] = 50,
) -> ReleasePage:
    """Return a page of a service's releases, newest first."""
    wanted = select(Release).join(Service).where(Service.name == service)
    total = await session.scalar(select(func.count()).select_from(wanted.subquery()))
    statement = wanted.order_by(Release.created_at.desc(), Release.id.desc())
    rows = await session.scalars(statement.limit(page_size).offset((page - 1) * page_size))
    return ReleasePage(items=[_answer(row) for row in rows], total=total or 0, page=page, page_size=page_size)


@router.post("/deployments", status_code=201)
async def create_deployment(said: DeploymentIn, request: Request, session: Session, user: CurrentUser) -> DeploymentOut:
    """Create a deployment."""
    deployment = Deployment(release_id=said.release_id, environment=said.environment)
    session.add(deployment)
    await session.flush()
    session.add(_audit(request, user, "deployment.create", deployment.id, {"environment": said.environment}))
    await session.commit()
    return DeploymentOut.model_validate(deployment)
