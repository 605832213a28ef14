"""What callers may say about deployments and stages; every bound is here."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from relman_server.deployments.model import (
    BlockerKind,
    DeploymentKind,
    DeploymentStatus,
    EventType,
    Outcome,
    StageStatus,
)
from relman_server.kernel.inputs import (
    Between,
    Change,
    Id,
    Input,
    Labels,
    Line,
    Name,
    OptionalId,
    OptionalReference,
    Page,
    Reason,
    Reference,
    at,
    seconds,
)

MAX_STAGES = 100
MAX_ATTEMPTS = 50  # of a stage: their outputs come in one message, which holds 4 MiB
MAX_TIMEOUT = 7 * 24 * 3600
MAX_OUTPUT_BYTES = 64 * 1024


def _said_by_callers(kind: DeploymentKind | None) -> DeploymentKind | None:
    if kind not in {None, DeploymentKind.PLANNED, DeploymentKind.HOTFIX}:
        raise ValueError("must be PLANNED or HOTFIX; the server finds the other kinds")
    return kind


def _distinct_names(stages: list[Any]) -> list[Any]:  # of StageSpec, defined below
    names = [stage.name for stage in stages]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"must have different names; {', '.join(twice)} comes more than once")
    return stages


def _output(text: str) -> str:
    if len(text.encode()) > MAX_OUTPUT_BYTES:
        raise ValueError("must be at most 64 KiB; long output belongs in the log")
    return text


Timeout = Annotated[int, Field(ge=0, le=MAX_TIMEOUT)]
Kind = Annotated[DeploymentKind | None, AfterValidator(_said_by_callers)]
Output = Annotated[str, AfterValidator(_output)]


class LeaseHeld(Input):
    """The lease that a caller says to hold."""

    id: Id
    fencing_token: Annotated[int, Field(ge=1)]


class StageSpec(Input):
    """A stage to create with a deployment."""

    name: Name
    timeout_seconds: Timeout = 0


class NewDeployment(Input):
    """What a caller may say about a new deployment."""

    release: Reference
    environment: Reference
    kind: Kind = None
    remediates: OptionalId = None
    labels: Labels = {}
    stages: Annotated[list[StageSpec], Field(max_length=MAX_STAGES), AfterValidator(_distinct_names)] = []
    supersede: bool = False
    hotfix_reason: Reason = ""

    @model_validator(mode="after")
    def _only_hotfixes_remediate(self) -> "NewDeployment":
        if self.kind is not DeploymentKind.HOTFIX and (self.remediates or self.hotfix_reason):
            raise at("kind", "must be HOTFIX when remediates or hotfix_reason is set")
        return self


class Promotion(Input):
    """What a caller may say about a promotion."""

    release: Reference
    environment: OptionalReference = None
    labels: Labels = {}
    stages: Annotated[list[StageSpec], Field(max_length=MAX_STAGES), AfterValidator(_distinct_names)] = []
    supersede: bool = False


class View(StrEnum):
    """How much of a deployment to return."""

    BASIC = "BASIC"
    WITH_STAGES = "WITH_STAGES"


class GetDeployment(Input):
    """Which deployment to return, and how much of it."""

    deployment: Reference
    view: View = View.BASIC


class ListDeployments(Page, Between):
    """Which deployments to list."""

    ordered_by = ("created_at", "completed_at", "status")

    release: OptionalReference = None
    service: OptionalReference = None
    environment: OptionalReference = None
    status: DeploymentStatus | None = None
    kind: DeploymentKind | None = None


class DeploymentChange(Change):
    """What to change of a deployment."""

    deployment: Reference
    labels: Labels = {}
    kind: Kind = None
    production_impacted: bool = False


class Question(Input):
    """What to check: a deployment, or a release and an environment."""

    deployment: OptionalReference = None
    release: OptionalReference = None
    environment: OptionalReference = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "Question":
        pair = (self.release is not None, self.environment is not None)
        if pair not in {(True, True), (False, False)} or pair[0] == (self.deployment is not None):
            raise at("deployment", "name a deployment, or a release and an environment")
        return self


PASSABLE = (BlockerKind.FREEZE, BlockerKind.LOCK, BlockerKind.SOAK, BlockerKind.PROMOTION)
"""Gates that can be passed by whoever answers for it; the others say that it cannot be done, or that others decide."""


def _passable(kind: BlockerKind) -> BlockerKind:
    if kind not in PASSABLE:
        raise ValueError(f"must be one of {', '.join(PASSABLE)}: {kind} cannot be overridden")
    return kind


class Override(Input):
    """Gates to pass in spite of being closed."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
    kinds: Annotated[list[Annotated[BlockerKind, AfterValidator(_passable)]], Field(min_length=1, max_length=8)]


class Start(Input):
    """Starting a deployment."""

    deployment: Reference
    lease_ttl: Annotated[timedelta, seconds(5, 3600)] | None = None
    takeover: bool = False
    override: Override | None = None
    etag: str = ""


class Heartbeat(Input):
    """Renewing a lease."""

    deployment: Reference
    lease: LeaseHeld


class Completion(Input):
    """Ending a deployment."""

    deployment: Reference
    outcome: Outcome
    failure_reason: Reason = ""
    production_impacted: bool = False
    lease: LeaseHeld | None = None
    etag: str = ""

    @model_validator(mode="after")
    def _a_success_has_no_failure(self) -> "Completion":
        if self.outcome is Outcome.SUCCEEDED and (self.failure_reason or self.production_impacted):
            raise at("outcome", "must be FAILED when failure_reason or production_impacted is set")
        return self


class Cancellation(Input):
    """Calling a deployment off."""

    deployment: Reference
    reason: Reason = ""
    etag: str = ""


class Verdict(Input):
    """What an approver says about a deployment."""

    deployment: Reference
    notes: Reason = ""
    etag: str = ""


class ListEvents(Page):
    """Which events of a deployment to list."""

    ordered_by = ("revision",)

    deployment: Reference
    # No history is that long; the column holds no more.
    after_revision: Annotated[int, Field(ge=0), AfterValidator(lambda number: min(number, 2**31 - 1))] = 0


class Watch(Input):
    """Which deployment to watch, and from where."""

    deployment: Reference
    after_revision: Annotated[int, Field(ge=0)] | None = None
    keep_open: bool = False


class WatchAll(Input):
    """Which events of all deployments to watch, and from where."""

    service: OptionalReference = None
    environment: OptionalReference = None
    release: OptionalReference = None
    types: list[EventType] = []
    cursor: Annotated[str, StringConstraints(max_length=1024)] = ""


class NewStage(Input):
    """What a caller may say about a new stage; order 0 means after the last one."""

    deployment: Reference
    name: Name
    order: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    timeout_seconds: Timeout = 0


class StageChange(Change):
    """What to change of a stage."""

    stage: Reference
    name: Name = ""
    order: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    timeout_seconds: Timeout = 0


class ListStages(Page):
    """Which stages of a deployment to list."""

    ordered_by = ("order",)

    deployment: Reference
    status: StageStatus | None = None


class StageStep(Input):
    """Starting a stage, or trying it again."""

    stage: Reference
    lease: LeaseHeld | None = None
    etag: str = ""


class StageProgress(Input):
    """How far a stage is."""

    stage: Reference
    progress_percent: Annotated[int, Field(ge=0, le=100)] = 0
    progress_message: Annotated[Line, StringConstraints(max_length=500)] = ""
    lease: LeaseHeld | None = None


class StageCompletion(Input):
    """Ending a stage."""

    stage: Reference
    outcome: Outcome
    output: Output = ""
    lease: LeaseHeld | None = None
    etag: str = ""


class StageSkip(Input):
    """Leaving a stage out."""

    stage: Reference
    reason: Reason = ""
    lease: LeaseHeld | None = None
    etag: str = ""
