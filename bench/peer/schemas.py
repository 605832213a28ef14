"""What callers say and are answered."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

VERSION = r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"


class Answer(BaseModel):
    """Made from a row."""

    model_config = ConfigDict(from_attributes=True)


class LoginIn(BaseModel):
    """Who logs in."""

    login: str
    password: str


class TokenOut(BaseModel):
    """What they get."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the type of token, not one


class ServiceIn(BaseModel):
    """A new service."""

    name: str = Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")


class ServiceOut(Answer):
    """A service."""

    id: UUID
    name: str
    owner_id: UUID
    created_at: datetime


class ReleaseIn(BaseModel):
    """A new release."""

    service: str
    version: str = Field(pattern=VERSION)
    git_commit: str = Field("", pattern=r"^([0-9a-f]{7,64})?$")
    release_notes: str = Field("", max_length=65_536)


class ReleaseOut(Answer):
    """A release."""

    id: UUID
    service_id: UUID
    service_name: str
    version: str
    status: str
    release_notes: str
    git_commit: str
    created_by: UUID
    created_at: datetime
    updated_at: datetime


class ReleasePage(BaseModel):
    """A page of releases."""

    items: list[ReleaseOut]
    total: int
    page: int
    page_size: int


class DeploymentIn(BaseModel):
    """A new deployment."""

    release_id: UUID
    environment: str


class DeploymentOut(Answer):
    """A deployment."""

    id: UUID
    release_id: UUID
    environment: str
    status: str
    created_at: datetime


class LogEntryIn(BaseModel):
    """A line."""

    time: datetime
    source: Literal["STDOUT", "STDERR", "SYSTEM"] = "STDOUT"
    severity: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    text: str = Field(max_length=65_536)


class LogEntriesIn(BaseModel):
    """Lines, numbered from the first sequence on."""

    stream_name: str = Field(max_length=128)
    first_sequence: int = Field(ge=1)
    entries: list[LogEntryIn] = Field(max_length=10_000)


class Committed(BaseModel):
    """How far a stream is on disk."""

    committed_sequence: int


class LogLineOut(Answer):
    """A line, as it is followed."""

    id: int
    stream_name: str
    sequence: int
    time: datetime
    source: str
    severity: str
    text: str
