"""What callers may say about rollbacks; every bound is here."""

from relman_server.kernel.inputs import Between, Id, Input, OptionalId, OptionalReference, Page, Reason, Reference
from relman_server.rollbacks.model import RollbackStatus


class NewRollback(Input):
    """What a caller may say about a new rollback."""

    deployment: Id
    target_release: OptionalReference = None
    reason: Reason = ""
    quarantine: bool = True
    expected_current_deployment: OptionalId = None


class ListRollbacks(Page, Between):
    """Which rollbacks to list."""

    ordered_by = ("created_at", "completed_at", "status")

    deployment: OptionalId = None
    status: RollbackStatus | None = None
    service: OptionalReference = None
    environment: OptionalReference = None


class Cancellation(Input):
    """Calling a rollback off."""

    rollback: Reference
    reason: Reason = ""
    etag: str = ""
