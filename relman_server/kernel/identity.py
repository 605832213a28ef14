"""Who calls, and the call they make: what a transaction knows of the request it serves."""

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from uuid import UUID

from relman_server.kernel.errors import DeadlineExceeded, PermissionDenied, Unauthenticated
from relman_server.kernel.streams.lifetime import Lifetime


class Access(Enum):
    """Who may call an RPC at all, as the contract's Access says. What depends on a row is checked with the row."""

    PUBLIC = "public"
    USER = "user"
    TEAM = "team"
    MAINTAINER = "maintainer"
    ADMIN = "admin"
    AUDITOR = "auditor"


@dataclass(frozen=True)
class Policy:
    """What an RPC asks of its caller, and the audit action it must leave: read from the contract.

    Attributes:
        permission: What a token must carry; empty only for public RPCs.
        action: Action of the audit row; empty for RPCs that change nothing.
        access: Who may call it.
    """

    permission: str
    action: str
    access: Access


@dataclass(frozen=True)
class Identity:
    """A caller whose token was verified.

    Attributes:
        user_id: The user.
        username: Name at the time the token was issued.
        token_version: Version of the user's credentials the token was issued under.
        expires_at: When the token ends.
        permissions: What the token is restricted to; None means everything the user may do.
    """

    user_id: UUID
    username: str
    token_version: int
    expires_at: datetime
    is_admin: bool = False
    is_auditor: bool = False
    permissions: frozenset[str] | None = None


@dataclass(frozen=True)
class Repeat:
    """A mutating request that names itself, so that a repetition is recognised.

    Attributes:
        request_id: The caller's UUID.
        fingerprint: Keyed digest of the method and the request without the id.
    """

    request_id: UUID
    fingerprint: bytes


@dataclass
class Call:
    """One RPC while it is served.

    Attributes:
        method: Full name, `/relman.v1.ReleaseService/GetRelease`.
        policy: What the contract says of it; None for health and reflection.
        streaming: Whether requests or answers come one after the other.
        request_id: Correlation id of the call, the caller's or ours.
        address: IP address of the caller.
        user_agent: What the caller's program says it is.
        deadline: `time.monotonic()` after which no work is started; None without one.
        identity: Who calls; None while that is not known, and in public RPCs.
        repeat: Set when the request carries a request_id.
        lifetime: Ends the stream from outside; None in unary calls.
        status: Name of the status the call ended with.
        reason: ErrorReason the call was refused with; empty when it was not.
    """

    method: str
    policy: Policy | None
    streaming: bool = False
    request_id: str = ""
    address: str = ""
    user_agent: str = ""
    deadline: float | None = None
    identity: Identity | None = None
    repeat: Repeat | None = None
    lifetime: Lifetime | None = None
    status: str = "OK"
    reason: str = ""
    started: float = field(default_factory=time.monotonic)

    @property
    def caller(self) -> Identity:
        """Who calls; raises Unauthenticated when nobody is known."""
        if self.identity is None:
            raise Unauthenticated("This call needs a token.", reason="TOKEN_MISSING")
        return self.identity

    @property
    def nobody(self) -> str:
        """Who acts when there is no identity, for the audit log: the server itself, or someone unknown."""
        return "" if self.method else "system"

    def check_deadline(self) -> None:
        """Raise DeadlineExceeded when the caller no longer waits."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise DeadlineExceeded("The deadline passed before the work was started; nothing was changed.")


SYSTEM_CALL = Call(method="", policy=None, user_agent="relman-server")
"""The server's own work: no caller, no deadline, no declared action."""

current_call: ContextVar[Call] = ContextVar("current_call", default=SYSTEM_CALL)


def require_admin(identity: Identity, what: str) -> None:
    """Raise PermissionDenied unless the caller is an admin."""
    if not identity.is_admin:
        raise PermissionDenied(f"Only an admin may {what}.")
