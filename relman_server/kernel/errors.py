"""Why a call is refused: one small family of errors.

Logic raises them; one interceptor (kernel/rpc/errors.py) turns them into a status with details. The reason is a name of
the contract's ErrorReason without its prefix: stable, for machines. The message is for people.
"""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a request.

    Attributes:
        field: Path of the field as in the contract, for example `changes[2].commit`.
        description: What must hold, for a person.
    """

    field: str
    description: str


@dataclass(frozen=True)
class Condition:
    """One thing that the state of a resource does not allow.

    Attributes:
        type: What kind of condition, for machines: a state or the kind of a blocker.
        subject: The resource concerned.
        description: What would have to change, for a person.
    """

    type: str
    subject: str
    description: str


class RelmanError(Exception):
    """A call is refused, and why.

    Attributes:
        reason: Stable name for machines.
        message: A sentence a person can act on.
        metadata: More for machines; small.
    """

    reason = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None, metadata: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.reason
        self.metadata = metadata or {}


class InvalidInput(RelmanError):
    """The request is wrong, whatever the state of the server: INVALID_ARGUMENT with every violation."""

    reason = "INVALID_INPUT"

    def __init__(self, *violations: Violation, reason: str | None = None, message: str | None = None) -> None:
        super().__init__(message or _sentence(violations), reason=reason)
        self.violations = violations


def _sentence(violations: tuple[Violation, ...]) -> str:
    return "; ".join(f"{violation.field}: {violation.description}" for violation in violations[:5])


class NotFound(RelmanError):
    """There is no such resource: NOT_FOUND with ResourceInfo."""

    reason = "NOT_FOUND"

    def __init__(self, resource_type: str, name: str) -> None:
        super().__init__(f"There is no {resource_type} {name!r}.")
        self.resource_type = resource_type
        self.resource_name = name


class AlreadyExists(RelmanError):
    """There is one already: ALREADY_EXISTS with ResourceInfo."""

    reason = "ALREADY_EXISTS"

    def __init__(self, resource_type: str, name: str) -> None:
        super().__init__(f"There is a {resource_type} {name!r} already.")
        self.resource_type = resource_type
        self.resource_name = name


class FailedPrecondition(RelmanError):
    """The state of the resource forbids it: FAILED_PRECONDITION with every condition."""

    reason = "INVALID_STATE"

    def __init__(
        self,
        message: str,
        *conditions: Condition,
        reason: str | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.conditions = conditions


def wrong_state(subject: str, state: str, message: str) -> FailedPrecondition:
    """Return the refusal of a transition that the state of a resource forbids; the state is in the details."""
    return FailedPrecondition(message, Condition(state, subject, message), metadata={"state": state})


class PermissionDenied(RelmanError):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


class Unauthenticated(RelmanError):
    """The caller did not prove who they are."""

    reason = "TOKEN_INVALID"


class Aborted(RelmanError):
    """Something else got in between: a stale etag, a gap, a newer writer."""

    reason = "CONFLICT"


class OutOfRange(RelmanError):
    """A cursor points to where nothing is."""

    reason = "CURSOR_UNKNOWN"


class ResourceExhausted(RelmanError):
    """A limit is reached.

    Attributes:
        retry_after: When to try again; None when trying again does not help.
    """

    reason = "OVERLOADED"

    def __init__(self, message: str, *, reason: str | None = None, retry_after: timedelta | None = None) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after


class Unavailable(RelmanError):
    """The server cannot do it now.

    Attributes:
        retry_after: When to try again.
    """

    reason = "DATABASE_UNAVAILABLE"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        retry_after: timedelta = timedelta(seconds=1),
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after = retry_after


class DeadlineExceeded(RelmanError):
    """The caller's deadline passed before the work was started."""

    reason = "DEADLINE_EXCEEDED"


class Unimplemented(RelmanError):
    """The server does not offer this."""

    reason = "UNIMPLEMENTED"
