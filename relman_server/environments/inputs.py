"""What callers may say about environments; every bound is here."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from relman_server.environments.model import DEFAULT_APPROVAL_TTL, EnvironmentType
from relman_server.kernel.inputs import (
    Change,
    Continued,
    Input,
    Line,
    Name,
    OptionalReference,
    Page,
    Query,
    Reference,
    RequiredReason,
    seconds,
)

_MINUTE, _DAY = 60, 86400


def _whole(span: timedelta) -> timedelta:
    if span.microseconds:
        raise ValueError("must be whole seconds")
    return span


Description = Annotated[str, StringConstraints(max_length=2000)]
ConfigPath = Annotated[Line, StringConstraints(max_length=1000)]
Approvals = Annotated[int, Field(ge=0, le=20)]
ApproverTeams = Annotated[list[Reference], Field(max_length=50)]
# An update may name a span in its mask and leave it out: that makes it the default again.
SoakTime = Annotated[
    timedelta,
    BeforeValidator(lambda span: timedelta() if span is None else span),
    seconds(0, 30 * _DAY),
    AfterValidator(_whole),
]
ApprovalTtl = Annotated[
    timedelta,
    BeforeValidator(lambda span: DEFAULT_APPROVAL_TTL if span is None else span),
    seconds(_MINUTE, 90 * _DAY),
    AfterValidator(_whole),
]


class NewEnvironment(Input):
    """A place where services run, and the rules of coming there."""

    name: Name
    description: Description = ""
    environment_type: EnvironmentType
    config_path: ConfigPath = ""
    promotes_from: OptionalReference = None
    soak_time: SoakTime = timedelta()
    required_approvals: Approvals = 0
    approver_teams: ApproverTeams = Field(default_factory=list)
    allow_self_approval: bool = False
    approval_ttl: ApprovalTtl = DEFAULT_APPROVAL_TTL
    rollbacks_need_approval: bool = False


class EnvironmentChange(Change):
    """What to change of an environment."""

    environment: Reference
    name: Name = ""
    description: Description = ""
    environment_type: EnvironmentType = EnvironmentType.DEVELOPMENT
    config_path: ConfigPath = ""
    is_active: bool = False
    promotes_from: OptionalReference = None
    soak_time: SoakTime = timedelta()
    required_approvals: Approvals = 0
    approver_teams: ApproverTeams = Field(default_factory=list)
    allow_self_approval: bool = False
    approval_ttl: ApprovalTtl = DEFAULT_APPROVAL_TTL
    rollbacks_need_approval: bool = False


class ListEnvironments(Page):
    """Which environments to list."""

    ordered_by = ("name", "created_at")

    environment_type: EnvironmentType | None = None
    is_active: bool | None = None
    query: Query = ""


class StatusOf(Continued):
    """Of which environment to say what runs there."""

    environment: Reference


class Lock(Input):
    """Why nothing may start in an environment, and how long; without a span until it is unlocked."""

    environment: Reference
    reason: RequiredReason
    ttl: Annotated[timedelta, seconds(1, 90 * _DAY)] | None = None
    etag: str = ""
